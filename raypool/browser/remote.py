"""Another process's way into a live browser: the very page that its owner works on.

A driver script gets Playwright's own objects, through Playwright's own connection, from a Playwright
that runs beside the script. What it does there happens in the business's browser. docs/attach.md says
what is different from a browser of one's own.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit

from playwright.async_api import Browser, BrowserContext, Page, Playwright, async_playwright
from playwright.async_api import Error as PlaywrightError

from raypool.browser.failures import first_line
from raypool.browser.identity import identify
from raypool.errors import ErrorCodes, create_error

CONNECT_TIMEOUT_MS = 10_000
C = TypeVar("C")


@dataclass(frozen=True)
class RemoteBrowser:
    """Playwright's objects of a browser that somebody else owns."""

    playwright: Playwright
    """The one beside the script: ``selectors``, ``devices``, ``request``."""
    browser: Browser
    context: BrowserContext
    """The business's own; closing it closes it for everybody."""
    page: Page
    """The one that functions are given."""


@asynccontextmanager
async def connect_remote(endpoint: str, page_id: str | None = None) -> AsyncIterator[RemoteBrowser]:
    """Attach to the browser at *endpoint* for the block; leaving it closes nothing of the business.

    Args:
        endpoint: What ``LiveBrowser.bind`` gave.
        page_id: What ``LiveBrowser.active_page_id`` gave; None, or that of a page that was closed
            since, takes the first page.

    Raises:
        InstanceNotReady: Nobody answers there (any more); nothing has begun.
        InstanceLost: The browser went away under the block: its process died, its owner cut the
            connection, or somebody closed its context.
    """
    async with async_playwright() as playwright:
        try:
            browser = await playwright.chromium.connect(endpoint, timeout=CONNECT_TIMEOUT_MS)
        except PlaywrightError as error:
            raise unreachable(endpoint, error) from None
        try:
            context, page = choose(endpoint, browser.contexts, page_id)
            yield RemoteBrowser(playwright, browser, context, page or await context.new_page())
        except PlaywrightError as error:
            if "closed" in str(error):  # the news of a death may come after its first victim
                with suppress(PlaywrightError):
                    await context.cookies()
            if browser.is_connected() and not context.is_closed():
                raise
            raise lost(endpoint, error) from error
        finally:
            await browser.close()  # ends the connection; what is behind it stays


def choose(endpoint: str, contexts: Sequence[C], page_id: str | None) -> tuple[C, Any]:
    """Return the business's context and its page *page_id*, another when that is gone, or None.

    Raises:
        InstanceNotReady: The browser has no context now: somebody closed it.
    """
    pages: list[Any] = [page for context in contexts for page in context.pages]  # type: ignore[attr-defined]
    for page in pages:
        if identify(page) == page_id:
            return page.context, page
    if not contexts:
        raise _not_there(endpoint, "its context was closed")
    own = contexts[0]  # made before anybody could attach and make others
    return own, next((page for page in pages if page.context is own), None)


def unreachable(endpoint: str, error: Exception) -> Exception:
    """Return the error for an endpoint where nobody answers."""
    path = urlsplit(endpoint).path
    return _not_there(endpoint, first_line(error).replace(path, "/…") if path else str(error))


def lost(endpoint: str, error: Exception) -> Exception:
    """Return the error for a browser that went away while somebody was attached."""
    return create_error(
        ErrorCodes.BROWSER_INSTANCE_LOST,
        f"the browser at {_place(endpoint)} went away: {first_line(error)}",
        recovery="Attach again: the browser comes back from its last checkpoint.",
    )


def _not_there(endpoint: str, why: str) -> Exception:
    return create_error(
        ErrorCodes.BROWSER_INSTANCE_NOT_READY,
        f"cannot attach to the browser at {_place(endpoint)}: {why}",
        recovery="Attach again: the instance tells where its browser is now.",
        retry_after=0.5,
    )


def _place(endpoint: str) -> str:
    """Return host and port; the path is the key to the browser and goes into no message."""
    return urlsplit(endpoint).netloc

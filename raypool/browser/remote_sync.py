"""The way into a live browser for scripts without asyncio: see :mod:`raypool.browser.remote`."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from playwright.sync_api import Browser, BrowserContext, Page, Playwright, sync_playwright
from playwright.sync_api import Error as PlaywrightError

from raypool.browser.remote import CONNECT_TIMEOUT_MS, choose, lost, unreachable


@dataclass(frozen=True)
class SyncRemoteBrowser:
    """Playwright's objects of a browser that somebody else owns; for the thread that attached."""

    playwright: Playwright
    """The one beside the script: ``selectors``, ``devices``, ``request``."""
    browser: Browser
    context: BrowserContext
    page: Page


@contextmanager
def connect_remote_sync(endpoint: str, page_id: str | None = None) -> Iterator[SyncRemoteBrowser]:
    """Attach to the browser at *endpoint* for the block, as ``connect_remote`` does.

    Playwright's synchronous objects belong to the thread of the block, and that thread must not run
    an event loop.

    Raises:
        InstanceNotReady: Nobody answers there (any more); nothing has begun.
        InstanceLost: The browser went away under the block.
    """
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.connect(endpoint, timeout=CONNECT_TIMEOUT_MS)
        except PlaywrightError as error:
            raise unreachable(endpoint, error) from None
        try:
            context, page = choose(endpoint, browser.contexts, page_id)
            yield SyncRemoteBrowser(playwright, browser, context, page or context.new_page())
        except PlaywrightError as error:
            if "closed" in str(error):  # the news of a death may come after its first victim
                with suppress(PlaywrightError):
                    context.cookies()
            if browser.is_connected() and not context.is_closed():
                raise
            raise lost(endpoint, error) from error
        finally:
            browser.close()

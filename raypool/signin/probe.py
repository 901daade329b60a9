"""Look whether a business is signed in, the way its probe says. Never signs anybody in or out."""

import asyncio
import time
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from raypool.logs import get_logger
from raypool.model import SignIn
from raypool.redaction import redact_text
from raypool.signin.functions import ProbeFailedError, ask
from raypool.spec import Probe

log = get_logger(__name__)
LOOK_TIMEOUT_S = 15.0
CLOSE_TIMEOUT_S = 1.0
_MOST_SAID = 200
_TOO_MANY, _SERVER_ERROR = 429, 500


class Seen(NamedTuple):
    """What a look came to."""

    sign_in: SignIn
    why: str = ""
    """Why nobody knows, where a probe should have told."""


async def look(probe: Probe | None, context: Any, page: Any) -> Seen:
    """Return what the site shows now; ``UNKNOWN`` without a probe or when the site does not answer.

    Args:
        probe: What must hold; all that it names.
        context: The business's Playwright context.
        page: The page to look at when the probe has no URL of its own; it is not navigated.
    """
    if probe is None:
        return Seen(SignIn.UNKNOWN)
    own: list[Any] = []
    task = asyncio.ensure_future(_look(probe, context, page, own))
    done, _ = await asyncio.wait({task}, timeout=LOOK_TIMEOUT_S)  # never cancel a Playwright call
    if own:
        await _close(own[0])
    if not done:
        task.add_done_callback(_swallow)
        return Seen(SignIn.UNKNOWN, f"there was no answer within {LOOK_TIMEOUT_S:g} s")
    if error := task.exception():
        why = _first_line(error)
        log.info("probe failed", error=why)
        return Seen(SignIn.UNKNOWN, why)
    return Seen(SignIn.SIGNED_IN if task.result() else SignIn.SIGNED_OUT)


async def _look(probe: Probe, context: Any, page: Any, own: list[Any]) -> bool:
    """Look; a page that is opened for it is noted in *own*, so that it is closed in any case."""
    if probe.cookie and not await _has_cookie(context, probe.cookie):
        return False
    if not probe.url and not await _shows(probe, page):
        return False
    if not probe.opens_page:
        return True
    own.append(opened := await context.new_page())
    if probe.url:
        wait = LOOK_TIMEOUT_S * 1000
        _check(await opened.goto(probe.url, wait_until="domcontentloaded", timeout=wait))
        if not _is_there(probe.url, opened.url) or not await _shows(probe, opened):
            return False
    return not probe.function or await ask(probe.function, opened)


async def _close(page: Any) -> None:
    """Close a page that was opened for a look; one that does not close in time is left to itself."""
    closing = asyncio.ensure_future(page.close())
    await asyncio.wait({closing}, timeout=CLOSE_TIMEOUT_S)
    closing.add_done_callback(_swallow)


def _swallow(task: "asyncio.Future[Any]") -> None:
    if not task.cancelled():
        task.exception()


def _first_line(error: BaseException) -> str:
    text = redact_text(str(error)).strip()  # before the cut: half a credential looks like none
    return text.splitlines()[0][:_MOST_SAID] if text else type(error).__name__


def _check(response: Any) -> None:
    """Refuse to judge by an answer that says nothing of who is signed in.

    Raises:
        ProbeFailedError: The site has a fault, or has had enough of us.
    """
    if response is not None and (response.status >= _SERVER_ERROR or response.status == _TOO_MANY):
        raise ProbeFailedError(f"the site answered with status {response.status}")


def _is_there(asked: str, arrived: str) -> bool:
    """Tell a page that was reached from one that the site sent us to instead, like ``/login``."""
    want, got = urlsplit(asked), urlsplit(arrived)
    same_page = (want.hostname, want.path.rstrip("/")) == (got.hostname, got.path.rstrip("/"))
    return same_page and want.query in {"", got.query}


async def _has_cookie(context: Any, name: str) -> bool:
    now = time.time()
    return any(
        c["name"] == name and (c["expires"] < 0 or c["expires"] > now)
        for c in await context.cookies()
    )


async def _shows(probe: Probe, page: Any) -> bool:
    if probe.selector and not await page.locator(probe.selector).first.is_visible():
        return False
    return not probe.text or await page.get_by_text(probe.text).first.is_visible()

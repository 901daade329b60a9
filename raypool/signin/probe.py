"""Look whether a business is signed in, the way its probe says. Never signs anybody in or out."""

import asyncio
import time
from typing import Any
from urllib.parse import urlsplit

from raypool.logs import get_logger
from raypool.model import SignIn
from raypool.spec import Probe

log = get_logger(__name__)
LOOK_TIMEOUT_S = 15.0


async def look(probe: Probe | None, context: Any, page: Any) -> SignIn:
    """Return what the site shows now; ``UNKNOWN`` without a probe or when the site does not answer.

    Args:
        probe: What must hold; all that it names.
        context: The business's Playwright context.
        page: The page to look at when the probe has no URL of its own; it is not navigated.
    """
    if probe is None:
        return SignIn.UNKNOWN
    task = asyncio.ensure_future(_look(probe, context, page))
    done, _ = await asyncio.wait({task}, timeout=LOOK_TIMEOUT_S)  # never cancel a Playwright call
    if not done:
        task.add_done_callback(lambda t: t.cancelled() or t.exception())
        return SignIn.UNKNOWN
    if error := task.exception():
        log.info("probe failed", error=str(error))
        return SignIn.UNKNOWN
    return SignIn.SIGNED_IN if task.result() else SignIn.SIGNED_OUT


async def _look(probe: Probe, context: Any, page: Any) -> bool:
    if probe.cookie and not await _has_cookie(context, probe.cookie):
        return False
    if not (probe.url or probe.selector or probe.text):
        return True
    if not probe.url:
        return await _shows(probe, page)
    own = await context.new_page()
    try:
        await own.goto(probe.url, wait_until="domcontentloaded", timeout=LOOK_TIMEOUT_S * 1000)
        return _is_there(probe.url, own.url) and await _shows(probe, own)
    finally:
        await own.close()


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

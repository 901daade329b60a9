"""Tell a browser that is well from one that only looks so. Every question is bounded."""

import asyncio
import contextlib
from typing import Any
from urllib.parse import urlsplit

import psutil
from playwright.async_api import Error as PlaywrightError
from playwright.async_api import Page

from raypool.errors import ErrorCodes, create_error


class Pulse:
    """Asks a page whether its main thread turns, and never twice before it has answered once.

    A Playwright call is not cancelled (https://playwright.dev/python/docs/library), so what a hung
    page does not answer stays open; a probe every few seconds must not pile such calls up.
    """

    def __init__(self) -> None:
        self._asked: tuple[Page, asyncio.Future[Any]] | None = None

    async def check(self, page: Page, timeout: float) -> None:
        """Return when *page* answered. Any answer will do, an error too.

        Raises:
            BrowserError: It did not within *timeout* seconds (``BROWSER_CRASHED``).
        """
        answer = self._open_question(page) or asyncio.ensure_future(page.evaluate("0"))
        self._asked = (page, answer)
        if not await settled(answer, timeout):
            site = urlsplit(page.url).netloc or "the active page"
            raise create_error(
                ErrorCodes.BROWSER_CRASHED, f"{site} has not answered for {timeout:g} s"
            )
        with contextlib.suppress(
            PlaywrightError
        ):  # it was closed, crashed (told elsewhere) or left
            answer.result()

    def _open_question(self, page: Page) -> "asyncio.Future[Any] | None":
        if self._asked is None:
            return None
        asked, answer = self._asked
        return answer if asked is page and not answer.done() else None


async def settled(task: "asyncio.Future[Any]", seconds: float) -> bool:
    """Wait up to *seconds* for *task* and tell whether it ended; it is left to itself otherwise."""
    done, _ = await asyncio.wait({task}, timeout=seconds)
    if not done:
        task.add_done_callback(lambda late: late.cancelled() or late.exception())
    return bool(done)


def is_stopped(pid: int) -> bool:
    """Tell whether process *pid* was stopped (SIGSTOP); one that is gone was not."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_STOPPED
    except psutil.Error:
        return False

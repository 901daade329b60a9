"""The door through which driver scripts reach one live browser: ``Browser.bind`` of Playwright 1.59."""

import asyncio
import contextlib
from collections.abc import Awaitable
from typing import Any

from playwright.async_api import Browser, BrowserContext
from playwright.async_api import Error as PlaywrightError

from raypool.browser.failures import first_line
from raypool.browser.health import settled
from raypool.errors import ErrorCodes, create_error

ANSWER_TIMEOUT_S = 10.0
_TITLE = "raypool"


class Binding:
    """An endpoint that can be opened and closed; Playwright has at most one for a browser.

    Args:
        browser: The browser behind it.
        own: The business's context, the only one that is here to stay.
    """

    def __init__(self, browser: Browser, own: BrowserContext) -> None:
        self._browser, self._own = browser, own
        self._endpoint: str | None = None
        self._turn = asyncio.Lock()

    async def open(self, host: str) -> str:
        """Return the endpoint, made when there is none; the host of the call that made it counts.

        Raises:
            BrowserError: The driver cannot listen at *host*, or does not answer.
        """
        async with self._turn:
            if self._endpoint is None:
                self._endpoint = await self._listen(host)
            return self._endpoint

    async def close(self) -> None:
        """Cut off whoever is attached and listen no more. Idempotent; bounded; closes no page."""
        async with self._turn:
            self._endpoint = None
            with contextlib.suppress(PlaywrightError):
                await _answered(self._browser.unbind())

    async def tidy(self) -> int:
        """Close every context that is not the business's own; return how many that were."""
        strangers = [context for context in self._browser.contexts if context is not self._own]
        closed = await asyncio.gather(*map(_closed, strangers))
        return sum(closed)

    async def _listen(self, host: str) -> str:
        try:
            bound = await _answered(self._browser.bind(_TITLE, host=host, port=0))
        except PlaywrightError as error:
            # Playwright takes a bind that failed for one that holds, until it is told otherwise.
            with contextlib.suppress(PlaywrightError):
                await _answered(self._browser.unbind())
            raise _no_door(host, first_line(error)) from error
        if bound is None:
            raise _no_door(host, "its driver does not answer")
        return str(bound["endpoint"])


async def _closed(context: BrowserContext) -> bool:
    try:
        await _answered(context.close())
    except PlaywrightError:
        return False
    return context.is_closed()


async def _answered(call: Awaitable[Any]) -> Any:
    """Return the answer, None when there was none in time; the call itself is never cancelled."""
    task = asyncio.ensure_future(call)
    return task.result() if await settled(task, ANSWER_TIMEOUT_S) else None


def _no_door(host: str, why: str) -> Exception:
    return create_error(
        ErrorCodes.BROWSER_INSTANCE_NOT_READY,
        f"nobody can attach to the browser at {host}: {why}",
    )

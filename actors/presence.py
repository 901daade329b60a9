"""The browser that is there now: whether it may act, whether it answers, what it holds, its end."""

import asyncio
from collections.abc import Callable
from typing import Any

from actors.ports import Browser, State
from actors.tenure import Tenure
from actors.turns import not_ready
from raypool.errors import ErrorCodes, RaypoolError, create_error

ALIVE_TIMEOUT_S = 1.0
OFF_LINE_POLL_S = 0.1


class Presence:
    """One browser after the other, each until it is lost or replaced.

    Args:
        business_id: Whose browser.
        tenure: The right to act.
        on_lost: Called when the browser dies unasked, with the reason.
    """

    def __init__(self, business_id: str, tenure: Tenure, on_lost: Callable[[str], None]) -> None:
        self.business_id = business_id
        self.browser: Browser | None = None
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        """Done, with the reason, when the browser is lost or replaced."""
        self._tenure, self._on_lost = tenure, on_lost

    @property
    def present(self) -> Browser:
        """The live browser.

        Raises:
            InstanceNotReady: There is none now.
        """
        if self.browser is None:
            raise not_ready(self.business_id, "has no browser")
        return self.browser

    @property
    def url(self) -> str:
        """Where the active page is; empty without one."""
        return self.browser.url if self.browser else ""

    @property
    def off_line(self) -> bool:
        """Whether the browser may not act now."""
        return self._tenure.off_line

    def off_line_seconds(self) -> float:
        """Return how long it could not act in all, up to now."""
        return self._tenure.off_line_seconds()

    async def answers(self, timeout: float = ALIVE_TIMEOUT_S) -> bool:
        """Tell whether the browser answers within *timeout* seconds."""
        if self.browser is None:
            return False
        answer = asyncio.ensure_future(self.browser.ping())
        done, _ = await asyncio.wait({answer}, timeout=timeout)
        answer.add_done_callback(swallow)
        return bool(done) and answer.exception() is None

    async def read(self, browser: Browser, *, everything: bool) -> State:
        """Read the state, again if the browser was off line meanwhile: parts would be missing.

        Raises:
            InstanceLost: It died. Half a state must not be taken for one.
        """
        while True:
            off_before = self._tenure.off_line_seconds()
            try:
                collected = await self._read_once(browser, everything=everything)
            except Exception:
                if self.lost.done() or self._tenure.off_line_seconds() == off_before:
                    raise
            else:
                if self._tenure.off_line_seconds() == off_before:
                    return collected
            await self._on_line()

    async def _on_line(self) -> None:
        """Return when the browser may act again, or is lost. The news come from another thread."""
        while self._tenure.off_line and not self.lost.done():  # noqa: ASYNC110
            await asyncio.sleep(OFF_LINE_POLL_S)

    async def _read_once(self, browser: Browser, *, everything: bool) -> State:
        lost = self.lost
        reading = asyncio.ensure_future(browser.collect(everything=everything))
        reading.add_done_callback(swallow)  # who waits may be cancelled
        ends: set[asyncio.Future[Any]] = {reading, lost}
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        if not lost.done() and not await self.answers():
            # The state of a dying browser may be read, empty, before the news of its death.
            await asyncio.wait({lost}, timeout=ALIVE_TIMEOUT_S)
        if lost.done():
            raise self.lost_error()
        return await reading

    def gone(self, reason: str) -> None:
        """Take note that the browser has died unasked."""
        self.browser = None
        if not self.lost.done():
            self.lost.set_result(reason)
        self._on_lost(reason)

    async def drop(self) -> None:
        """Get rid of the browser, whatever state it is in; return when its processes are gone."""
        browser, self.browser = self.browser, None
        if browser:
            browser.abandon()
        if not self.lost.done():
            self.lost.set_result("it was replaced")
        await self._tenure.clear()
        if browser:
            await browser.release()

    def lost_error(self) -> RaypoolError:
        """Return the error for a command whose browser died."""
        reason = self.lost.result() if self.lost.done() else "it is gone"
        return create_error(
            ErrorCodes.BROWSER_INSTANCE_LOST,
            f"the browser of {self.business_id} died while it was working: {reason}",
            {"business_id": self.business_id},
        )

    def interrupted(self) -> RaypoolError:
        """Return the error for a command that failed because its browser was off line meanwhile."""
        return create_error(
            ErrorCodes.BROWSER_INSTANCE_LOST,
            f"the browser of {self.business_id} was off line meanwhile: Redis could not be reached",
            {"business_id": self.business_id},
        )


def swallow(task: "asyncio.Future[Any]") -> None:
    """Take note of a result that nobody waits for any more."""
    if not task.cancelled():
        task.exception()

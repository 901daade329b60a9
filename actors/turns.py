"""One command at a time, in the order in which they came; a bounded queue, and how long it is idle."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from actors.keeper import now
from raypool.errors import ErrorCodes, create_error


class Turns:
    """Who may use the browser of a business now.

    Args:
        business_id: For the errors.
        most: Commands that may wait; one more is refused at once.
        patience: Seconds that a command may wait for its turn.
    """

    def __init__(self, business_id: str, most: int, patience: float) -> None:
        self._business_id, self._most, self._patience = business_id, most, patience
        self._lock = asyncio.Lock()
        self._closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting = 0
        self._last_use = now()

    @property
    def busy(self) -> bool:
        """Whether a command runs or waits."""
        return self._lock.locked() or self._waiting > 0

    def idle_for(self) -> float:
        """Return the seconds since the last command ended or somebody said that he is there."""
        return 0.0 if self.busy else now() - self._last_use

    def touch(self) -> None:
        """Begin to count idle time anew."""
        self._last_use = now()

    def close(self) -> None:
        """Send away who waits, and whoever comes later. What runs goes on. Idempotent."""
        if not self._closed.done():
            self._closed.set_result(None)

    @asynccontextmanager
    async def take(self) -> AsyncIterator[None]:
        """Hold the turn for the block.

        Raises:
            InstanceNotReady: The instance is stopping; nothing has begun.
            RateLimitError: Too many wait, or it waited too long; nothing has begun.
        """
        if self._waiting >= self._most:
            raise self._full(f"{self._waiting} commands are waiting already")
        await self._acquire()
        try:
            yield
        finally:
            self._lock.release()
            self.touch()

    @asynccontextmanager
    async def take_if_free(self) -> AsyncIterator[bool]:
        """Hold the turn for the block if nobody has or wants it; upkeep gives way to commands."""
        if self.busy or self._closed.done():
            yield False
            return
        await self._lock.acquire()  # free: this does not wait
        try:
            yield True
        finally:
            self._lock.release()

    async def take_last(self, timeout: float) -> bool:
        """Take the turn for good, when what runs has ended; tell whether that came in *timeout* s."""
        self.close()
        try:
            async with asyncio.timeout(timeout):
                await self._lock.acquire()
        except TimeoutError:
            return False
        return True

    async def _acquire(self) -> None:
        acquiring = asyncio.ensure_future(self._lock.acquire())
        ends: set[asyncio.Future[Any]] = {acquiring, self._closed}
        self._waiting += 1
        held = False
        try:
            await asyncio.wait(ends, timeout=self._patience, return_when=asyncio.FIRST_COMPLETED)
            held = acquiring.done() and not self._closed.done()
        finally:
            self._waiting -= 1
            if not held and not acquiring.cancel():  # it got the lock all the same: pass it on
                self._lock.release()
        if not held:
            raise self._closing() if self._closed.done() else self._late()

    def _closing(self) -> Exception:
        return not_ready(self._business_id, "is stopping")

    def _late(self) -> Exception:
        return self._full(f"the command waited {self._patience:g} s for its turn")

    def _full(self, why: str) -> Exception:
        return create_error(
            ErrorCodes.RATE_LIMIT_CAPACITY,
            f"{self._business_id} is busy: {why}",
            {"business_id": self._business_id},
            recovery="Send it less at once, or try again later; nothing has begun.",
            retry_after=1.0,
        )


def not_ready(business_id: str, why: str) -> Exception:
    """Return the error for an instance that cannot take a command now; nothing has begun."""
    return create_error(
        ErrorCodes.BROWSER_INSTANCE_NOT_READY,
        f"the instance of {business_id} {why}",
        {"business_id": business_id},
        retry_after=0.5,
    )

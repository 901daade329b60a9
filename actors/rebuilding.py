"""Replace a browser that died: the same actor, a new browser, the last checkpoint, tabs back."""

import asyncio
from collections.abc import Awaitable, Callable

from actors.keeper import now
from actors.presence import swallow
from actors.workplace import Workplace
from raypool.errors import ErrorCodes, StorageError, create_error
from raypool.logs import get_logger

log = get_logger(__name__)

STORE_RETRY_S = 0.5
MOST_IN_VAIN = 2
"""Rebuilds of which nobody had any use; one more and the supervisor, which backs off, takes over."""
FORGIVEN_AFTER_S = 600.0


class Rebuilder:
    """Rebuilds one browser at a time.

    Args:
        mended: Awaited when the new browser is up.
        beyond_repair: Awaited with the reason when it cannot be.
    """

    def __init__(
        self, mended: Callable[[], Awaitable[None]], beyond_repair: Callable[[str], Awaitable[None]]
    ) -> None:
        self._mended, self._beyond_repair = mended, beyond_repair
        self._task: asyncio.Task[None] | None = None
        self._over = False
        self._in_vain, self._last = 0, 0.0

    def of_use(self) -> None:
        """Take note that the present browser has done something."""
        self._in_vain = 0

    def begin(self, place: Workplace, reason: str, timeout: float) -> None:
        """Rebuild the browser of *place*; it is given *timeout* seconds to come up."""
        self._in_vain = 0 if now() - self._last > FORGIVEN_AFTER_S else self._in_vain
        self._in_vain, self._last = self._in_vain + 1, now()
        self._task = asyncio.get_running_loop().create_task(self._rebuild(place, reason, timeout))

    async def wait(self, timeout: float) -> None:
        """Return when no rebuild is under way, or after *timeout* seconds."""
        if self._task:
            await asyncio.wait({self._task}, timeout=timeout)

    def end(self) -> None:
        """Bring up no browser any more: the life is over. Idempotent."""
        self._over = True

    async def _rebuild(self, place: Workplace, reason: str, timeout: float) -> None:
        if self._in_vain > MOST_IN_VAIN:
            await self._beyond_repair(
                f"its browser died {self._in_vain} times without doing anything: {reason}"
            )
            return
        try:
            await place.drop()
            await self._reopen(place, timeout)
        except Exception as error:  # noqa: BLE001 -- whatever it was, this life is over
            await self._beyond_repair(
                f"its browser died ({reason}) and could not be rebuilt: {error}"
            )
            return
        if self._over:
            await place.drop()
            return
        log.info("browser rebuilt", reason=reason)
        await self._mended()

    async def _reopen(self, place: Workplace, timeout: float) -> None:
        """Open a browser; while the store is away nobody can say from which state: wait for it."""
        while not self._over:
            opening = asyncio.ensure_future(place.open())
            done, _ = await asyncio.wait({opening}, timeout=timeout)
            if not done:  # never cancel what may be inside Playwright
                opening.add_done_callback(swallow)
                raise create_error(ErrorCodes.BROWSER_START_FAILED, "it did not come up in time")
            error = opening.exception()
            if error is None:
                return
            if not isinstance(error, StorageError) or not error.retryable:
                raise error
            log.warning("rebuild waits for the store", error=error.message)
            await asyncio.sleep(STORE_RETRY_S)

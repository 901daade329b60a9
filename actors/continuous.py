"""Save what a browser changes by itself, as it changes: a crash costs a quarter of a second."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from actors.keeper import now
from actors.workplace import Workplace
from raypool.errors import StorageError
from raypool.logs import get_logger

log = get_logger(__name__)

SETTLE_S = 0.08
"""Changes come in bursts."""
GAP_S = 0.2
"""Between two saves, at least: a page that never rests must not keep the store busy."""
REST = 1
"""And so many times as long as the save took."""
LOOK_EVERY_S = 1.0
"""Cookies are looked at this often, whatever was told."""
AWAY_S = 1.0
"""After a save that the store did not take."""


class Continuous:
    """Follows one incarnation's browser, and each that takes its place.

    Args:
        place: The browser.
        save: Saves what changed.
    """

    def __init__(self, place: Workplace, save: Callable[[], Awaitable[None]]) -> None:
        self._place, self._save = place, save

    async def run(self) -> None:
        """Save until cancelled."""
        while True:
            await self._change()
            began = now()
            stored = await self._saved()
            await asyncio.sleep(max(GAP_S, REST * (now() - began)) if stored else AWAY_S)

    async def _change(self) -> None:
        """Return when something may have changed, and after a while in any case."""
        browser, lost = self._place.browser, self._place.lost
        if browser is not None and browser.changed.is_set():
            return  # it changed while we rested: that was time enough
        if browser is not None and not self._place.off_line:
            changed = asyncio.ensure_future(browser.changed.wait())
            ends: set[asyncio.Future[Any]] = {changed, lost}
            await asyncio.wait(ends, timeout=LOOK_EVERY_S, return_when=asyncio.FIRST_COMPLETED)
            changed.cancel()
            await asyncio.sleep(SETTLE_S)
        else:
            await asyncio.sleep(GAP_S)

    async def _saved(self) -> bool:
        """Save; tell whether the store is there."""
        if self._place.browser is None or self._place.off_line:
            return True
        try:
            await self._save()
        except StorageError as error:
            log.info("what changed is not saved yet", error=error.message)
            return False
        except Exception as error:  # noqa: BLE001 -- a browser that is dying; others tell of it
            log.debug("what changed could not be read", error=str(error))
        return True

"""Save what a browser changes by itself, as it changes: a crash costs a quarter of a second."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from actors.keeper import now
from actors.workplace import Workplace
from raypool.errors import RaypoolError
from raypool.logs import get_logger

log = get_logger(__name__)

SETTLE_S = 0.06
"""Changes come in bursts."""
GAP_S = 0.15
"""Between two saves, at least: a page that never rests must not keep the store busy."""
REST = 4
"""And so many times as long as a save took: large states are saved less often."""
LOOK_EVERY_S = 1.0
"""Cookies are looked at this often, whatever was told."""
AWAY_S = 1.0
"""After a save that failed."""


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
            well = await self._saved()
            await asyncio.sleep(max(GAP_S, REST * (now() - began)) if well else AWAY_S)

    async def _change(self) -> None:
        """Return when something may have changed, and after a while in any case."""
        browser = self._place.browser
        if browser is None or self._place.off_line:
            await asyncio.sleep(GAP_S)
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOK_EVERY_S):
                await browser.changed.wait()
        await asyncio.sleep(SETTLE_S)

    async def _saved(self) -> bool:
        if self._place.browser is None or self._place.off_line:
            return True
        try:
            await self._save()
        except RaypoolError as error:
            log.info("what changed is not saved yet", error=error.message)
            return False
        except Exception as error:  # noqa: BLE001 -- a browser that is dying; others tell of it
            log.debug("what changed could not be read", error=str(error))
            return False
        return True

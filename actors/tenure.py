"""The right to act for a business, and what must be gone before it is given back.

The lease comes first and goes last: between the two lie the incarnation's directory and every
process that was started in it.
"""

import asyncio
import contextlib
from collections.abc import Callable

from actors.keeper import LeaseKeeper, OpenLeases, now
from actors.life import Incarnation
from actors.ports import Home, Launcher
from raypool.errors import RaypoolError
from raypool.model import Lease
from raypool.store.base import LeaseStore

GONE_TIMEOUT_S = 10.0


class Tenure:
    """A lease that is held, kept by a thread, with the directory of its holder."""

    def __init__(self, lease: Lease, leases: LeaseStore, home: Home, keeper: LeaseKeeper) -> None:
        self.token, self.home = lease.token, home
        self._lease, self._leases, self._keeper = lease, leases, keeper

    def expect_end(self, deadline: float | None) -> None:
        """Note by when (clock of the keeper) the running command must have ended; None: none runs."""
        self._keeper.expect_end(deadline)

    async def clear(self) -> None:
        """Kill whatever runs in the directory; return when it is gone."""
        self.home.kill_browser()
        await asyncio.to_thread(self.home.wait_gone, GONE_TIMEOUT_S)

    async def end(self) -> None:
        """Leave nothing behind: processes, directory, lease, in this order. Idempotent."""
        await self.clear()
        self.home.remove()
        self._keeper.stop()
        with contextlib.suppress(RaypoolError):  # it expires by itself then
            await self._leases.release(self._lease)


async def begin(
    incarnation: Incarnation,
    ttl: float,
    leases: LeaseStore,
    launcher: Launcher,
    open_leases: OpenLeases,
    *,
    on_lost: Callable[[str], None],
    on_stuck: Callable[[], None],
) -> Tenure:
    """Acquire the lease and keep it from here on; then make the directory.

    Args:
        incarnation: Who asks.
        ttl: Seconds that the lease lasts without renewal.
        leases: Where the lease is.
        launcher: Makes the directory; kills what dead owners left on this node.
        open_leases: Opens the lease store for the keeper's own thread.
        on_lost: Called from the keeper's thread, the browser already killed, when the right is over.
        on_stuck: Called from the keeper's thread, the browser already killed, when the event loop
            does not end a command that is past its deadline.

    Raises:
        SessionLocked: Somebody else holds the business.
    """
    asked_at = now()
    lease = await leases.acquire(
        incarnation.business_id, incarnation.holder, ttl, supersedes=incarnation.supersedes
    )
    doors = _Doors(on_lost, on_stuck)
    keeper = LeaseKeeper(lease, asked_at, open_leases, on_lost=doors.lost, on_stuck=doors.stuck)
    keeper.start()
    try:
        home = await asyncio.to_thread(launcher.home, lease.business_id, lease.token)
    except BaseException:
        keeper.stop()
        await leases.release(lease)
        raise
    doors.home = home
    return Tenure(lease, leases, home, keeper)


class _Doors:
    """Shuts the browser out before anybody is told why. Used from the keeper's thread."""

    def __init__(self, on_lost: Callable[[str], None], on_stuck: Callable[[], None]) -> None:
        self.home: Home | None = None
        self._on_lost, self._on_stuck = on_lost, on_stuck

    def lost(self, reason: str) -> None:
        self._shut()
        self._on_lost(reason)

    def stuck(self) -> None:
        self._shut()
        self._on_stuck()

    def _shut(self) -> None:
        if self.home:
            self.home.kill_browser()

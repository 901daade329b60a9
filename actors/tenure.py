"""The right to act for a business, and what must be gone before it is given back.

The lease comes first and goes last: between the two lie the incarnation's directory and every
process that was started in it.
"""

import asyncio
import contextlib
from typing import Protocol

from actors.keeper import LeaseKeeper, OpenLeases, now
from actors.life import Incarnation
from actors.ports import Home, Launcher
from raypool.errors import RaypoolError
from raypool.logs import get_logger
from raypool.model import Lease
from raypool.store.base import LeaseStore

log = get_logger(__name__)

GONE_TIMEOUT_S = 10.0


class News(Protocol):
    """Who is told how the right to act fares. Called from the keeper's thread, after the deed."""

    def on_line_again(self) -> None:
        """The browser was frozen for a while and goes on."""

    def lease_lost(self, reason: str) -> None:
        """The right is over; the browser is dead."""

    def stuck(self) -> None:
        """The event loop does not end a command that is past its deadline; the browser is dead."""


class Tenure:
    """A lease that is held, kept by a thread, with the directory of its holder."""

    def __init__(self, lease: Lease, leases: LeaseStore, home: Home, keeper: LeaseKeeper) -> None:
        self.token, self.home = lease.token, home
        self._lease, self._leases, self._keeper = lease, leases, keeper

    @property
    def off_line(self) -> bool:
        """Whether the browser may not act now: the lease could not be renewed in time."""
        return self._keeper.off_line

    def off_line_seconds(self) -> float:
        """Return how long the browser was off line in all, up to now."""
        return self._keeper.off_line_seconds()

    def freeze_if_off_line(self) -> None:
        """Freeze a browser that came up while the lease could not be renewed."""
        if self.off_line:
            self.home.freeze()
        if (
            not self.off_line
        ):  # it came back meanwhile, and its thaw may have been before our freeze
            self.home.thaw()

    def expect_end(self, deadline: float | None) -> None:
        """Note by when (clock of the keeper) the running command must have ended; None: none runs."""
        self._keeper.expect_end(deadline)

    async def clear(self) -> None:
        """Kill whatever runs in the directory; return when it is gone."""
        self.home.kill_browser()
        while not await asyncio.to_thread(self.home.wait_gone, GONE_TIMEOUT_S):
            # Nobody else may act while it lives: the keeper goes on renewing meanwhile.
            log.error("the browser does not die", business_id=self._lease.business_id)
            self.home.kill_browser()

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
    news: News,
) -> Tenure:
    """Acquire the lease and keep it from here on; then make the directory.

    Args:
        incarnation: Who asks.
        ttl: Seconds that the lease lasts without renewal.
        leases: Where the lease is.
        launcher: Makes the directory; kills what dead owners left on this node.
        open_leases: Opens the lease store for the keeper's own thread.
        news: Is told how the right to act fares.

    Raises:
        SessionLocked: Somebody else holds the business.
    """
    asked_at = now()
    lease = await leases.acquire(
        incarnation.business_id, incarnation.holder, ttl, supersedes=incarnation.supersedes
    )
    doors = _Doors(news)
    keeper = LeaseKeeper(lease, asked_at, open_leases, doors)
    keeper.start()
    try:
        home = await asyncio.to_thread(
            launcher.home, lease.business_id, lease.token, incarnation.holder.id
        )
    except BaseException:
        keeper.stop()
        await leases.release(lease)
        raise
    doors.open(home)
    return Tenure(lease, leases, home, keeper)


class _Doors:
    """Shuts the browser out before anybody is told why. Used from the keeper's thread."""

    def __init__(self, news: News) -> None:
        self._home: Home | None = None
        self._until = 0.0
        self._news = news

    def open(self, home: Home) -> None:
        """Guard *home* from now on."""
        home.set_deadline(self._until)
        self._home = home

    def extended(self, until: float) -> None:
        self._until = until
        if self._home:
            self._home.set_deadline(until)

    def off_line(self) -> None:
        log.warning("off line: the lease could not be renewed in time")
        if self._home and not self._home.freeze():
            self._home.kill_browser()

    def on_line(self) -> None:
        log.warning("on line again")
        if self._home:
            self._home.thaw()
        self._news.on_line_again()

    def lost(self, reason: str) -> None:
        self._shut()
        self._news.lease_lost(reason)

    def stuck(self) -> None:
        self._shut()
        self._news.stuck()

    def _shut(self) -> None:
        if self._home:
            self._home.kill_browser()

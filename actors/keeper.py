"""Keep a lease, beside the work and whatever the work does to its event loop.

A thread with an event loop and a Redis connection of its own. It counts from before each request was
sent, by a clock that goes on while the machine is suspended: what the server believes can only last
longer than what we believe.

The right to act is *held* until the local deadline, then *off line*: the browser is frozen, commands
are refused, and the keeper goes on asking. It ends on line again, when nobody held the business in
between, or *lost*, and then for good.
"""

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Protocol

from raypool.errors import RaypoolError
from raypool.logs import get_logger
from raypool.model import Lease
from raypool.store.base import LeaseStore

log = get_logger(__name__)

OpenLeases = Callable[[], AbstractAsyncContextManager[LeaseStore]]
STUCK_GRACE_S = 5.0
SAFE_SHARE = 0.9
"""Of a lease's life: what is left over covers how late a thread may wake and a clock may run."""
_POLL_S = 0.1
_ASK_AGAIN_S = 0.5


def now() -> float:
    """Return seconds since the machine was started, the time that it slept included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Guard(Protocol):
    """Who does what the keeper finds due. Every method is called from the keeper's thread."""

    def extended(self, until: float) -> None:
        """The right to act now lasts until then (:func:`now`)."""

    def off_line(self) -> None:
        """The right to act has run out. When this returns the browser can do nothing."""

    def on_line(self) -> None:
        """It is back, and nobody held it in between."""

    def lost(self, reason: str) -> None:
        """It went to somebody else. When this returns the browser is dead."""

    def stuck(self) -> None:
        """A command is past its deadline and the event loop that should end it does not turn."""


class LeaseKeeper:
    """Renews *lease* until told to stop.

    Args:
        lease: The lease that was acquired.
        acquired_at: Time (:func:`now`) before the request that acquired it was sent.
        open_leases: Opens a lease store bound to the loop that runs it.
        guard: Is told what is due; ``lost`` and ``stuck`` are told once.
    """

    def __init__(
        self, lease: Lease, acquired_at: float, open_leases: OpenLeases, guard: Guard
    ) -> None:
        self._lease, self._open_leases, self._guard = lease, open_leases, guard
        self._valid_until = acquired_at + lease.ttl * SAFE_SHARE
        self._hard_deadline: float | None = None
        self._off: tuple[float, float | None] = (0.0, None)
        """Seconds off line before, and since when again: changed at once, read by other threads."""
        self._stopped = threading.Event()
        self._told = False
        self._thread = threading.Thread(target=self._run, name="lease-keeper", daemon=True)

    def start(self) -> None:
        """Begin to renew."""
        self._guard.extended(self._valid_until)
        self._thread.start()

    def stop(self) -> None:
        """End renewing; the lease itself is left as it is. Idempotent, does not wait."""
        self._stopped.set()

    def expect_end(self, deadline: float | None) -> None:
        """Note by when (clock: :func:`now`) the running command must have ended; None: none runs.

        Time off line does not count: no command can end while its browser is frozen.
        """
        on_line = None if deadline is None else deadline - self.off_line_seconds()
        self._hard_deadline = None if on_line is None else on_line + STUCK_GRACE_S

    @property
    def off_line(self) -> bool:
        """Whether the browser may not act now."""
        return self._off[1] is not None or now() > self._valid_until

    def off_line_seconds(self) -> float:
        """Return how long it was off line in all, up to now."""
        before, since = self._off
        return before + (now() - since if since is not None else 0.0)

    def _run(self) -> None:
        try:
            asyncio.run(self._keep())
        except Exception as error:  # noqa: BLE001 -- without its keeper a lease is not held
            self._end(f"its keeper failed: {error!r}")

    async def _keep(self) -> None:
        while not self._over():
            try:
                async with AsyncExitStack() as stack:
                    async with asyncio.timeout(self._patience()):
                        leases = await stack.enter_async_context(self._open_leases())
                    await self._renew_on_time(leases)
            except (RaypoolError, TimeoutError) as error:
                self._complain(error)
                await asyncio.sleep(_POLL_S)

    async def _renew_on_time(self, leases: LeaseStore) -> None:
        next_renewal = now() + (0 if self._off[1] else self._lease.ttl / 3)
        while not self._over():
            await asyncio.sleep(_POLL_S)
            if now() >= next_renewal:
                next_renewal = now() + self._lease.ttl / 3
                if not await self._renew(leases):
                    next_renewal = now() + _ASK_AGAIN_S

    async def _renew(self, leases: LeaseStore) -> bool:
        """Ask once; tell whether there was an answer."""
        sent_at = now()
        try:
            async with asyncio.timeout(self._patience()):
                renewed = await leases.renew(self._lease)
        except (RaypoolError, TimeoutError) as error:
            self._complain(error)
            return False
        if renewed:
            self._extend(sent_at + self._lease.ttl * SAFE_SHARE)
        else:
            self._end("somebody else held it meanwhile")
        return True

    def _patience(self) -> float:
        """Seconds that an answer may take: never past the moment when the right to act is over."""
        most = self._lease.ttl / 3
        return most if self._off[1] else max(_POLL_S, min(most, self._valid_until - now()))

    def _extend(self, until: float) -> None:
        if now() > until:  # the answer took longer than the lease
            return
        self._valid_until = until
        self._guard.extended(until)
        if self._off[1] is not None:
            self._guard.on_line()  # first: a browser that is still frozen must not look on line
            self._off = (self.off_line_seconds(), None)

    def _over(self) -> bool:
        """Tell whether there is nothing to keep any more, after doing what has become due."""
        if self._stopped.is_set() or self._told:
            return True
        if self._off[1] is None and now() > self._valid_until:
            self._off = (self._off[0], now())
            self._guard.off_line()
        hard = self._hard_deadline
        if hard is not None and now() - self.off_line_seconds() > hard:
            self._told = True
            self._guard.stuck()
        return self._told

    def _complain(self, error: Exception) -> None:
        log.warning("lease not renewed", business_id=self._lease.business_id, error=repr(error))

    def _end(self, reason: str) -> None:
        if self._stopped.is_set() or self._told:
            return
        self._told = True
        self._guard.lost(reason)
        if not self._stopped.wait(STUCK_GRACE_S):  # the event loop did not take the news
            self._guard.stuck()

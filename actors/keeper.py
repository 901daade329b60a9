"""Keep a lease, beside the work and whatever the work does to its event loop.

A thread with an event loop and a Redis connection of its own. It counts from before each request was
sent, by a clock that goes on while the machine is suspended: what the server believes can only last
longer than what we believe.
"""

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack

from raypool.errors import RaypoolError
from raypool.logs import get_logger
from raypool.model import Lease
from raypool.store.base import LeaseStore

log = get_logger(__name__)

OpenLeases = Callable[[], AbstractAsyncContextManager[LeaseStore]]
STUCK_GRACE_S = 5.0
_POLL_S = 0.1


def now() -> float:
    """Return seconds since the machine was started, the time that it slept included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class LeaseKeeper:
    """Renews *lease* until told to stop.

    Args:
        lease: The lease that was acquired.
        acquired_at: Time (:func:`now`) before the request that acquired it was sent.
        open_leases: Opens a lease store bound to the loop that runs it.
        on_lost: Called once from the keeper's thread when the right to act is over. It must stop the
            browser before it returns.
        on_stuck: Called once from the keeper's thread when a command is past its deadline and the
            event loop that should end it does not turn.
    """

    def __init__(
        self,
        lease: Lease,
        acquired_at: float,
        open_leases: OpenLeases,
        *,
        on_lost: Callable[[str], None],
        on_stuck: Callable[[], None],
    ) -> None:
        self._lease, self._open_leases = lease, open_leases
        self._on_lost, self._on_stuck = on_lost, on_stuck
        self._valid_until = acquired_at + lease.ttl * 0.9
        self._hard_deadline: float | None = None
        self._stopped = threading.Event()
        self._told = False
        self._thread = threading.Thread(target=self._run, name="lease-keeper", daemon=True)

    def start(self) -> None:
        """Begin to renew."""
        self._thread.start()

    def stop(self) -> None:
        """End renewing; the lease itself is left as it is. Idempotent, does not wait."""
        self._stopped.set()

    def expect_end(self, deadline: float | None) -> None:
        """Note by when (clock: :func:`now`) the running command must have ended; None: none runs."""
        self._hard_deadline = None if deadline is None else deadline + STUCK_GRACE_S

    def _run(self) -> None:
        try:
            asyncio.run(self._keep())
        except Exception as error:  # noqa: BLE001 -- without its keeper a lease is not held
            self._end(f"its keeper failed: {error!r}")

    async def _keep(self) -> None:
        while not self._stopped.is_set():
            try:
                async with AsyncExitStack() as stack:
                    async with asyncio.timeout(self._patience()):
                        leases = await stack.enter_async_context(self._open_leases())
                    await self._renew_on_time(leases)
            except (RaypoolError, TimeoutError) as error:
                self._complain(error)
                await asyncio.sleep(_POLL_S)
            if self._over():
                return

    async def _renew_on_time(self, leases: LeaseStore) -> None:
        next_renewal = now() + self._lease.ttl / 3
        while not self._over():
            await asyncio.sleep(_POLL_S)
            if now() >= next_renewal:
                next_renewal = now() + self._lease.ttl / 3
                await self._renew(leases)

    async def _renew(self, leases: LeaseStore) -> None:
        sent_at = now()
        try:
            async with asyncio.timeout(self._patience()):
                renewed = await leases.renew(self._lease)
        except (RaypoolError, TimeoutError) as error:
            self._complain(error)
            return
        if renewed:
            self._valid_until = sent_at + self._lease.ttl * 0.9
        else:
            self._end("somebody else holds it, or it expired")

    def _patience(self) -> float:
        """Seconds that an answer may take: never past the moment when the right to act is over."""
        return max(_POLL_S, min(self._lease.ttl / 3, self._valid_until - now()))

    def _over(self) -> bool:
        """Tell whether there is nothing to keep any more, after ending what is past its time."""
        if self._stopped.is_set() or self._told:
            return True
        if self._hard_deadline is not None and now() > self._hard_deadline:
            self._told = True
            self._on_stuck()
        elif now() > self._valid_until:
            self._end("it could not be renewed in time")
        return self._told

    def _complain(self, error: Exception) -> None:
        log.warning("lease not renewed", business_id=self._lease.business_id, error=repr(error))

    def _end(self, reason: str) -> None:
        if self._stopped.is_set() or self._told:
            return
        self._told = True
        self._on_lost(reason)
        if not self._stopped.wait(STUCK_GRACE_S):  # the event loop did not take the news
            self._on_stuck()

"""Keep a lease, beside the work and whatever the work does to its event loop.

A thread with an event loop and a Redis connection of its own. It counts by the monotonic clock from
before each request was sent: what the server believes can only last longer than what we believe.
"""

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from raypool.errors import RaypoolError
from raypool.logs import get_logger
from raypool.model import Lease
from raypool.store.base import LeaseStore

log = get_logger(__name__)

OpenLeases = Callable[[], AbstractAsyncContextManager[LeaseStore]]
STUCK_GRACE_S = 5.0
_POLL_S = 0.25


class LeaseKeeper:
    """Renews *lease* until told to stop.

    Args:
        lease: The lease that was acquired.
        acquired_at: Monotonic time before the request that acquired it was sent.
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
        self._thread = threading.Thread(target=self._run, name="lease-keeper", daemon=True)

    def start(self) -> None:
        """Begin to renew."""
        self._thread.start()

    def stop(self) -> None:
        """End renewing; the lease itself is left as it is. Idempotent, does not wait."""
        self._stopped.set()

    def expect_end(self, deadline: float | None) -> None:
        """Note by when (monotonic) the running command must have ended; None: no command runs."""
        self._hard_deadline = None if deadline is None else deadline + STUCK_GRACE_S

    def _run(self) -> None:
        asyncio.run(self._keep())

    async def _keep(self) -> None:
        async with self._open_leases() as leases:
            next_renewal = time.monotonic() + self._lease.ttl / 3
            while not self._stopped.is_set():
                await asyncio.sleep(_POLL_S)
                now = time.monotonic()
                if self._hard_deadline is not None and now > self._hard_deadline:
                    self._on_stuck()
                    return
                if now >= next_renewal:
                    next_renewal = now + self._lease.ttl / 3
                    if reason := await self._renew(leases):
                        self._end(reason)
                        return

    async def _renew(self, leases: LeaseStore) -> str | None:
        """Renew once; return why the right to act is over, None while it is not."""
        sent_at = time.monotonic()
        try:
            async with asyncio.timeout(self._lease.ttl / 3):
                renewed = await leases.renew(self._lease)
        except (RaypoolError, TimeoutError) as error:
            log.warning("lease not renewed", business_id=self._lease.business_id, error=str(error))
            expired = time.monotonic() > self._valid_until
            return "it could not be renewed in time" if expired else None
        if renewed:
            self._valid_until = sent_at + self._lease.ttl * 0.9
            return None
        return "somebody else holds it, or it expired"

    def _end(self, reason: str) -> None:
        if self._stopped.is_set():
            return
        self._on_lost(reason)
        if not self._stopped.wait(STUCK_GRACE_S):  # the event loop did not take the news
            self._on_stuck()

"""Hold a lease for a block of code, renewed beside it."""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from raypool.errors import LeaseLost, RaypoolError, SessionLocked
from raypool.model import Holder, Lease
from raypool.store.base import LeaseStore


@asynccontextmanager
async def hold(
    leases: LeaseStore, business_id: str, holder: Holder, ttl: float, timeout: float
) -> AsyncIterator[int]:
    """Hold the lease of *business_id* for the block; gives the fencing token.

    Raises:
        SessionLocked: Somebody else had it for longer than *timeout* seconds.
        LeaseLost: It was lost while the block ran. Fenced writes of the block were refused since.
    """
    lease = await _acquire(leases, business_id, holder, ttl, time.monotonic() + timeout)
    lost = asyncio.Event()
    renewing = asyncio.create_task(_renew(leases, lease, lost))
    try:
        yield lease.token
    finally:
        renewing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await renewing
        with contextlib.suppress(RaypoolError):  # a server that is away drops the lease by itself
            if not await leases.renew(lease):  # lost since it was last renewed
                lost.set()
            await leases.release(lease)
    if lost.is_set():
        raise LeaseLost(f"the lock of {business_id} was lost while it was used")


async def _acquire(
    leases: LeaseStore, business_id: str, holder: Holder, ttl: float, deadline: float
) -> Lease:
    while True:
        try:
            return await leases.acquire(business_id, holder, ttl)
        except SessionLocked:
            left = deadline - time.monotonic()
            if left <= 0:
                raise
            await asyncio.sleep(min(left, random.uniform(0.05, 0.2)))  # noqa: S311 -- jitter


async def _renew(leases: LeaseStore, lease: Lease, lost: asyncio.Event) -> None:
    valid_until = time.monotonic() + lease.ttl
    while not lost.is_set():
        await asyncio.sleep(lease.ttl / 3)
        sent_at = time.monotonic()
        with contextlib.suppress(RaypoolError):
            if not await leases.renew(lease):
                lost.set()
            valid_until = sent_at + lease.ttl
        if time.monotonic() > valid_until:
            lost.set()

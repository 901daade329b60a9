"""Leases in Redis: who may act for a business, and the fencing token that says so."""

import json
from datetime import UTC, datetime

from raypool.errors import RaypoolError, SessionLocked
from raypool.model import Holder, Lease
from raypool.store.connection import Connection
from raypool.store.keys import TOKEN_TTL_S
from raypool.store.records import when


class RedisLeases:
    """See :class:`raypool.store.base.LeaseStore`."""

    def __init__(self, connection: Connection) -> None:
        self._connection, self._keys = connection, connection.keys

    async def acquire(
        self, business_id: str, holder: Holder, ttl: float, *, supersedes: str | None = None
    ) -> Lease:
        """Take the lease; see the protocol."""
        keys = [
            self._keys.lease(business_id),
            self._keys.token(business_id),
            self._events(business_id),
        ]
        args = [holder.id, holder.model_dump_json(), _ms(ttl), supersedes or "", 0,
                TOKEN_TTL_S * 1000, business_id]  # fmt: skip
        answer = await self._connection.script("acquire_lease", keys, args, urgent=True)
        if answer[0] == b"HELD":
            held = _lease(business_id, answer[3], answer[1], answer[2], 0)
            raise locked(held, int(answer[4]) / 1000)
        return Lease(
            business_id=business_id,
            token=int(answer[1]),
            holder=holder,
            ttl=ttl,
            since=when(answer[2]),
        )

    async def renew(self, lease: Lease) -> bool:
        """Make the lease last its ttl again; see the protocol."""
        keys = [self._keys.lease(lease.business_id)]
        args = [lease.holder.id, lease.token, _ms(lease.ttl)]
        return bool(await self._connection.script("renew_lease", keys, args, urgent=True))

    async def release(self, lease: Lease) -> bool:
        """Let go; see the protocol."""
        keys = [self._keys.lease(lease.business_id), self._events(lease.business_id)]
        args = [lease.holder.id, lease.token, lease.business_id]
        return bool(await self._connection.script("release_lease", keys, args, urgent=True))

    async def get(self, business_id: str) -> Lease | None:
        """Return the lease that is held now; see the protocol."""
        key = self._keys.lease(business_id)
        (found,) = await self._connection.hashes([key])
        if not found:
            return None
        remaining = int(await self._connection.command("PTTL", key))
        return _lease(
            business_id,
            found[b"holder"],
            found[b"token"],
            found[b"since"],
            max(remaining, 0) / 1000,
        )

    def _events(self, business_id: str) -> str:
        return self._keys.events(self._keys.partition_of(business_id))


def locked(held: Lease, remaining: float) -> RaypoolError:
    """Return the error for a lease that somebody else holds: who, where, since when."""
    holder = held.holder
    since = held.since.astimezone(UTC).strftime("%H:%M:%S")
    return SessionLocked(
        f"{held.business_id} is held by {holder.kind} {holder.id[:8]} of cluster "
        f"{holder.cluster or '?'} (node {holder.node_id[:8] or '?'}, pid {holder.pid}) "
        f"since {since} UTC",
        context={
            "business_id": held.business_id,
            "holder": holder.id,
            "kind": holder.kind,
            "cluster": holder.cluster,
            "node_id": holder.node_id,
            "pid": holder.pid,
            "since": held.since.isoformat(),
        },
        retry_after=remaining,
    )


def _lease(business_id: str, holder: bytes, token: bytes, since: bytes, ttl: float) -> Lease:
    return Lease(
        business_id=business_id,
        token=int(token),
        holder=Holder.model_validate(json.loads(holder)),
        ttl=ttl,
        since=datetime.fromtimestamp(int(since) / 1000, UTC),
    )


def _ms(seconds: float) -> int:
    return max(1, int(seconds * 1000))

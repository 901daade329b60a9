"""Leases in Redis: who may act for a business, and the fencing token that says so."""

import json
import uuid
from datetime import UTC, datetime
from typing import Any

from raypool.errors import RaypoolError, SessionLocked
from raypool.ids import parse_business_id
from raypool.model import Holder, Lease
from raypool.store.audit_log import parse_note
from raypool.store.connection import Connection
from raypool.store.keys import TOKEN_TTL_S
from raypool.store.records import when


class RedisLeases:
    """See :class:`raypool.store.base.LeaseStore`."""

    def __init__(self, connection: Connection) -> None:
        self._connection, self._keys = connection, connection.keys
        self._key_ids = " ".join(connection.keyring.ids)
        """Which master keys this owner has: no other must wrap what it reads."""

    async def acquire(
        self, business_id: str, holder: Holder, ttl: float, *, supersedes: str | None = None
    ) -> Lease:
        """Take the lease; see the protocol."""
        args = [holder.id, holder.model_dump_json(), _ms(ttl), supersedes or "",
                TOKEN_TTL_S * 1000, business_id, self._key_ids]  # fmt: skip
        answer = await self._script("acquire_lease", business_id, args)
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
        args = [lease.holder.id, lease.token, _ms(lease.ttl), lease.holder.model_dump_json(),
                round(lease.since.timestamp() * 1000), TOKEN_TTL_S * 1000,
                lease.business_id, self._key_ids]  # fmt: skip
        return bool(await self._script("renew_lease", lease.business_id, args))

    async def release(self, lease: Lease) -> bool:
        """Let go; see the protocol."""
        args = [lease.holder.id, lease.token, TOKEN_TTL_S * 1000, lease.business_id]
        return bool(await self._script("release_lease", lease.business_id, args))

    async def unlock(self, business_id: str, *, by: str, reason: str) -> Lease | None:
        """Break the lease; see the protocol."""
        wanted = parse_business_id(business_id)
        args = [wanted, parse_note(by, "by"), parse_note(reason, "reason"), TOKEN_TTL_S * 1000,
                uuid.uuid4().hex]  # fmt: skip
        audit = self._keys.audit(self._keys.partition_of(wanted))
        answer = await self._script("unlock_lease", wanted, args, audit)
        if not answer:
            return None
        broken, token, since, remaining = answer
        return _lease(wanted, broken, token, since, int(remaining) / 1000)

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

    async def _script(self, name: str, business_id: str, args: list[Any], *more: str) -> Any:
        keys, partition = self._keys, self._keys.partition_of(business_id)
        named = [keys.lease(business_id), keys.token(business_id), keys.events(partition), *more]
        return await self._connection.script(name, named, args, urgent=True)


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

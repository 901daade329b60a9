"""The twin's leases."""

from datetime import timedelta

from raypool.ids import parse_business_id
from raypool.model import AuditEntry, Holder, Lease
from raypool.store.audit_log import parse_note, whom
from raypool.store.leases import locked
from raypool.store.memory_parts import MemoryRecords


class MemoryLeases:
    """See :class:`raypool.store.base.LeaseStore`."""

    def __init__(self, records: MemoryRecords) -> None:
        self._records = records

    async def acquire(
        self, business_id: str, holder: Holder, ttl: float, *, supersedes: str | None = None
    ) -> Lease:
        """Take the lease; see the protocol."""
        held = self._records.held(business_id)
        if held and held.holder.id == holder.id:
            return self._keep(held.model_copy(update={"ttl": ttl}))
        if held and held.holder.id != supersedes:
            raise locked(held, held.ttl)
        now, last = self._records.now(), self._records.tokens.get(business_id, 0)
        token = max(last + 1, int(now.timestamp() * 1_000_000))
        self._records.tokens[business_id] = token
        return self._keep(
            Lease(business_id=business_id, token=token, holder=holder, ttl=ttl, since=now)
        )

    async def renew(self, lease: Lease) -> bool:
        """Make the lease last its ttl again; see the protocol."""
        if not self._may_go_on(lease):
            return False
        self._records.tokens[lease.business_id] = lease.token
        self._keep(lease)
        return True

    async def release(self, lease: Lease) -> bool:
        """Let go; see the protocol."""
        if not self._may_go_on(lease):
            return False
        was = self._records.held(lease.business_id)
        self._end(lease.business_id, lease.token + 1, "released")
        return was is not None

    async def unlock(self, business_id: str, *, by: str, reason: str) -> Lease | None:
        """Break the lease; see the protocol."""
        now, held = self._records.now(), self._records.held(parse_business_id(business_id))
        entry = AuditEntry(
            at=now,
            action="unlock",
            business_id=business_id,
            by=parse_note(by, "by"),
            reason=parse_note(reason, "reason"),
            detail=whom(held.holder, held.token, held.since) if held else {},
        )
        self._records.audit.append(entry)
        last = self._records.tokens.get(business_id, 0)
        self._end(business_id, max(last + 1, int(now.timestamp() * 1_000_000)), "unlocked")
        return held

    async def get(self, business_id: str) -> Lease | None:
        """Return the lease that is held now; see the protocol."""
        return self._records.held(business_id)

    def _may_go_on(self, lease: Lease) -> bool:
        """Tell whether nobody else holds the business, or held it since."""
        held, last = self._records.held(lease.business_id), self._records.tokens
        mine = held is None or (held.holder.id, held.token) == (lease.holder.id, lease.token)
        return mine and last.get(lease.business_id, 0) <= lease.token

    def _end(self, business_id: str, counter: int, kind: str) -> None:
        self._records.leases.pop(business_id, None)
        self._records.tokens[business_id] = counter
        self._records.events.announce(business_id, kind)

    def _keep(self, lease: Lease) -> Lease:
        until = self._records.now() + timedelta(seconds=lease.ttl)
        self._records.leases[lease.business_id] = (lease, until)
        return lease

"""The twin: the whole store in a dictionary, with the same promises, for tests and for trying out.

Nothing here survives the process, and nothing is encrypted: nothing leaves it either. The contract
suite runs over this twin and over real servers, so what a test shows with one holds for the other.
"""

import unicodedata
import uuid
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from typing import Any, Self

from raypool.errors import SessionNotFound, VersionConflict
from raypool.ids import parse_business_id, parse_email
from raypool.model import (
    AuditEntry,
    CheckpointMeta,
    Desired,
    Holder,
    Observed,
    Session,
    SessionStatus,
    Supervision,
)
from raypool.state import laid_over
from raypool.store.audit_log import parse_limit
from raypool.store.changes import Changes, parse_changes, parse_wishes
from raypool.store.keys import Keys
from raypool.store.locking import hold
from raypool.store.memory_breakers import MemoryBreakers
from raypool.store.memory_leases import MemoryLeases
from raypool.store.memory_parts import Clock, MemoryCheckpoints, MemoryRecords
from raypool.store.whereabouts import Whereabouts
from raypool.store.writing import fenced

Sessions = list[Session]


def utc_now() -> datetime:
    """Return the time, to the millisecond as the servers keep it."""
    now = datetime.now(UTC)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


class MemoryStore:
    """A store in memory: ``sessions``, ``leases``, ``checkpoints``, ``events``, ``breakers``.

    Args:
        clock: Tells the time, aware UTC. A test passes its own and moves it.
        session_ttl: Seconds that a session outlives its last activity.
        lease_ttl: Seconds that ``lock`` takes its lease for.
    """

    def __init__(
        self, clock: Clock = utc_now, *, session_ttl: float = 86_400.0, lease_ttl: float = 15.0
    ) -> None:
        self._records = records = MemoryRecords(clock)
        self.leases = MemoryLeases(records)
        self.checkpoints = MemoryCheckpoints(records)
        self.events = records.events
        self.breakers = MemoryBreakers(clock)
        self.sessions = MemorySessions(
            records, self.leases, self.checkpoints, session_ttl=session_ttl, lease_ttl=lease_ttl
        )

    def lose(self) -> None:
        """Be empty, as a server that comes back without its data. Who uses the store stays."""
        self._records.lose()
        self.checkpoints.lose()


class MemorySessions:
    """See :class:`raypool.store.base.SessionStore`."""

    def __init__(
        self,
        records: MemoryRecords,
        leases: MemoryLeases,
        checkpoints: MemoryCheckpoints,
        *,
        session_ttl: float,
        lease_ttl: float,
    ) -> None:
        self._records, self.leases, self.checkpoints = records, leases, checkpoints
        self._session_ttl, self._lease_ttl = session_ttl, lease_ttl
        self._whereabouts = Whereabouts(records)
        self._keys = Keys("memory:")

    async def open(self) -> Self:
        """Do nothing: there is no server. For whoever opens every store that it uses."""
        return self

    async def close(self) -> None:
        """Do nothing; what is kept stays."""

    async def create_session(
        self,
        business_id: str,
        email: str | None = None,
        status: SessionStatus = SessionStatus.ACTIVE,
        ttl: float | None = None,
        **spec: Any,
    ) -> Session:
        """Create a session; see the protocol."""
        changes = parse_wishes({"email": email, "status": status, "ttl": ttl, **spec})
        return self._write(changes.over(self._blank(parse_business_id(business_id))))

    async def ensure_active(
        self,
        business_id: str,
        *,
        email: str | None = None,
        desired: Desired | None = None,
        **spec: Any,
    ) -> Session:
        """Return the active session, made if missing; see the protocol."""
        given = {"email": email, "desired": desired}
        changes = parse_wishes({**{k: v for k, v in given.items() if v is not None}, **spec})
        before = await self.get_active_session(business_id)
        after = changes.over(before or self._blank(business_id))
        return await self.touch(after.id) if after == before else self._write(after)

    async def get_session(self, session_id: str) -> Session | None:
        """Return a session, None when there is none."""
        return self._records.find(session_id)

    async def update_session(
        self, session_id: str, *, expected_version: int | None = None, **changes: Any
    ) -> Session:
        """Change a session; see the protocol."""
        asked = parse_changes(changes)
        session = self._records.existing(session_id)
        if expected_version is not None and session.version != expected_version:
            raise VersionConflict(
                f"session {session.id} is at version {session.version}, not {expected_version}",
                context={"session_id": session.id, "version": session.version},
            )
        if asked.parts:
            await self._import(session, asked)
            session = self._records.existing(session_id)
        return self._write(asked.over(session)) if asked.record else session

    async def get_sessions_by_business(self, business_id: str) -> Sessions:
        """Return the sessions of a business, oldest first."""
        wanted = parse_business_id(business_id)
        return [s for s in self._records.living() if s.business_id == wanted]

    async def get_sessions_by_email(self, email: str) -> Sessions:
        """Return the sessions of an e-mail address, oldest first."""
        wanted = _folded(parse_email(email))
        return [s for s in self._records.living() if s.email and _folded(s.email) == wanted]

    async def get_active_session(self, business_id: str) -> Session | None:
        """Return the one active session of a business."""
        found = await self.get_sessions_by_business(business_id)
        return next((s for s in found if s.status is SessionStatus.ACTIVE), None)

    async def list_sessions(
        self, *, status: SessionStatus | None = None, desired: Desired | None = None
    ) -> Sessions:
        """Return all sessions, or those with this status or wish, oldest first."""
        return [
            s
            for s in self._records.living()
            if status in {None, s.status} and desired in {None, s.desired}
        ]

    async def delete_session(self, session_id: str) -> None:
        """Delete a session; see the protocol."""
        session = self._records.existing(session_id)
        del self._records.sessions[session.id]
        self.checkpoints.forget(session_id)
        self._records.events.announce(session.business_id, "deleted")

    async def touch(self, session_id: str) -> Session:
        """Slide TTL and last activity."""
        session = self._records.existing(session_id)
        return self._records.slide(session, updated_at=self._records.now())

    async def report(self, session_id: str, token: int, observed: Observed) -> None:
        """Write what the owner says of its instance; see the protocol."""
        session = self._records.existing(session_id)
        self._records.fence(session, token)
        self._records.sessions[session_id] = session.model_copy(
            update={"observed": observed, "fencing_token": token}
        )

    async def supervise(self, session_id: str, supervision: Supervision) -> None:
        """Write what the supervisor must remember of a session; see the protocol."""
        session = self._records.existing(session_id)
        self._records.sessions[session_id] = session.model_copy(update={"supervision": supervision})
        self._records.events.announce(session.business_id, "supervised")

    async def rewrite_lost(self, session: Session, token: int) -> Session:
        """Write a record again that was lost; see the protocol."""
        there = self._records.find(session.id)
        if there is None:
            there = self._bring_back(session, token)
        self._whereabouts.note(session.id, self._records.identity)
        return there

    async def audit_log(self, limit: int = 100) -> list[AuditEntry]:
        """Return what people did, newest first."""
        return self._records.audit[::-1][: parse_limit(limit)]

    async def stats(self) -> dict[str, Any]:
        """Return counts of sessions and leases."""
        sessions = self._records.living()
        held = [await self.leases.get(b) for b in {s.business_id for s in sessions}]
        return {
            "sessions": len(sessions),
            "by_status": {str(k): sum(s.status is k for s in sessions) for k in SessionStatus},
            "by_desired": {str(k): sum(s.desired is k for s in sessions) for k in Desired},
            "leases": sum(lease is not None for lease in held),
            "server": "memory",
            "version": "",
            "used_memory_bytes": None,
        }

    def lock(self, business_id: str, *, timeout: float = 0) -> AbstractAsyncContextManager[int]:
        """Hold the business's lease for the block; gives the fencing token."""
        holder = Holder(id=uuid.uuid4().hex, kind="lock")
        return hold(self.leases, parse_business_id(business_id), holder, self._lease_ttl, timeout)

    def _write(self, session: Session) -> Session:
        now = self._records.now()
        self._whereabouts.note(session.id, self._records.identity)
        if session.status is SessionStatus.ACTIVE:
            self._demote_others(session, now)
        created = now if session.version == 0 else session.created_at
        kind = "created" if session.version == 0 else "updated"
        self._records.events.announce(session.business_id, kind)
        return self._records.slide(
            session, version=session.version + 1, created_at=created, updated_at=now
        )

    def _bring_back(self, session: Session, token: int) -> Session:
        if not self._whereabouts.lost(session.id, self._records.identity):
            raise SessionNotFound(f"there is no session {session.id!r}, or it has expired")
        if token < session.fencing_token:
            raise fenced(session.business_id, token)
        never = {"checkpoint_version": 0, "last_good_version": 0, "observed": Observed()}
        bare = session.model_copy(
            update={**never, "supervision": Supervision(), "fencing_token": token}
        )
        self._records.fence(bare, token)
        return self._write(bare)

    def _demote_others(self, session: Session, now: datetime) -> None:
        for other in self._records.living():
            rival = other.business_id == session.business_id and other.id != session.id
            if rival and other.status is SessionStatus.ACTIVE:
                self._records.sessions[other.id] = other.model_copy(
                    update={
                        "status": SessionStatus.INACTIVE,
                        "desired": Desired.STOPPED,
                        "version": other.version + 1,
                        "updated_at": now,
                    }
                )

    async def _import(self, session: Session, asked: Changes) -> None:
        async with self.lock(session.business_id) as token:
            before = await self.checkpoints.load(session.id)
            parts = laid_over(before.parts if before else {}, asked.parts)
            await self.checkpoints.save(
                session.id, token, parts, CheckpointMeta(reasons=("imported",))
            )

    def _blank(self, business_id: str) -> Session:
        now = self._records.now()
        return Session(
            id=self._keys.new_session_id(business_id),
            business_id=business_id,
            version=0,
            created_at=now,
            updated_at=now,
            last_activity=now,
            expires_at=now,
            ttl=self._session_ttl,
        )


def _folded(email: str) -> str:
    return unicodedata.normalize("NFKC", email).casefold()

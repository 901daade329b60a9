"""What the twin in memory consists of: records with their fence, and checkpoints."""

import hashlib
import uuid
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from raypool.errors import SessionNotFound
from raypool.model import (
    AuditEntry,
    Checkpoint,
    CheckpointInfo,
    CheckpointMeta,
    Lease,
    Session,
    VersionDiff,
)
from raypool.store.differences import compare, kept_or_refused
from raypool.store.manifests import (
    Manifest,
    PartRef,
    digests,
    is_passed_over,
    may_be_last_good,
    says_nothing_new,
    to_drop,
)
from raypool.store.memory_events import MemoryEvents
from raypool.store.writing import fenced

Clock = Callable[[], datetime]
Sessions = list[Session]
Infos = list[CheckpointInfo]


class MemoryRecords:
    """The records and what fences them; what expired is gone."""

    def __init__(self, clock: Clock) -> None:
        self.now = clock
        self.sessions: dict[str, Session] = {}
        self.tokens: dict[str, int] = {}
        self.leases: dict[str, tuple[Lease, datetime]] = {}
        self.audit: list[AuditEntry] = []
        self.events = MemoryEvents()
        self.identity = self.first_identity = uuid.uuid4().hex
        """Of the data: another one once they were lost."""

    def lose(self) -> None:
        """Be empty, as a server that comes back without its data."""
        for kept in (self.sessions, self.tokens, self.leases, self.audit):
            kept.clear()
        self.identity = uuid.uuid4().hex

    def held(self, business_id: str) -> Lease | None:
        """Return the lease that is held now, with what is left of it."""
        if business_id not in self.leases:
            return None
        lease, until = self.leases[business_id]
        left = (until - self.now()).total_seconds()
        return lease.model_copy(update={"ttl": left}) if left > 0 else None

    def find(self, session_id: str) -> Session | None:
        """Return a living session."""
        found = self.sessions.get(session_id)
        return found if found and found.expires_at > self.now() else None

    def existing(self, session_id: str) -> Session:
        """Return a living session.

        Raises:
            SessionNotFound: There is none.
        """
        found = self.find(session_id)
        if found is None:
            raise SessionNotFound(f"there is no session {session_id!r}, or it has expired")
        return found

    def living(self) -> Sessions:
        """Return all living sessions, oldest first."""
        found = [s for s in self.sessions.values() if s.expires_at > self.now()]
        return sorted(found, key=lambda s: (s.created_at, s.id))

    def fence(self, session: Session, token: int) -> None:
        """Refuse a token that is not the newest owner's.

        Raises:
            LeaseLost: There is another one, or there was one since.
        """
        held, last = self.held(session.business_id), self.tokens.get(session.business_id, 0)
        another = held is not None and held.token != token
        if another or token < max(last, session.fencing_token):
            raise fenced(session.business_id, token)

    def slide(self, session: Session, **changes: Any) -> Session:
        """Write *session* with *changes*; it expires its TTL from now."""
        now = self.now()
        expires = now + timedelta(milliseconds=int(session.ttl * 1000))
        written = session.model_copy(
            update={"last_activity": now, "expires_at": expires, **changes}
        )
        self.sessions[session.id] = written
        return written


@dataclass
class _Versions:
    """What is kept of one session."""

    manifests: dict[int, Manifest] = field(default_factory=dict)
    created: dict[int, datetime] = field(default_factory=dict)
    contents: dict[str, bytes] = field(default_factory=dict)
    operation: str = ""

    def info(self, version: int) -> CheckpointInfo:
        return self.manifests[version].info(self.created[version])

    def checkpoint(self, version: int) -> Checkpoint:
        refs = self.manifests[version].parts
        return Checkpoint(
            self.info(version), {name: self.contents[ref.pieces[0]] for name, ref in refs.items()}
        )


class MemoryCheckpoints:
    """See :class:`raypool.store.base.CheckpointStore`."""

    def __init__(self, records: MemoryRecords) -> None:
        self._records = records
        self._kept: defaultdict[str, _Versions] = defaultdict(_Versions)

    async def save(
        self,
        session_id: str,
        token: int,
        parts: Mapping[str, bytes],
        meta: CheckpointMeta,
        *,
        op_id: str | None = None,
        after: int = 0,
    ) -> CheckpointInfo:
        """Save a version; see the protocol."""
        session = self._records.existing(session_id)
        self._records.fence(session, token)
        kept, operation = self._kept[session_id], op_id or uuid.uuid4().hex
        newest = kept.manifests.get(session.checkpoint_version)
        if newest and kept.operation == operation:
            return kept.info(newest.version)
        kept.operation = operation
        refs = {n: PartRef(len(p), (_digest(n, p),)) for n, p in sorted(parts.items())}
        version, size = max(session.checkpoint_version, after) + 1, sum(map(len, parts.values()))
        manifest = Manifest(version=version, token=token, meta=meta, size=size, parts=refs)
        behind = after > session.checkpoint_version
        if newest and not behind and says_nothing_new(newest, manifest):
            self._records.slide(session, fencing_token=token)
            return kept.info(newest.version)
        return self._add(session, manifest, parts)

    def _add(
        self, session: Session, manifest: Manifest, parts: Mapping[str, bytes]
    ) -> CheckpointInfo:
        kept, version = self._kept[session.id], manifest.version
        last_good = version if may_be_last_good(manifest.meta) else session.last_good_version
        for old in to_drop(kept.manifests, version, last_good):
            del kept.manifests[old], kept.created[old]
        kept.manifests[version], kept.created[version] = manifest, self._records.now()
        kept.contents |= {manifest.parts[name].pieces[0]: part for name, part in parts.items()}
        used = digests(ref for m in kept.manifests.values() for ref in m.parts.values())
        kept.contents = {d: part for d, part in kept.contents.items() if d in used}
        self._records.slide(
            session,
            fencing_token=manifest.token,
            checkpoint_version=version,
            last_good_version=last_good,
        )
        return kept.info(version)

    async def load(self, session_id: str, version: int | None = None) -> Checkpoint | None:
        """Return a version; see the protocol."""
        wanted = version or self._records.existing(session_id).checkpoint_version
        self._records.existing(session_id)
        kept = self._kept[session_id]
        return kept.checkpoint(wanted) if wanted in kept.manifests else None

    async def load_usable(self, session_id: str) -> tuple[Checkpoint | None, tuple[str, ...]]:
        """Return the newest version that can be used; see the protocol."""
        infos, kept = await self.list(session_id), self._kept[session_id]
        notes: list[str] = []
        for info in infos:
            if not is_passed_over(kept.manifests[info.version].meta):
                return kept.checkpoint(info.version), tuple(notes)
            notes.append(f"version {info.version} was seen signed out")
        return (kept.checkpoint(infos[0].version) if infos else None), tuple(notes)

    async def diff(self, session_id: str, before: int, after: int) -> VersionDiff:
        """Return how two versions differ; see the protocol."""
        session, kept = self._records.existing(session_id), self._kept[session_id]
        for version in (before, after):
            kept_or_refused(session, version, kept.manifests)
        return compare(before, kept.manifests[before].parts, after, kept.manifests[after].parts)

    async def list(self, session_id: str) -> Infos:
        """Return the kept versions, newest first."""
        self._records.existing(session_id)
        kept = self._kept[session_id]
        return [kept.info(version) for version in sorted(kept.manifests, reverse=True)]

    def forget(self, session_id: str) -> None:
        """Drop all that is kept of a session."""
        self._kept.pop(session_id, None)

    def lose(self) -> None:
        """Drop all that is kept."""
        self._kept.clear()


def _digest(name: str, content: bytes) -> str:
    return hashlib.blake2b(name.encode() + b"\x00" + content, digest_size=16).hexdigest()

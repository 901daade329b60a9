"""``RedisSessionManager``: the session records, and with them leases, checkpoints and events."""

import uuid
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from typing import Any, ClassVar, Self

from raypool.config import Settings
from raypool.errors import (
    ErrorCodes,
    LeaseLost,
    RaypoolError,
    SessionNotFound,
    VersionConflict,
    create_error,
)
from raypool.ids import parse_business_id, parse_email
from raypool.model import CheckpointMeta, Desired, Holder, Observed, Session, SessionStatus
from raypool.store.changes import Changes, parse_changes
from raypool.store.checkpoints import RedisCheckpoints, key_about
from raypool.store.connection import Connection
from raypool.store.crypto import DataKey, Keyring
from raypool.store.events import Events
from raypool.store.leases import RedisLeases
from raypool.store.locking import hold
from raypool.store.records import Record, fields_of, parse

_ATTEMPTS = 10


class RedisSessionManager:
    """Session records in Redis; see :class:`raypool.store.base.SessionStore` for each promise.

    Args:
        settings: ``REDIS_URL``, ``REDIS_PREFIX``, ``SESSION_TTL``.
        keyring: Keys that the states are encrypted with.

    Raises:
        ConfigurationError: ``REDIS_URL`` is not set.
    """

    _instance: ClassVar["RedisSessionManager | None"] = None

    def __init__(self, settings: Settings, keyring: Keyring) -> None:
        if settings.redis_url is None:
            raise _no_server()
        self._settings, self._keyring = settings, keyring
        self._connection = Connection(
            settings.redis_url, settings.redis_prefix, keyring, f"raypool-{settings.cluster}"
        )
        self._keys = self._connection.keys
        self.leases = RedisLeases(self._connection)
        self.checkpoints = RedisCheckpoints(self._connection)
        self.events = Events(self._connection)

    @classmethod
    def get_instance(cls) -> "RedisSessionManager":
        """Return the manager of this process, made from the environment at the first call.

        Raises:
            ConfigurationError: ``REDIS_URL`` or ``RAYPOOL_ENCRYPTION_KEYS`` is not set.
        """
        if cls._instance is None:
            settings = Settings()
            if settings.redis_url is None:
                raise _no_server()
            if settings.encryption_keys is None:
                raise create_error(
                    ErrorCodes.CONFIG_ENCRYPTION_KEY, "RAYPOOL_ENCRYPTION_KEYS is not set"
                )
            cls._instance = cls(settings, Keyring.parse(settings.encryption_keys))
        return cls._instance

    async def open(self) -> Self:
        """Connect, and check server and keys. Idempotent.

        Raises:
            StorageError: The server cannot be used, or the keys are not those of the data.
        """
        await self._connection.open()
        return self

    async def close(self) -> None:
        """Close the connections. Idempotent; the next call opens new ones."""
        await self._connection.close()

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def warnings(self) -> tuple[Any, ...]:
        """What is unsafe about the server, after :meth:`open`."""
        return tuple(p for p in self._connection.server.problems if p.level == "warn")

    # -- read --------------------------------------------------------------------------------

    async def get_session(self, session_id: str) -> Session | None:
        """Return a session, None when there is none."""
        record = await self._record(session_id)
        return record.session if record else None

    async def get_sessions_by_business(self, business_id: str) -> list[Session]:
        """Return the sessions of a business, oldest first."""
        partition = self._keys.partition_of(parse_business_id(business_id))
        return await self._indexed(partition, f"business:{business_id}")

    async def get_sessions_by_email(self, email: str) -> list[Session]:
        """Return the sessions of an e-mail address, oldest first."""
        await self.open()
        return await self._everywhere(self._connection.email_index(parse_email(email)))

    async def get_active_session(self, business_id: str) -> Session | None:
        """Return the one active session of a business."""
        found = await self.get_sessions_by_business(business_id)
        return next((s for s in found if s.status is SessionStatus.ACTIVE), None)

    async def list_sessions(
        self, *, status: SessionStatus | None = None, desired: Desired | None = None
    ) -> list[Session]:
        """Return all sessions, or those with this status or wish, oldest first."""
        name = f"desired:{desired}" if desired else f"status:{status}" if status else "expiry"
        found = await self._everywhere(name)
        return [s for s in found if status is None or s.status is status]

    async def stats(self) -> dict[str, Any]:
        """Return counts of sessions and of their leases, and what the server says of itself."""
        await self.open()
        sessions = await self.list_sessions()
        businesses = sorted({s.business_id for s in sessions})
        leases = await self._connection.hashes([self._keys.lease(b) for b in businesses])
        server = self._connection.server
        return {
            "sessions": len(sessions),
            "by_status": {str(k): sum(s.status is k for s in sessions) for k in SessionStatus},
            "by_desired": {str(k): sum(s.desired is k for s in sessions) for k in Desired},
            "leases": sum(bool(lease) for lease in leases),
            "server": server.server,
            "version": server.version,
            "used_memory_bytes": await self._connection.used_memory(),
        }

    # -- write -------------------------------------------------------------------------------

    async def create_session(
        self,
        business_id: str,
        email: str | None = None,
        status: SessionStatus = SessionStatus.ACTIVE,
        ttl: float | None = None,
        **spec: Any,
    ) -> Session:
        """Create a session; an active one makes the business's other active one inactive."""
        changes = parse_changes({"email": email, "status": status, "ttl": ttl, **spec})
        operation = uuid.uuid4().hex
        fresh = self._blank(parse_business_id(business_id))
        for _ in range(_ATTEMPTS):
            try:
                return await self._write(None, changes.over(fresh), operation, "created")
            except _LookAgainError:
                continue
        raise self._contended(business_id)

    async def ensure_active(
        self,
        business_id: str,
        *,
        email: str | None = None,
        desired: Desired | None = None,
        **spec: Any,
    ) -> Session:
        """Return the business's active session with the wishes laid over it; made if missing."""
        given = {"email": email, "desired": desired}
        changes = parse_changes({**{k: v for k, v in given.items() if v is not None}, **spec})
        operation = uuid.uuid4().hex
        parse_business_id(business_id)
        for _ in range(_ATTEMPTS):
            active = await self.get_active_session(business_id)
            before = await self._record(active.id) if active else None
            if active and not (before and before.session.status is SessionStatus.ACTIVE):
                continue  # retired or gone since it was found
            was = before.session if before else self._blank(business_id)
            after = changes.over(was)
            kind = "created" if before is None else "touched" if after == was else "updated"
            try:
                return await self._write(before, after, operation, kind, create_alone=True)
            except (_LookAgainError, VersionConflict, SessionNotFound):
                continue
        raise self._contended(business_id)

    async def update_session(
        self, session_id: str, *, expected_version: int | None = None, **changes: Any
    ) -> Session:
        """Change a session; see the protocol."""
        asked = parse_changes(changes)
        if asked.parts:
            await self._import(session_id, asked, expected_version)
            if not asked.record:
                return await self._present(session_id)
        operation = uuid.uuid4().hex
        for _ in range(_ATTEMPTS):
            record = await self._existing(session_id)
            version = record.session.version
            if expected_version is not None and version != expected_version:
                raise _conflict(record.session, expected_version)
            try:
                return await self._write(record, asked.over(record.session), operation, "updated")
            except _LookAgainError:
                continue
            except VersionConflict:
                if expected_version is not None:
                    raise
        raise self._contended(session_id)

    async def touch(self, session_id: str) -> Session:
        """Slide TTL and last activity."""
        operation = uuid.uuid4().hex
        for _ in range(_ATTEMPTS):
            record = await self._existing(session_id)
            try:
                return await self._write(record, record.session, operation, "touched")
            except (_LookAgainError, VersionConflict):
                continue
        raise self._contended(session_id)

    async def delete_session(self, session_id: str) -> None:
        """Delete a session with its checkpoints and its data key, at once and for good."""
        record = await self._existing(session_id)
        session, keys = record.session, self._keys
        partition = keys.partition_of(session.business_id)
        names = [*self._names(session), *(f"status:{s}" for s in SessionStatus),
                 *(f"desired:{d}" for d in Desired)]  # fmt: skip
        # Nothing to remove any more: somebody else was faster, or the first reply was lost.
        await self._connection.script(
            "delete_record",
            [keys.session(session.id), keys.parts(session.id), keys.checkpoints(session.id),
             keys.events(partition), *(keys.index(partition, name) for name in names)],
            [session.id, session.business_id],
        )  # fmt: skip

    async def report(self, session_id: str, token: int, observed: Observed) -> None:
        """Write what the owner says of its instance."""
        record = await self._existing(session_id)
        business_id = record.session.business_id
        keys = [
            self._keys.session(session_id),
            self._keys.token(business_id),
            self._keys.events(self._keys.partition_of(business_id)),
        ]
        args = [token, session_id, business_id, observed.model_dump_json()]
        answer = await self._connection.script("report", keys, args)
        if answer == b"FENCED":
            raise LeaseLost(f"a newer owner has {business_id}: token {token} is stale")
        if answer == b"GONE":
            raise _missing(session_id)

    def lock(self, business_id: str, *, timeout: float = 0) -> AbstractAsyncContextManager[int]:
        """Hold the business's lease for the block; gives the fencing token."""
        holder = Holder(id=uuid.uuid4().hex, kind="lock", cluster=self._settings.cluster)
        ttl = self._settings.lease_ttl
        return hold(self.leases, parse_business_id(business_id), holder, ttl, timeout)

    # -- how ---------------------------------------------------------------------------------

    async def _write(
        self,
        before: Record | None,
        after: Session,
        operation: str,
        kind: str,
        *,
        create_alone: bool = False,
    ) -> Session:
        """Write *after* over *before* if that is still what is there; slide the TTL."""
        await self.open()
        keys, partition = self._keys, self._keys.partition_of(after.business_id)
        rivals = await self._rivals(before, after, create_alone=create_alone)
        enter = [keys.index(partition, name) for name in self._names(after)[2:]]
        left = set(self._names(before.session)) - set(self._names(after)) if before else set()
        leave = [keys.index(partition, name) for name in sorted(left)]
        fields = fields_of(after)
        if before is None:
            about = key_about(keys.prefix, after.id)
            fields += ["data_key", self._keyring.wrap(DataKey.new(), about)]
        answer = await self._connection.script(
            "write_record",
            [keys.session(after.id), keys.parts(after.id), keys.checkpoints(after.id),
             keys.events(partition), keys.index(partition, f"business:{after.business_id}"),
             keys.index(partition, "expiry"), keys.index(partition, "status:active"),
             keys.index(partition, "status:inactive"), keys.index(partition, "desired:running"),
             keys.index(partition, "desired:stopped"), *enter, *leave,
             *(keys.session(sid) for sid in rivals or ())],
            [after.id, operation, before.session.version if before else 0, int(after.ttl * 1000),
             kind, after.business_id, len(enter), len(leave),
             -1 if rivals is None else len(rivals), *(rivals or ()), *fields],
        )  # fmt: skip
        return await self._written(answer, before, after)

    async def _written(self, answer: Any, before: Record | None, after: Session) -> Session:
        match answer[0]:
            case b"AGAIN":
                raise _LookAgainError
            case b"GONE":
                raise _missing(after.id)
            case b"CONFLICT":
                expected = before.session.version if before else 0
                raise _conflict(after.model_copy(update={"version": int(answer[1])}), expected)
        return await self._present(after.id)

    async def _rivals(
        self, before: Record | None, after: Session, *, create_alone: bool
    ) -> Sequence[str] | None:
        """Return the business's other sessions when *after* becomes active, None when it does not.

        With *create_alone* a new session is not made beside an active one: whoever asked looks again.
        """
        was_active = before is not None and before.session.status is SessionStatus.ACTIVE
        if was_active or after.status is not SessionStatus.ACTIVE:
            return None
        others = await self.get_sessions_by_business(after.business_id)
        if create_alone and any(s.status is SessionStatus.ACTIVE for s in others):
            raise _LookAgainError
        return [s.id for s in others if s.id != after.id]

    async def _import(self, session_id: str, asked: Changes, expected: int | None) -> None:
        """Save cookies and storage that another service brought, under the business's lease."""
        session = (await self._existing(session_id)).session
        if expected is not None and session.version != expected:
            raise _conflict(session, expected)
        async with self.lock(session.business_id) as token:
            before = await self.checkpoints.load(session_id)
            parts = {**(before.parts if before else {}), **asked.parts}
            await self.checkpoints.save(
                session_id, token, parts, CheckpointMeta(reasons=("imported",))
            )

    def _names(self, session: Session) -> list[str]:
        """Return the names of the indexes that a session is in; every session is in the first two."""
        names = [f"business:{session.business_id}", "expiry", f"status:{session.status}",
                 f"desired:{session.desired}"]  # fmt: skip
        return names + ([self._connection.email_index(session.email)] if session.email else [])

    async def _everywhere(self, name: str) -> list[Session]:
        found = [await self._indexed(p, name) for p in self._keys.all_partitions()]
        return sorted((s for part in found for s in part), key=lambda s: (s.created_at, s.id))

    async def _indexed(self, partition: int, name: str) -> list[Session]:
        """Return the living sessions of an index; entries whose record is gone are taken out."""
        index = self._keys.index(partition, name)
        now, *ids = await self._connection.script("list_living", [index], [])
        sids = [sid.decode() for sid in ids]
        hashes = await self._connection.hashes([self._keys.session(sid) for sid in sids])
        records = [parse(fields) for fields in hashes]
        gone = [sid for sid, record in zip(sids, records, strict=True) if record is None]
        if gone:
            await self._connection.command("ZREM", index, *gone)
        found = [r.session for r in records if r and _ms(r.session.expires_at) > int(now)]
        return sorted(found, key=lambda s: (s.created_at, s.id))

    async def _record(self, session_id: str) -> Record | None:
        await self.open()
        answer = await self._connection.script("read_record", [self._keys.session(session_id)], [])
        return parse(dict(zip(answer[::2], answer[1::2], strict=True)))

    async def _existing(self, session_id: str) -> Record:
        record = await self._record(session_id)
        if record is None:
            raise _missing(session_id)
        return record

    async def _present(self, session_id: str) -> Session:
        return (await self._existing(session_id)).session

    def _blank(self, business_id: str) -> Session:
        """Return a session that was never written; the server sets its times."""
        never = datetime.fromtimestamp(0, UTC)
        return Session(
            id=self._keys.new_session_id(business_id),
            business_id=business_id,
            version=0,
            created_at=never,
            updated_at=never,
            last_activity=never,
            expires_at=never,
            ttl=self._settings.session_ttl,
        )

    def _contended(self, what: str) -> RaypoolError:
        return create_error(
            ErrorCodes.SESSION_VERSION_CONFLICT, f"{what} was changed by others {_ATTEMPTS} times"
        )


class _LookAgainError(Exception):
    """Another session of the business appeared meanwhile: look again."""


def _no_server() -> RaypoolError:
    return create_error(
        ErrorCodes.CONFIG_INVALID,
        "REDIS_URL is not set: there is no server to keep sessions in",
        recovery="Set REDIS_URL, or use raypool.connect(): it brings a server of its own.",
    )


def _missing(session_id: str) -> SessionNotFound:
    return SessionNotFound(f"there is no session {session_id!r}, or it has expired")


def _conflict(session: Session, expected: int) -> VersionConflict:
    return VersionConflict(
        f"session {session.id} is at version {session.version}, not {expected}",
        context={"session_id": session.id, "version": session.version},
    )


def _ms(when: datetime) -> int:
    return int(when.timestamp() * 1000)

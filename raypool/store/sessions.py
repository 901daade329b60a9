"""``RedisSessionManager``: the session records, and with them leases, checkpoints and events."""

import uuid
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from typing import Any, ClassVar, Self

from raypool.config import Settings
from raypool.errors import (
    ErrorCodes,
    RaypoolError,
    SessionNotFound,
    VersionConflict,
    create_error,
)
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
from raypool.store.audit_log import AuditLog
from raypool.store.breakers import RedisBreakers
from raypool.store.changes import Changes, parse_changes, parse_wishes
from raypool.store.checkpoints import RedisCheckpoints
from raypool.store.connection import Connection
from raypool.store.crypto import Keyring
from raypool.store.durability import Durability
from raypool.store.events import Events
from raypool.store.indexes import Indexes
from raypool.store.leases import RedisLeases
from raypool.store.locking import hold
from raypool.store.rewriting import Rewriter
from raypool.store.rotation import KeyRotation
from raypool.store.writing import LookAgainError, Writer, conflict, until_settled


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
        self._settings = settings
        self._connection = Connection(
            settings.redis_url,
            settings.redis_prefix,
            keyring,
            f"raypool-{settings.cluster}",
            Durability(settings.durability, settings.replicas),
        )
        self._indexes = Indexes(self._connection)
        self._writer = Writer(self._connection, self._indexes)
        self._rewriter = Rewriter(self._connection, self._indexes, self._writer)
        self._audit = AuditLog(self._connection)
        self.leases = RedisLeases(self._connection)
        self.checkpoints = RedisCheckpoints(self._connection)
        self.events = Events(self._connection)
        self.breakers = RedisBreakers(self._connection)
        self.key_rotation = KeyRotation(self._connection)

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
        record = await self._indexes.record(session_id)
        return record.session if record else None

    async def get_sessions_by_business(self, business_id: str) -> list[Session]:
        """Return the sessions of a business, oldest first."""
        return await self._indexes.of_business(parse_business_id(business_id))

    async def get_sessions_by_email(self, email: str) -> list[Session]:
        """Return the sessions of an e-mail address, oldest first."""
        await self.open()
        return await self._indexes.everywhere(self._connection.email_index(parse_email(email)))

    async def get_active_session(self, business_id: str) -> Session | None:
        """Return the one active session of a business."""
        found = await self.get_sessions_by_business(business_id)
        return next((s for s in found if s.status is SessionStatus.ACTIVE), None)

    async def list_sessions(
        self, *, status: SessionStatus | None = None, desired: Desired | None = None
    ) -> list[Session]:
        """Return all sessions, or those with this status or wish, oldest first."""
        name = f"desired:{desired}" if desired else f"status:{status}" if status else "expiry"
        found = await self._indexes.everywhere(name)
        return [s for s in found if status in {None, s.status} and desired in {None, s.desired}]

    async def stats(self) -> dict[str, Any]:
        """Return counts of sessions and of their leases, and what the server says of itself."""
        await self.open()
        sessions = await self.list_sessions()
        keys, businesses = self._connection.keys, sorted({s.business_id for s in sessions})
        leases = await self._connection.hashes([keys.lease(b) for b in businesses])
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

    async def audit_log(self, limit: int = 100) -> list[AuditEntry]:
        """Return what people did, newest first."""
        return await self._audit.newest(limit)

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
        changes = parse_wishes({"email": email, "status": status, "ttl": ttl, **spec})
        fresh = changes.over(self._blank(parse_business_id(business_id)))
        operation = uuid.uuid4().hex

        async def attempt() -> Session:
            return await self._writer.write(None, fresh, operation, "created")

        return await until_settled(business_id, attempt, LookAgainError)

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
        changes = parse_wishes({**{k: v for k, v in given.items() if v is not None}, **spec})
        blank, operation = self._blank(parse_business_id(business_id)), uuid.uuid4().hex

        async def attempt() -> Session:
            active = await self.get_active_session(business_id)
            before = await self._indexes.record(active.id) if active else None
            if active and not (before and before.session.status is SessionStatus.ACTIVE):
                raise LookAgainError  # retired or gone since it was found
            was = before.session if before else blank
            after = changes.over(was)
            kind = "created" if before is None else "touched" if after == was else "updated"
            return await self._writer.write(before, after, operation, kind, create_alone=True)

        faster = (LookAgainError, VersionConflict, SessionNotFound)
        return await until_settled(business_id, attempt, *faster)

    async def update_session(
        self, session_id: str, *, expected_version: int | None = None, **changes: Any
    ) -> Session:
        """Change a session; see the protocol."""
        asked = parse_changes(changes)
        if not asked.parts:
            return await self._update(session_id, asked, expected_version)
        session = await self._at_version(session_id, expected_version)
        async with self.lock(session.business_id) as token:
            if asked.record:
                await self._update(session_id, asked, expected_version)
            await self._import(session_id, token, asked)
        return (await self._indexes.existing(session_id)).session

    async def touch(self, session_id: str) -> Session:
        """Slide TTL and last activity."""
        operation = uuid.uuid4().hex

        async def attempt() -> Session:
            record = await self._indexes.existing(session_id)
            return await self._writer.write(record, record.session, operation, "touched")

        return await until_settled(session_id, attempt, LookAgainError, VersionConflict)

    async def delete_session(self, session_id: str) -> None:
        """Delete a session with its checkpoints and its data key, at once and for good."""
        await self._writer.delete((await self._indexes.existing(session_id)).session)
        self.checkpoints.forget(session_id)

    async def report(self, session_id: str, token: int, observed: Observed) -> None:
        """Write what the owner says of its instance."""
        record = await self._indexes.existing(session_id)
        await self._writer.report(record.session, token, observed)

    async def supervise(self, session_id: str, supervision: Supervision) -> None:
        """Write what the supervisor must remember of a session."""
        await self._writer.supervise(session_id, supervision)

    async def rewrite_lost(self, session: Session, token: int) -> Session:
        """Write a record again that the server lost; see the protocol."""
        return await self._rewriter.rewrite(session, token)

    def lock(self, business_id: str, *, timeout: float = 0) -> AbstractAsyncContextManager[int]:
        """Hold the business's lease for the block; gives the fencing token."""
        holder = Holder(id=uuid.uuid4().hex, kind="lock", cluster=self._settings.cluster)
        ttl = self._settings.lease_ttl
        return hold(self.leases, parse_business_id(business_id), holder, ttl, timeout)

    # -- how ---------------------------------------------------------------------------------

    async def _update(self, session_id: str, asked: Changes, expected: int | None) -> Session:
        operation = uuid.uuid4().hex

        async def attempt() -> Session:
            record = await self._indexes.existing(session_id)
            if expected is not None and record.session.version != expected:
                raise conflict(record.session, expected)
            after = asked.over(record.session)
            return await self._writer.write(record, after, operation, "updated")

        faster = (LookAgainError, *(() if expected is not None else (VersionConflict,)))
        return await until_settled(session_id, attempt, *faster)

    async def _at_version(self, session_id: str, expected: int | None) -> Session:
        session = (await self._indexes.existing(session_id)).session
        if expected is not None and session.version != expected:
            raise conflict(session, expected)
        return session

    async def _import(self, session_id: str, token: int, asked: Changes) -> None:
        """Lay cookies and storage that another service brought over the newest state."""
        before = await self.checkpoints.load(session_id)
        parts = laid_over(before.parts if before else {}, asked.parts)
        meta = CheckpointMeta(reasons=("imported",))
        await self.checkpoints.save(session_id, token, parts, meta)

    def _blank(self, business_id: str) -> Session:
        """Return a session that was never written; the server sets its times."""
        never = datetime.fromtimestamp(0, UTC)
        return Session(
            id=self._connection.keys.new_session_id(business_id),
            business_id=business_id,
            version=0,
            created_at=never,
            updated_at=never,
            last_activity=never,
            expires_at=never,
            ttl=self._settings.session_ttl,
        )


def _no_server() -> RaypoolError:
    return create_error(
        ErrorCodes.CONFIG_INVALID,
        "REDIS_URL is not set: there is no server to keep sessions in",
        recovery="Set REDIS_URL, or use raypool.connect(): it brings a server of its own.",
    )

"""What the fleet needs of a store, and what each call promises. Redis and the twin both keep it.

Every write is atomic and durable as far as the server is: when a call returns, the server has
acknowledged it. A call that raises may or may not have been applied; all of them may be repeated.
"""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from raypool.model import (
    AuditEntry,
    Checkpoint,
    CheckpointInfo,
    CheckpointMeta,
    Desired,
    Holder,
    Lease,
    Observed,
    Session,
    SessionStatus,
    Supervision,
    VersionDiff,
)
from raypool.store.circuit import Breaker
from raypool.store.following import Changes

VERSIONS_KEPT = 20

Infos = list[CheckpointInfo]
Breakers = list[Breaker]


class SessionStore(Protocol):
    """Session records. An expired session is never returned, whether or not it was reaped."""

    async def create_session(
        self,
        business_id: str,
        email: str | None = None,
        status: SessionStatus = SessionStatus.ACTIVE,
        ttl: float | None = None,
        **spec: Any,
    ) -> Session:
        """Create a session; an active one makes the business's other active one inactive.

        Raises:
            ConfigurationError: An argument does not fit.
        """
        ...

    async def ensure_active(
        self,
        business_id: str,
        *,
        email: str | None = None,
        desired: Desired | None = None,
        **spec: Any,
    ) -> Session:
        """Return the business's active session with the given wishes laid over it; made if missing.

        Idempotent; two callers at once get the same session.
        """
        ...

    async def get_session(self, session_id: str) -> Session | None:
        """Return a session, None when there is none."""

    async def update_session(
        self, session_id: str, *, expected_version: int | None = None, **changes: Any
    ) -> Session:
        """Change what *changes* name, and nothing else.

        They are ``email``, ``status``, ``desired``, ``ttl``, ``assigned_cluster``, names of a spec,
        and ``cookies_json`` and ``storage_json``, which become a checkpoint.

        Raises:
            SessionNotFound: There is no such session.
            VersionConflict: It is not at *expected_version*; nothing was written.
            SessionLocked: Cookies or storage were given while an instance holds the business.
            ConfigurationError: An unknown name or a value that does not fit.
        """
        ...

    async def get_sessions_by_business(self, business_id: str) -> list[Session]:
        """Return the sessions of a business, oldest first."""
        ...

    async def get_sessions_by_email(self, email: str) -> list[Session]:
        """Return the sessions of an e-mail address, oldest first."""
        ...

    async def get_active_session(self, business_id: str) -> Session | None:
        """Return the one active session of a business."""

    async def list_sessions(
        self, *, status: SessionStatus | None = None, desired: Desired | None = None
    ) -> list[Session]:
        """Return all sessions, or those with this status or wish, oldest first.

        The cost of asking for a wish follows the sessions that have it, not those that exist.
        """
        ...

    async def delete_session(self, session_id: str) -> None:
        """Delete a session with its checkpoints and its data key, at once and for good.

        Raises:
            SessionNotFound: There is no such session.
        """

    async def touch(self, session_id: str) -> Session:
        """Slide TTL and last activity.

        Raises:
            SessionNotFound: There is no such session.
        """
        ...

    async def report(self, session_id: str, token: int, observed: Observed) -> None:
        """Write what the owner says of its instance.

        Raises:
            LeaseLost: A newer owner has the business; nothing was written.
            SessionNotFound: There is no such session.
        """

    async def supervise(self, session_id: str, supervision: Supervision) -> None:
        """Write what the supervisor must remember of a session; the last write wins.

        Version and expiry of the record do not move.

        Raises:
            SessionNotFound: There is no such session.
        """

    async def rewrite_lost(self, session: Session, token: int) -> Session:
        """Write a record again that the server lost, and return it; the one that is there if it is.

        It keeps id, e-mail, status, wish, spec, TTL, cluster and age. If it is active it is the
        active one also where another was made meanwhile: that one becomes inactive. Its checkpoints
        are gone: save the state with ``after=`` the last version that was acknowledged. Idempotent.

        Lost is what is missing while the data of the server are not those that this store opened;
        anything else that is missing was deleted on purpose, or has expired.

        Args:
            session: As its owner knows it.
            token: Fencing token of the owner.

        Raises:
            SessionNotFound: It was deleted, or it has expired.
            LeaseLost: The token is stale; nothing was written.
        """
        ...

    async def audit_log(self, limit: int = 100) -> list[AuditEntry]:
        """Return at most *limit* of the newest things that people did, newest first.

        Raises:
            ConfigurationError: *limit* is not from 1 to 10,000.
        """
        ...

    async def stats(self) -> dict[str, Any]:
        """Return counts of sessions and leases, and what the server says of itself."""
        ...

    def lock(self, business_id: str, *, timeout: float = 0) -> AbstractAsyncContextManager[int]:
        """Hold the business's lease for the block; gives the fencing token.

        Args:
            business_id: Whose lease.
            timeout: Seconds to wait for a holder to let go.

        Raises:
            SessionLocked: Somebody else holds it.
        """
        ...


class LeaseStore(Protocol):
    """The right to act for a business."""

    async def acquire(
        self, business_id: str, holder: Holder, ttl: float, *, supersedes: str | None = None
    ) -> Lease:
        """Take the lease for *ttl* seconds. Asking again as the same holder gives the same token.

        The token is larger than any before it, also when the counter was lost, as long as the
        server's clock does not go back: from here on older owners can write nothing.

        Args:
            business_id: Whose lease.
            holder: One attempt to live; its id must never come back.
            ttl: Seconds.
            supersedes: Id of a holder that is certainly dead; its lease need not expire first.

        Raises:
            SessionLocked: Another holder has it; says who, where and since when.
        """
        ...

    async def renew(self, lease: Lease) -> bool:
        """Make the lease last its ttl again from now; False: it is lost for ever.

        True also when it had run out, or the server had lost it, and nobody held the business in
        between: it is there again with the same token. Of several owners at most one is told True.
        """
        ...

    async def release(self, lease: Lease) -> bool:
        """Let go for ever: what its owner writes or renews later is refused.

        Idempotent; False when it was not held any more.
        """
        ...

    async def unlock(self, business_id: str, *, by: str, reason: str) -> Lease | None:
        """Break the lease of a business for a person, and write that into the audit.

        Whoever had the business can write and renew nothing from here on, also one whose lease had
        run out and who might have come back.

        Args:
            business_id: Whose lease.
            by: Who does it. One line, at most 500 characters; control characters become spaces.
            reason: Why. As *by*.

        Returns:
            The lease that was broken, None when nobody held it.

        Raises:
            ConfigurationError: *by* or *reason* is empty or too long.
        """
        ...

    async def get(self, business_id: str) -> Lease | None:
        """Return the lease that is held now."""


class CheckpointStore(Protocol):
    """Versions of a session's state."""

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
        """Save a version, whole or not at all. Parts that did not change are not sent again.

        Equal to the newest version: no new one, the TTL slides; another verdict makes one. The last
        20 are kept, and ``last_good``, which moves unless *meta* says that the session looks signed
        out, or that nobody has looked at it yet.

        Args:
            session_id: Whose state.
            token: Fencing token of the owner.
            parts: The whole state.
            meta: What its maker knows.
            op_id: The same for each attempt at one save: it is applied once.
            after: The last version that was acknowledged to the caller. The new one is larger, also
                on a server that lost it: no version number is given out twice.

        Raises:
            LeaseLost: The token is stale; nothing was written.
            SessionNotFound: There is no such session.
        """
        ...

    async def load(self, session_id: str, version: int | None = None) -> Checkpoint | None:
        """Return a version, the newest when None.

        Raises:
            CheckpointCorrupt: A part cannot be read back; names it.
            StorageError: The key that sealed it is not configured.
        """

    async def load_usable(self, session_id: str) -> tuple[Checkpoint | None, tuple[str, ...]]:
        """Return the newest version that was not seen signed out and whose parts all open.

        One that a person chose counts though it was (``chosen`` of its meta).

        Falls back version by version, then to the newest with its broken parts left out. The
        warnings name what was passed over.

        Raises:
            StorageError: A key is not configured: going on would lose what it protects.
        """
        ...

    async def diff(self, session_id: str, before: int, after: int) -> VersionDiff:
        """Return how two versions differ, storage by storage: names and sizes, never contents.

        Raises:
            ConfigurationError: A version is not kept; names those that are.
            CheckpointCorrupt: The manifest of one cannot be read.
        """
        ...

    async def list(self, session_id: str) -> Infos:
        """Return the kept versions, newest first."""
        ...


class Follower(Protocol):
    """Hears of changes: hints, never the truth. Whoever acts on them reads the records."""

    async def changes(self, timeout: float) -> Changes:
        """Return whose records or leases changed since the last call, each business once.

        Waits up to *timeout* seconds for the first; costs next to nothing meanwhile. ``resync`` is
        set at the first call, after an outage, and whenever the server lost or cut the stream: then
        anything may have changed. Never raises for an outage.

        Args:
            timeout: Seconds; a call returns empty-handed after it.
        """
        ...


class EventStore(Protocol):
    """The stream of changes."""

    def follow(self) -> AbstractAsyncContextManager[Follower]:
        """Follow the changes of all businesses from now on, until the block is left."""
        ...


class BreakerStore(Protocol):
    """Circuit breakers, one a site, the same for all actors of the fleet."""

    async def ask(self, site: str) -> Breaker:
        """Ask before a call to a site: do not make it when the answer is ``open``.

        ``half_open`` goes to exactly one caller at a time, which then reports how it went; all
        others are told ``open`` with the time to ask again (``retry_at``).

        Args:
            site: ``host`` or ``host:port``.

        Raises:
            ConfigurationError: It is no site.
        """
        ...

    async def report(self, site: str, ok: bool) -> Breaker:
        """Say how a call to a site went; returns the breaker after it.

        A success closes it. Five failures without one within 60 s open it for 30 s; each failure
        after a pause opens it for twice as long, up to 10 min.

        Args:
            site: ``host`` or ``host:port``.
            ok: Whether the site answered. An error page about the caller's own mistake is an answer.

        Raises:
            ConfigurationError: It is no site.
        """
        ...

    async def list(self) -> Breakers:
        """Return the breakers of all sites that failed lately, by name.

        One whose pause is over is shown as ``half_open``.
        """
        ...

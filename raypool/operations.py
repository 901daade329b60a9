"""What people and scripts ask of a fleet besides running functions: to look, to rest, to move."""

import asyncio
import getpass
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Protocol

from raypool.config import Settings
from raypool.errors import ErrorCodes, SessionNotFound, VersionConflict, create_error
from raypool.ids import parse_business_id, parse_duration
from raypool.logs import traced
from raypool.model import Desired, InstanceStatus, Lease, Session, Supervision
from raypool.status import status_of
from raypool.store.circuit import Breaker
from raypool.store.sessions import RedisSessionManager
from raypool.version_operations import VersionOperations
from raypool.versions import Versions

KEY_PREFIX = "business:"
STOP_TIMEOUT_S = 20.0
_POLL_S = 0.25


class Fleet(Protocol):
    """The live side, as a pool uses it."""

    def check(self) -> None: ...  # noqa: D102
    async def ready(self, business_id: str, timeout: float) -> None: ...  # noqa: D102
    async def run(self, business_id: str, call: bytes, timeout: float) -> Any: ...  # noqa: D102
    async def checkpoint(self, business_id: str) -> Any: ...  # noqa: D102
    async def describe(self, business_id: str) -> dict[str, Any] | None: ...  # noqa: D102
    async def attach(self, business_id: str, ticket_id: str) -> Any: ...  # noqa: D102
    async def stay(self, business_id: str, ticket_id: str) -> None: ...  # noqa: D102
    async def detach(self, business_id: str, ticket_id: str) -> None: ...  # noqa: D102
    async def touch(self, business_id: str) -> None: ...  # noqa: D102
    async def stop(self, business_id: str, timeout: float) -> dict[str, Any] | None: ...  # noqa: D102
    async def drain(self, node_id: str, timeout: float, reason: str) -> list[dict[str, Any]]: ...  # noqa: D102
    async def nodes(self) -> list[dict[str, Any]]: ...  # noqa: D102
    async def overview(self) -> list[dict[str, Any]]: ...  # noqa: D102


class Operations(VersionOperations):
    """The part of a pool that looks after the fleet. All methods may be called concurrently."""

    def __init__(
        self,
        sessions: RedisSessionManager,
        fleet: Fleet,
        settings: Settings,
        on_close: Callable[[], Awaitable[None]],
    ) -> None:
        self.sessions = sessions
        self._fleet, self._settings, self._on_close = fleet, settings, on_close
        super().__init__(Versions(sessions, self._at_rest))

    # -- look ----------------------------------------------------------------------------------

    async def status(self, business_id: str) -> InstanceStatus:
        """Return all that is known of a business; also while Ray or the instance does not answer.

        Where it is not running, a condition of type ``NotRunning`` says why.

        Raises:
            SessionNotFound: The business has no active session.
        """
        session = await _active(self.sessions, parse_business_id(business_id))
        overview = await self._fleet.overview()
        known = next((o for o in overview if o["business_id"] == business_id), None)
        return await self._status(session, known or {})

    async def _status(self, session: Session, known: dict[str, Any]) -> InstanceStatus:
        business_id = session.business_id
        may_live = known or session.desired is Desired.RUNNING
        live = await self._fleet.describe(business_id) if may_live else None
        lease = None if live else await self.sessions.leases.get(business_id)
        return status_of(session, known, live or {}, lease)

    async def instances(self) -> list[InstanceStatus]:
        """Return the status of every business that is wanted or live."""
        known = {o["business_id"]: o for o in await self._fleet.overview()}
        wanted = await self.sessions.list_sessions(desired=Desired.RUNNING)
        sessions = {s.business_id: s for s in wanted}
        for business_id in known.keys() - sessions.keys():
            if session := await self.sessions.get_active_session(business_id):
                sessions[business_id] = session
        return await asyncio.gather(
            *(self._status(sessions[b], known.get(b, {})) for b in sorted(sessions))
        )

    async def nodes(self) -> list[dict[str, Any]]:
        """Return each node with its places, whether it is draining, and what its janitor says."""
        return await self._fleet.nodes()

    async def sites(self) -> list[Breaker]:
        """Return the sites that failed lately, and whether commands are kept away from them."""
        return await self.sessions.breakers.list()

    # -- rest ----------------------------------------------------------------------------------

    async def update_instance_activity(self, key: str) -> None:
        """Slide the idle timer and the TTL of an instance."""
        business_id = business_of(key)
        session = await self._session(business_id)
        await self.sessions.touch(session.id)
        await self._fleet.touch(business_id)

    async def remove_instance(self, key: str) -> None:
        """Stop an instance: acknowledged checkpoint, browser gone, lease released, actor gone.

        The record stays. Idempotent.

        Raises:
            BrowserError: It is gone, but its last changes could not be saved; says why.
        """
        await self._stop(business_of(key), Desired.STOPPED)

    async def hibernate(self, business_id: str) -> None:
        """Save a business and close its browser; the next call wakes it. Idempotent.

        A running function gets 20 s to end.

        Raises:
            BrowserError: It is gone, but its last changes could not be saved; says why.
        """
        await self._stop(parse_business_id(business_id), Desired.HIBERNATED)

    async def _stop(self, business_id: str, desired: Desired) -> None:
        with traced(business_id):
            session = await self._session(business_id)
            await self.sessions.update_session(session.id, desired=desired)
            await self._halt(business_id)

    async def _halt(self, business_id: str) -> None:
        stopped = await self._fleet.stop(business_id, STOP_TIMEOUT_S)
        if stopped and not stopped["saved"]:
            raise create_error(
                ErrorCodes.BROWSER_CHECKPOINT_FAILED,
                f"{business_id} was stopped, but its last changes were not saved: {stopped['why']}",
            )

    async def wake(self, business_id: str) -> str:
        """Bring a business up and return its key once it is ready. Idempotent.

        Raises:
            SessionNotFound: The business has no active session.
        """
        with traced(parse_business_id(business_id)):
            session = await self._session(business_id)
            await self.sessions.update_session(session.id, desired=Desired.RUNNING)
            await self._fleet.ready(business_id, self._settings.start_timeout)
            return f"{KEY_PREFIX}{business_id}"

    async def release(self, business_id: str) -> None:
        """Let a business out of quarantine: it is started again when it is desired. Idempotent."""
        await let_out(self.sessions, business_id)

    # -- versions ------------------------------------------------------------------------------

    @asynccontextmanager
    async def _at_rest(self, session: Session) -> AsyncIterator[None]:
        """Stop a business for the block; let it come up again if it was desired to run."""
        business_id, wanted = session.business_id, session.desired is Desired.RUNNING
        if wanted:
            await self.sessions.update_session(session.id, desired=Desired.HIBERNATED)
        try:
            if wanted or await self.sessions.leases.get(business_id):
                await self._halt(business_id)
            yield
        finally:
            if wanted:
                await self._want_again(session.id)

    async def _want_again(self, session_id: str) -> None:
        """Undo the wish to rest, unless somebody wished something else meanwhile."""
        while session := await self.sessions.get_session(session_id):
            if session.desired is not Desired.HIBERNATED:
                return
            with suppress(VersionConflict):
                await self.sessions.update_session(
                    session_id, expected_version=session.version, desired=Desired.RUNNING
                )

    # -- move ----------------------------------------------------------------------------------

    async def drain(self, node_id: str, timeout: Any = 60.0) -> list[dict[str, Any]]:
        """Empty a node for good: each business is saved, then comes up on another node.

        Args:
            node_id: As :meth:`nodes` and Ray's dashboard show it.
            timeout: Seconds (or a ``timedelta``) that running functions get to end.

        Returns:
            What could not be saved: ``business_id`` and ``why`` of each.
        """
        seconds = parse_duration(timeout, name="timeout")
        stops = await self._fleet.drain(node_id, seconds, f"drained by {person()}")
        return [stop for stop in stops if not stop["saved"]]

    async def unlock(self, business_id: str, reason: str) -> Lease | None:
        """Break the lease of a business, whoever holds it; return whom it was taken from.

        The old holder can write nothing any more, and its browser dies when it next renews. Until
        then it may still act on the site: for holders that are known to be gone. Written into the
        audit log.
        """
        return await break_lease(self.sessions, business_id, reason)

    async def hand_over(self, business_id: str, cluster: str, timeout: Any = 120.0) -> None:
        """Move a business to another cluster on the same Redis: saved, released, adopted there.

        From then on no other cluster runs it. One that is not desired to run is only assigned.

        Raises:
            InstanceNotReady: Nobody of *cluster* took it in *timeout* seconds; it stays assigned.
        """
        seconds = parse_duration(timeout, name="timeout")
        session = await self._session(parse_business_id(business_id))
        await self.sessions.update_session(session.id, assigned_cluster=cluster)
        if session.desired is not Desired.RUNNING:
            return
        try:
            async with asyncio.timeout(seconds):
                while not await self._is_held_by(business_id, cluster):  # noqa: ASYNC110
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            raise create_error(
                ErrorCodes.BROWSER_INSTANCE_NOT_READY,
                f"nobody of cluster {cluster!r} took {business_id} within {seconds:g} s",
                {"business_id": business_id},
                recovery="It stays assigned there. Start that cluster, or hand the business over "
                "to another.",
            ) from None

    async def _is_held_by(self, business_id: str, cluster: str) -> bool:
        lease = await self.sessions.leases.get(business_id)
        return lease is not None and lease.holder.cluster == cluster

    # -- how -----------------------------------------------------------------------------------

    async def _session(self, business_id: str) -> Session:
        self._fleet.check()  # the server of a fleet that has ended is gone too: that is not why
        return await _active(self.sessions, business_id)


async def _active(sessions: RedisSessionManager, business_id: str) -> Session:
    session = await sessions.get_active_session(business_id)
    if session is None:
        raise SessionNotFound(f"{business_id} has no active session")
    return session


async def let_out(sessions: RedisSessionManager, business_id: str) -> None:
    """Let a business out of quarantine; see :meth:`Operations.release`."""
    session = await _active(sessions, parse_business_id(business_id))
    await sessions.supervise(session.id, Supervision())


async def break_lease(sessions: RedisSessionManager, business_id: str, reason: str) -> Lease | None:
    """Break the lease of a business; see :meth:`Operations.unlock`."""
    parse_business_id(business_id)
    return await sessions.leases.unlock(business_id, by=person(), reason=reason)


def business_of(key: str) -> str:
    """Return the business that an instance key, or its own id, stands for."""
    return parse_business_id(key.removeprefix(KEY_PREFIX) if isinstance(key, str) else key)


def person() -> str:
    """Return who is at work here, for the audit log."""
    return f"{getpass.getuser()}@{socket.gethostname()}"

"""The fleet as a driver sees it: its supervisor and the actors of its businesses, through Ray."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import ray
from ray.actor import ActorHandle
from ray.exceptions import ActorDiedError, ActorUnavailableError, RayActorError, RayError

from actors.names import SUPERVISOR, business_actor
from actors.runtime import HEAD, lost
from raypool import calls, context
from raypool.config import Settings
from raypool.errors import ErrorCodes, NetworkError, create_error
from raypool.store.crypto import Keyring

T = TypeVar("T")
PING_EVERY_S = 3.0
PING_TIMEOUT_S = 5.0
DESCRIBE_TIMEOUT_S = 2.0


class RayFleet:
    """Calls into the fleet. Any call makes the supervisor again if it is missing.

    Args:
        settings: Of the fleet.
        keyring: Its keys.
        ended: Done when the fleet has ended; calls fail then. A driver of a Ray that is gone hears
            nothing of it otherwise: Ray ends its process, after 60 s (2.60).
    """

    def __init__(
        self, settings: Settings, keyring: Keyring, ended: "asyncio.Future[None] | None" = None
    ) -> None:
        self._settings, self._keyring, self._ended = settings, keyring, ended
        self._handles: dict[str, ActorHandle[Any]] = {}

    def check(self) -> None:
        """Raise if the fleet has ended.

        Raises:
            NetworkError: It has, and no call to it will be answered.
        """
        if self._ended and self._ended.done():
            raise create_error(
                ErrorCodes.NETWORK_RAY_UNREACHABLE,
                "the local fleet has ended: its Ray or its host died, or somebody took it down",
                recovery="Close the pool and call raypool.connect() again: it starts the fleet anew, "
                "each session from its last checkpoint.",
            )

    async def ready(self, business_id: str, timeout: float) -> None:
        """Return when the business's instance is ready.

        Raises:
            RaypoolError: Why it is not.
        """
        reply = await self._supervised(
            lambda s: s.ready.remote(business_id, timeout, context.current())
        )
        calls.unpack_reply(reply)
        self._handles.pop(business_id, None)  # the incarnation may be another one by now

    async def run(self, business_id: str, call: bytes, timeout: float) -> Any:
        """Run a packed call in the business's actor and return its result."""
        return await self._in_actor(
            business_id, lambda actor: actor.run.remote(call, timeout, context.current())
        )

    async def checkpoint(self, business_id: str) -> Any:
        """Save the business's state now."""
        return await self._in_actor(
            business_id, lambda actor: actor.checkpoint.remote(context.current())
        )

    async def describe(self, business_id: str) -> dict[str, Any] | None:
        """Return what the instance says of itself; None when it does not answer."""
        asked = self._asked(business_id, lambda actor: actor.describe.remote())
        try:
            return dict(await asyncio.wait_for(self._unless_ended(asked), DESCRIBE_TIMEOUT_S))
        except (ValueError, RayError, TimeoutError, NetworkError):
            self._handles.pop(business_id, None)
            return None

    async def stop(self, business_id: str, timeout: float) -> dict[str, Any] | None:
        """Stop the business's instance; return how it went, None when there was none."""
        self._handles.pop(business_id, None)
        stopped: dict[str, Any] | None = await self._supervised(
            lambda s: s.stop.remote(business_id, timeout)
        )
        return stopped

    async def attach(self, business_id: str, ticket_id: str) -> Any:
        """Ask for a way into the business's browser."""
        return await self._in_actor(
            business_id, lambda actor: actor.attach.remote(ticket_id, context.current())
        )

    async def stay(self, business_id: str, ticket_id: str) -> None:
        """Stay attached."""
        await self._in_actor(business_id, lambda actor: actor.stay.remote(ticket_id))

    async def detach(self, business_id: str, ticket_id: str) -> None:
        """Leave; what was changed is durable when this returns."""
        await self._in_actor(
            business_id, lambda actor: actor.detach.remote(ticket_id, context.current())
        )

    async def touch(self, business_id: str) -> None:
        """Begin to count the instance's idle time anew; nothing when there is none."""
        with contextlib.suppress(ValueError, RayError):
            await self._unless_ended(self._asked(business_id, lambda actor: actor.touch.remote()))

    async def drain(self, node_id: str, timeout: float, reason: str) -> list[dict[str, Any]]:
        """Empty a node for good; return how each stop went."""
        reply = await self._supervised(lambda s: s.drain.remote(node_id, timeout, reason))
        stops: list[dict[str, Any]] = calls.unpack_reply(reply)
        return stops

    async def nodes(self) -> list[dict[str, Any]]:
        """Return what each node offers, and what its janitor says."""
        found: list[dict[str, Any]] = await self._supervised(lambda s: s.nodes.remote())
        return found

    async def overview(self) -> list[dict[str, Any]]:
        """Return what the supervisor remembers of every instance; nothing when there is none.

        Looking must not start anything: a fleet that was taken down stays down.
        """
        try:
            return await self._unless_ended(self._overview())
        except (ValueError, RayActorError, NetworkError):
            return []

    async def _overview(self) -> list[dict[str, Any]]:
        supervisor = await asyncio.to_thread(_supervisor, self._settings)
        seen: list[dict[str, Any]] = await _awaited(supervisor.overview.remote())
        return seen

    async def close(self, timeout: float) -> list[dict[str, Any]]:
        """Stop every instance and the supervisor itself; return how each stop went. Idempotent."""
        try:
            supervisor = await asyncio.to_thread(_supervisor, self._settings)
        except ValueError:
            return []
        results: list[dict[str, Any]] = await _awaited(supervisor.close.remote(timeout))
        await asyncio.to_thread(ray.kill, supervisor, no_restart=True)
        return results

    async def _in_actor(self, business_id: str, call: Callable[[ActorHandle[Any]], Any]) -> Any:
        try:
            return calls.unpack_reply(await self._unless_ended(self._asked(business_id, call)))
        except ValueError as error:  # Ray's word for a name that nobody has
            raise create_error(
                ErrorCodes.BROWSER_INSTANCE_NOT_READY, f"{business_id} has no instance now"
            ) from error
        except RayActorError as error:
            self._handles.pop(business_id, None)
            raise lost(error) from error

    async def _asked(self, business_id: str, call: Callable[[ActorHandle[Any]], Any]) -> Any:
        return await _awaited(call(await self._actor(business_id)))

    async def _actor(self, business_id: str) -> ActorHandle[Any]:
        _still_connected()
        if business_id not in self._handles:
            self._handles[business_id] = await asyncio.to_thread(
                ray.get_actor, business_actor(business_id), self._settings.namespace
            )
        return self._handles[business_id]

    async def _supervised(self, call: Callable[[ActorHandle[Any]], Any]) -> Any:
        for _ in range(10):
            try:
                return await self._unless_ended(self._watched(call))
            except (ActorDiedError, ActorUnavailableError):
                await asyncio.sleep(0.5)  # Ray restarts it, or the next round makes it again
        raise create_error(
            ErrorCodes.NETWORK_RAY_UNREACHABLE, "the supervisor of the fleet does not answer"
        )

    async def _watched(self, call: Callable[[ActorHandle[Any]], Any]) -> Any:
        """Return the supervisor's answer; one that hangs is killed, and Ray restarts it."""
        supervisor = await self._supervisor()
        answer = asyncio.ensure_future(_awaited(call(supervisor)))
        try:
            while not (await asyncio.wait({answer}, timeout=PING_EVERY_S))[0]:
                await _ping(supervisor, answer)
            return answer.result()
        finally:
            answer.cancel()

    async def _unless_ended(self, work: Coroutine[Any, Any, T]) -> T:
        if self._ended is None:
            return await work
        try:
            self.check()
        except NetworkError:
            work.close()
            raise
        task = asyncio.ensure_future(work)
        try:
            either: set[asyncio.Future[Any]] = {task, self._ended}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            task.cancel()
        if not task.done():
            self.check()
        return task.result()

    async def _supervisor(self) -> ActorHandle[Any]:
        return await asyncio.to_thread(ensure_supervisor, self._settings, self._keyring)


async def _ping(supervisor: ActorHandle[Any], answer: "asyncio.Future[Any]") -> None:
    """Return when the supervisor answered anything; kill one that does not."""
    ping: asyncio.Future[Any] = asyncio.ensure_future(_awaited(supervisor.ping.remote()))
    try:
        answered, _ = await asyncio.wait(
            {answer, ping}, timeout=PING_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED
        )
    finally:
        ping.cancel()
    if not answered:
        await asyncio.to_thread(ray.kill, supervisor, no_restart=False)


def ensure_supervisor(settings: Settings, keyring: Keyring) -> ActorHandle[Any]:
    """Return the fleet's supervisor, made when there is none. Idempotent; blocks on Ray."""
    from actors.supervisor import Supervisor  # noqa: PLC0415 -- pulls in the browser's side

    _still_connected()
    try:
        return _supervisor(settings)
    except ValueError:
        options: dict[str, Any] = {
            "name": SUPERVISOR,
            "namespace": settings.namespace,
            "lifetime": "detached",
            "get_if_exists": True,
            "max_restarts": -1,
            "max_task_retries": -1,
            "num_cpus": 0,
            "resources": {HEAD: 0.001},
        }
        made: ActorHandle[Any] = Supervisor.options(**options).remote(  # type: ignore[attr-defined]
            settings, keyring
        )
        return made


def _supervisor(settings: Settings) -> ActorHandle[Any]:
    return ray.get_actor(SUPERVISOR, settings.namespace)


async def _awaited(reply: Awaitable[T]) -> T:
    return await reply


def _still_connected() -> None:
    """Refuse what would make Ray start a cluster of its own, as it does for whoever has none."""
    if not ray.is_initialized():
        raise create_error(
            ErrorCodes.NETWORK_RAY_UNREACHABLE,
            "this process has left the Ray of its fleet",
            recovery="Call raypool.connect() again: the pool was closed, or ray.shutdown() called.",
        )

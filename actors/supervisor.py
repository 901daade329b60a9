"""The Ray actor that keeps the fleet as the records want it: a shell around the reconciler."""

import asyncio
import contextlib
from dataclasses import asdict, dataclass, replace
from typing import Any

import ray
from ray.actor import ActorHandle

from actors.business import Business
from actors.life import Death, Incarnation, StopResult
from actors.lives import Lives
from actors.names import SUPERVISOR, business_actor
from actors.reconciler import Reconciler
from actors.runtime import RayRuntime, title_process
from raypool import calls, context, logs
from raypool.config import Settings
from raypool.errors import ErrorCodes, RaypoolError
from raypool.store.crypto import Keyring
from raypool.store.sessions import RedisSessionManager

log = logs.get_logger(__name__)

ANSWER_TIMEOUT_S = 2.0
LOOK_AGAIN_S = 5.0
AFTER_ERROR_S = 1.0


@dataclass(frozen=True)
class Living:
    """An actor, and the node that can vouch for its death."""

    actor: ActorHandle[Any]
    node_id: str


class BusinessActors:
    """The live side of the reconciler: lives and deaths of :class:`actors.business.Business`."""

    def __init__(self, runtime: RayRuntime, settings: Settings, keyring: Keyring) -> None:
        self._runtime, self._settings, self._keyring = runtime, settings, keyring

    async def start(self, incarnation: Incarnation) -> Living:
        """Create the actor and bring it up; returns it when ready."""
        handle = await self._runtime.create(incarnation.business_id)
        timeout = self._settings.start_timeout
        seen: dict[str, Any] = {}
        try:
            seen = await self._runtime.call(handle, "describe", timeout=timeout)
            holder = incarnation.holder.model_copy(
                update={"pid": seen["pid"], "node_id": seen["node_id"]}
            )
            life = replace(incarnation, holder=holder)
            reply = await self._runtime.call(
                handle, "start", life, self._settings, self._keyring, timeout=timeout
            )
            calls.unpack_reply(reply)
        except RaypoolError as error:
            if error.code is ErrorCodes.BROWSER_INSTANCE_LOST:
                error.context["death_certain"] = await self._runtime.is_up(seen.get("node_id", ""))
            await self._runtime.kill(handle)
            raise
        except BaseException:
            await self._runtime.kill(handle)
            raise
        return Living(handle, seen["node_id"])

    async def find(self, business_id: str) -> tuple[Living, dict[str, Any] | None] | None:
        """Return an actor that is there already, with what it says of itself, if it answers."""
        handle = await self._runtime.find(business_id)
        if handle is None:
            return None
        try:
            seen = await self._runtime.call(handle, "describe", timeout=ANSWER_TIMEOUT_S)
        except TimeoutError:
            return Living(handle, ""), None
        except RaypoolError:
            return None  # it is dead, and its name about to go
        return Living(handle, seen["node_id"]), seen

    async def businesses(self) -> list[str]:
        """Businesses that have an actor."""
        return await self._runtime.businesses()

    async def stop(self, living: Living, timeout: float) -> StopResult:
        """Stop gracefully, within twice *timeout* whatever happens."""
        reply = await self._runtime.call(living.actor, "stop", timeout, timeout=2 * timeout)
        result: StopResult = calls.unpack_reply(reply)
        return result

    async def kill(self, living: Living) -> None:
        """Kill at once."""
        await self._runtime.kill(living.actor)

    async def death(self, living: Living) -> Death:
        """Wait for the end."""
        return await self._runtime.death(living.actor, living.node_id)


@ray.remote
class Supervisor:
    """Starts what is desired, sees what dies, makes the next incarnation."""

    def __init__(self, settings: Settings, keyring: Keyring) -> None:
        self._settings = settings.on_this_node()
        logs.configure(self._settings.log_format, self._settings.log_level)
        self._manager = RedisSessionManager(self._settings, keyring)
        self._awake = asyncio.Event()
        runtime = RayRuntime(settings.namespace, _make_business)
        actors = BusinessActors(runtime, settings, keyring)
        lives = Lives(actors, settings.cluster, self._awake.set)
        self._reconciler = Reconciler(self._manager, lives)
        self._loop = asyncio.get_running_loop().create_task(self._run())

    def __repr__(self) -> str:
        return SUPERVISOR

    async def ping(self) -> str:
        """Answer; whoever waits for it knows that the supervisor is up."""
        return SUPERVISOR

    async def ready(self, business_id: str, timeout: float, ids: dict[str, object]) -> bytes:
        """Answer with the actor's name once the instance is ready, or with the error."""
        with context.bound(**ids):
            try:
                await self._reconciler.await_ready(business_id, timeout)
                return calls.pack_value(business_actor(business_id))
            except RaypoolError as error:
                return calls.pack_error(error)

    async def stop(self, business_id: str, timeout: float) -> dict[str, Any] | None:
        """Stop one instance; its record must say so first, or it comes back."""
        result = await self._reconciler.stop(business_id, timeout)
        return asdict(result) if result else None

    async def close(self, timeout: float) -> list[dict[str, Any]]:
        """Stop every instance, each after an acknowledged checkpoint; start nothing any more."""
        results = await self._reconciler.close(timeout)
        return [asdict(result) for result in results]

    async def reopen(self) -> None:
        """Bring back what is desired, after a `down` that was cut off half-way."""
        self._reconciler.reopen()

    async def overview(self) -> list[dict[str, Any]]:
        """Return what is remembered of every instance."""
        return self._reconciler.overview()

    async def _run(self) -> None:
        adopted = False
        while True:
            self._awake.clear()
            title_process(self)
            delay: float | None = AFTER_ERROR_S
            try:
                await self._manager.open()
                if not adopted:
                    await self._reconciler.adopt()
                    adopted = True
                delay = await self._reconciler.reconcile()
            except Exception as error:  # noqa: BLE001 -- one bad pass must not end the loop
                log.error("pass failed", error=repr(error))  # noqa: TRY400
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._awake.wait(), min(delay or LOOK_AGAIN_S, LOOK_AGAIN_S))


def _make_business(options: dict[str, Any], business_id: str) -> ActorHandle[Any]:
    made: ActorHandle[Any] = Business.options(**options).remote(business_id)  # type: ignore[attr-defined]
    return made

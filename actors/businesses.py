"""Lives and deaths of :class:`actors.business.Business` through Ray: the supervisor's live side."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from ray.actor import ActorHandle

from actors.janitors import Janitors
from actors.life import Death, Incarnation, StopResult
from actors.runtime import RayRuntime
from raypool import calls
from raypool.config import Settings
from raypool.errors import ErrorCodes, RaypoolError
from raypool.store.crypto import Keyring

ANSWER_TIMEOUT_S = 1.0
"""Short, since silence costs nobody anything: the node is asked whether the process runs."""


@dataclass(frozen=True)
class Living:
    """An actor, and the node that can vouch for its death."""

    actor: ActorHandle[Any]
    node_id: str


class BusinessActors:
    """See :class:`actors.ports.Actors`.

    Args:
        runtime: Creates and calls actors.
        janitors: Vouch for the deaths of owners.
        settings: Handed to each actor.
        keyring: Handed to each actor.
        started: Called when an actor has come up, and with it taken a worker of its node.
    """

    def __init__(
        self,
        runtime: RayRuntime,
        janitors: Janitors,
        settings: Settings,
        keyring: Keyring,
        started: Callable[[], None],
    ) -> None:
        self._runtime, self._janitors, self._started = runtime, janitors, started
        self._settings, self._keyring = settings, keyring

    async def start(self, incarnation: Incarnation) -> Living:
        """Create the actor and bring it up; see the protocol."""
        handle = await self._runtime.create(incarnation.business_id, incarnation.labels)
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
        self._started()
        return Living(handle, seen["node_id"])

    async def find(self, business_id: str) -> tuple[Living, dict[str, Any] | None] | None:
        """Return an actor that is there already; see the protocol."""
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

    async def describe(self, living: Living) -> dict[str, Any] | None:
        """Return what an actor says of itself; see the protocol."""
        try:
            seen: dict[str, Any] = await self._runtime.call(
                living.actor, "describe", timeout=ANSWER_TIMEOUT_S
            )
        except (TimeoutError, RaypoolError):  # whoever watches it hears of its death
            return None
        return seen

    async def stop(self, living: Living, timeout: float) -> StopResult:
        """Stop gracefully, within thrice *timeout* whatever happens."""
        reply = await self._runtime.call(living.actor, "stop", timeout, timeout=3 * timeout)
        result: StopResult = calls.unpack_reply(reply)
        return result

    async def hibernate(self, living: Living, idle_for: float, timeout: float) -> StopResult | None:
        """Stop gracefully unless somebody uses it; see the protocol."""
        reply = await self._runtime.call(
            living.actor, "hibernate", idle_for, timeout, timeout=3 * timeout
        )
        result: StopResult | None = calls.unpack_reply(reply)
        return result

    async def kill(self, living: Living) -> None:
        """Kill at once."""
        await self._runtime.kill(living.actor)

    async def death(self, living: Living) -> Death:
        """Wait for the end."""
        return await self._runtime.death(living.actor, living.node_id)

    async def is_lost(self, node_id: str) -> bool:
        """Tell whether a node is known to be dead; see the protocol."""
        return await self._runtime.is_dead(node_id)

    async def owner_state(self, node_id: str, holder_id: str) -> str | None:
        """Return what a node says of an owner; see the protocol."""
        return await self._janitors.state(node_id, holder_id)

    async def end(self, node_id: str, holder_id: str) -> bool:
        """Have a node kill an owner and its browser; see the protocol."""
        return await self._janitors.end(node_id, holder_id)

"""The only place that calls Ray for actors: create, find, call, kill, and tell how one died.

Ray's blocking calls run in threads; its exceptions end here.
"""

import asyncio
import contextlib
import os
from collections.abc import Callable, Mapping
from typing import Any

import psutil
import ray
from ray._raylet import setproctitle  # type: ignore[attr-defined]
from ray.actor import ActorHandle
from ray.exceptions import ActorDiedError, ActorUnavailableError, RayActorError, RayError
from ray.util import list_named_actors

from actors.life import Death
from actors.names import business_actor, business_of, janitor_actor
from raypool.errors import ErrorCodes, create_error

BROWSER_RESOURCE = "browser"
HEAD = "node:__internal_head__"
"""Resource that Ray gives to the head node alone."""
_STARTING, _IDLE = "default_worker.py", "ray::IDLE"
"""What a worker process without an actor is called, before and after it has come up."""


class RayRuntime:
    """Actors of one namespace.

    Args:
        namespace: Ray namespace of the fleet.
        make: Creates the business's actor from Ray options and its id; injected by the shell that
            knows the actor class.
        make_janitor: Creates a janitor from Ray options.
    """

    def __init__(
        self,
        namespace: str,
        make: Callable[[dict[str, Any], str], ActorHandle[Any]],
        make_janitor: Callable[[dict[str, Any]], ActorHandle[Any]],
    ) -> None:
        self._namespace, self._make, self._make_janitor = namespace, make, make_janitor

    async def create(self, business_id: str, labels: Mapping[str, str]) -> ActorHandle[Any]:
        """Create the actor of a business on a node with these *labels*.

        One that has the name already is killed first.
        """
        for _ in range(3):
            try:
                return await asyncio.to_thread(self._create, business_id, labels)
            except ValueError:  # the name is taken: by an actor that is dying, or by a stray
                await self.kill(await self.find(business_id))
                await asyncio.sleep(0.1)
        return await asyncio.to_thread(self._create, business_id, labels)

    def _create(self, business_id: str, labels: Mapping[str, str]) -> ActorHandle[Any]:
        options: dict[str, Any] = {
            "name": business_actor(business_id),
            "namespace": self._namespace,
            "lifetime": "detached",
            "max_restarts": 0,
            "max_task_retries": 0,
            "num_cpus": 0,
            "scheduling_strategy": "SPREAD",
        }
        if labels:
            options["label_selector"] = dict(labels)
        offered = ray.cluster_resources()  # type: ignore[no-untyped-call]
        if offered.get(BROWSER_RESOURCE):
            options["resources"] = {BROWSER_RESOURCE: 1}
        else:  # no node counts places: at least none without a CPU, as heads are started
            options["num_cpus"] = 0.01
        return self._make(options, business_id)

    async def janitor(self, node_id: str) -> ActorHandle[Any]:
        """Return the janitor of a node, made when there is none. Idempotent."""
        found = await self.find_janitor(node_id)
        if found is not None:
            return found
        return await asyncio.to_thread(
            self._make_janitor, _janitor_options(self._namespace, node_id)
        )

    async def find_janitor(self, node_id: str) -> ActorHandle[Any] | None:
        """Return the janitor of a node, None when there is none."""
        return await self._named(janitor_actor(node_id))

    async def find(self, business_id: str) -> ActorHandle[Any] | None:
        """Return the handle of a business's actor, None when the name is free."""
        return await self._named(business_actor(business_id))

    async def _named(self, name: str) -> ActorHandle[Any] | None:
        try:
            return await asyncio.to_thread(ray.get_actor, name, self._namespace)
        except ValueError:
            return None

    async def businesses(self) -> list[str]:
        """Return the businesses that have a named actor, in whatever state it is."""
        named = await asyncio.to_thread(list_named_actors, all_namespaces=True)
        ids = (business_of(a["name"]) for a in named if a["namespace"] == self._namespace)
        return sorted(b for b in ids if b)

    async def call(self, actor: ActorHandle[Any], method: str, *args: Any, timeout: float) -> Any:
        """Return what an actor's method answers within *timeout* seconds.

        Raises:
            TimeoutError: It did not answer: it may be alive or not.
            InstanceLost: It is dead, or cannot be reached.
        """
        reply = getattr(actor, method).remote(*args)
        try:
            return await asyncio.wait_for(_awaited(reply), timeout)
        except ActorUnavailableError as error:  # cannot be reached now: that is not dead
            raise TimeoutError(str(error)) from error
        except RayActorError as error:
            raise lost(error) from error

    async def death(self, actor: ActorHandle[Any], node_id: str) -> Death:
        """Return when *actor*, which runs on *node_id*, has ended, and how."""
        while True:
            try:
                return Death(certain=True, reason=await _awaited(actor.ended.remote()))
            except ActorUnavailableError:
                await asyncio.sleep(0.5)  # cannot be reached now: that is not dead
            except ActorDiedError as error:
                return Death(certain=await self.is_up(node_id), reason=_short(error))
            except RayError as error:
                return Death(certain=False, reason=_short(error))

    async def is_up(self, node_id: str) -> bool:
        """Tell whether a node is there to vouch for the deaths of its processes."""
        # Only the node itself knows that a process is dead. When the node is gone, nobody does.
        nodes = await asyncio.to_thread(ray.nodes)
        return any(node["NodeID"] == node_id and node["Alive"] for node in nodes)

    async def is_dead(self, node_id: str) -> bool:
        """Tell whether Ray has given a node up."""
        nodes = await asyncio.to_thread(ray.nodes)
        return any(node["NodeID"] == node_id and not node["Alive"] for node in nodes)

    async def kill(self, actor: ActorHandle[Any] | None) -> None:
        """Kill an actor's process at once. Idempotent."""
        if actor is not None:
            await asyncio.to_thread(ray.kill, actor, no_restart=True)


async def ping(name: str, namespace: str, timeout: float) -> bool:
    """Tell whether a named actor answered, or there is none that could."""
    try:
        actor = await asyncio.to_thread(ray.get_actor, name, namespace)
        await asyncio.wait_for(_awaited(actor.ping.remote()), timeout)
    except TimeoutError:
        return False
    except (ValueError, RayError):
        return True
    return True


async def restart(name: str, namespace: str) -> None:
    """Kill a named actor so that Ray starts it again. Nothing when there is none."""
    with contextlib.suppress(ValueError, RayError):
        actor = await asyncio.to_thread(ray.get_actor, name, namespace)
        await asyncio.to_thread(ray.kill, actor, no_restart=False)


def on_head() -> bool:
    """Tell whether this process runs on the head node."""
    here = ray.get_runtime_context().get_node_id()
    nodes = ray.nodes()  # type: ignore[no-untyped-call]
    heads = [n["NodeID"] for n in nodes if HEAD in n.get("Resources", {})]
    return here in heads


def _janitor_options(namespace: str, node_id: str) -> dict[str, Any]:
    return {
        "name": janitor_actor(node_id),
        "namespace": namespace,
        "lifetime": "detached",
        "get_if_exists": True,
        # The supervisor makes it again. When memory is short, Ray kills what restarts by itself first.
        "max_restarts": 0,
        "max_task_retries": 0,
        "num_cpus": 0,
        "label_selector": {"ray.io/node-id": node_id},
    }


def title_process(actor: object) -> None:
    """Show the actor's name for its process in `ps` and `top`, after Ray's own mark.

    Ray writes the class's name there whenever a call ends. A worker process is one actor's for life,
    so its class may carry the actor's name.
    """
    cls = type(actor)
    for named in (cls, getattr(cls, "__ray_actor_class__", cls)):
        named.__name__ = repr(actor)
    setproctitle(f"ray::{actor!r}")


def idle_workers() -> int:
    """Return how many workers of this node's raylet, our parent, wait for an actor, or soon will."""
    count = 0
    for worker in psutil.Process(os.getppid()).children():
        with contextlib.suppress(psutil.Error):
            command = worker.cmdline()
            count += command[:1] == [_IDLE] or any(_STARTING in word for word in command)
    return count


async def _awaited(reply: Any) -> Any:
    return await reply


def lost(error: RayError) -> Exception:
    """Return the error for a call whose actor died or cannot be reached."""
    return create_error(ErrorCodes.BROWSER_INSTANCE_LOST, f"the actor died: {_short(error)}")


def _short(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # The first sentence says what happened; what follows in Ray's texts is advice about Ray.
    return (lines[-1] if lines else type(error).__name__).partition(". ")[0][:200]

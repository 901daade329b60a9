"""Ask everything that lives in a fleet what it sees: for the audit. Changes nothing, makes nothing."""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any

import ray
from ray.actor import ActorHandle
from ray.exceptions import RayError
from ray.util import list_named_actors

from actors.names import business_of, janitor_actor
from actors.nodes import RayNodes

ANSWER_TIMEOUT_S = 8.0
"""Longer than a janitor takes to end an incarnation."""


@dataclass(frozen=True)
class Census:
    """Who is there, and what each said. ``None``: it did not answer."""

    actors: dict[str, dict[str, Any] | None]
    """What the actor of each business says of itself."""
    nodes: tuple[str, ...]
    """The nodes that live."""
    this_node: str


async def take_census(namespace: str) -> Census:
    """Return who lives in a fleet. This process must be connected to its Ray.

    Raises:
        NetworkError: Ray's head does not answer.
    """
    named = await asyncio.to_thread(list_named_actors, all_namespaces=True)
    names = [actor["name"] for actor in named if actor["namespace"] == namespace]
    businesses = {name: b for name in names if (b := business_of(name)) is not None}
    said = await asyncio.gather(*(_ask(name, namespace, "describe") for name in businesses))
    nodes = await asyncio.to_thread(RayNodes().nodes)
    return Census(
        dict(zip(businesses.values(), said, strict=True)),
        tuple(node.node_id for node in nodes if node.alive),
        ray.get_runtime_context().get_node_id(),
    )


async def ask_janitor(namespace: str, node_id: str, method: str, *args: Any) -> Any:
    """Return what a node's janitor answers; None when it does not, or is not there."""
    return await _ask(janitor_actor(node_id), namespace, method, *args)


async def _ask(name: str, namespace: str, method: str, *args: Any) -> Any:
    try:
        actor: ActorHandle[Any] = await asyncio.to_thread(ray.get_actor, name, namespace)
        reply = getattr(actor, method).remote(*args)
        return await asyncio.wait_for(_awaited(reply), ANSWER_TIMEOUT_S)
    except (ValueError, RayError, TimeoutError):
        return None


async def _awaited(reply: Awaitable[Any]) -> Any:
    return await reply

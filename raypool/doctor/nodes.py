"""The nodes of a fleet, as an audit looks at them and cleans them up: by their janitors, or by hand."""

import asyncio
from typing import Any, Protocol

from actors.census import Census, ask_janitor
from actors.keeper import now
from raypool.browser.patrol import Patrol
from raypool.browser.proc import living

Seen = list[dict[str, Any]]


class Node(Protocol):
    """One node. What does not answer answers nothing: None, or nobody lives."""

    async def inspect(self) -> Seen | None:
        """Return what lies and runs there."""

    async def living(self, pids: list[int]) -> list[int]:
        """Return those of *pids* that run there. All of them, when that cannot be told."""
        ...

    async def tidy(self) -> None:
        """Kill what has no owner and remove what the dead left."""

    async def end(self, holder_id: str) -> bool:
        """Kill an incarnation; tell whether nothing of it is left."""
        ...


class ThisMachine:
    """Looked after by this process."""

    def __init__(self) -> None:
        self._patrol = Patrol()

    async def inspect(self) -> Seen | None:
        """Return what lies and runs here."""
        return await asyncio.to_thread(self._patrol.inspect)

    async def living(self, pids: list[int]) -> list[int]:
        """Return those that run."""
        return living(pids)

    async def tidy(self) -> None:
        """Go one thorough round."""
        await asyncio.to_thread(self._patrol.round, now(), thorough=True)

    async def end(self, holder_id: str) -> bool:
        """Kill an incarnation."""
        return await asyncio.to_thread(self._patrol.end, holder_id)


class AnotherNode:
    """Looked after by its janitor."""

    def __init__(self, namespace: str, node_id: str) -> None:
        self._where = namespace, node_id

    async def inspect(self) -> Seen | None:
        """Return what its janitor found."""
        seen: Seen | None = await ask_janitor(*self._where, "inspect")
        return seen

    async def living(self, pids: list[int]) -> list[int]:
        """Return those that run there."""
        found: list[int] | None = await ask_janitor(*self._where, "living", pids)
        return pids if found is None else found

    async def tidy(self) -> None:
        """Let its janitor go a thorough round."""
        await ask_janitor(*self._where, "tidy")

    async def end(self, holder_id: str) -> bool:
        """Let its janitor kill an incarnation."""
        return bool(await ask_janitor(*self._where, "end", holder_id))


async def inspect_all(
    census: Census | None, namespace: str
) -> tuple[dict[str, tuple[Node, Seen]], list[str]]:
    """Return every node that could be looked at with what was seen, and those that could not.

    Without a census that is this machine alone, under the empty name.
    """
    if census is None:
        here = ThisMachine()
        return {"": (here, await here.inspect() or [])}, []
    found: dict[str, tuple[Node, Seen]] = {}
    for node_id in census.nodes:
        nodes: list[Node] = [AnotherNode(namespace, node_id)]
        if node_id == census.this_node:
            nodes.append(ThisMachine())  # where this process can look itself, if need be
        for node in nodes:
            if node_id not in found and (seen := await node.inspect()) is not None:
                found[node_id] = node, seen
    return found, [node_id for node_id in census.nodes if node_id not in found]

"""The janitors of a fleet as its supervisor sees them: one a node, made when missing."""

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from actors.runtime import RayRuntime
from raypool.errors import RaypoolError
from raypool.logs import get_logger

log = get_logger(__name__)

ANSWER_TIMEOUT_S = 3.0
END_TIMEOUT_S = 10.0
MISSES = 2
"""Rounds in a row without an answer after which a janitor is replaced."""


class Janitors:
    """Keeps a janitor on each node.

    Args:
        runtime: Creates and calls actors.
    """

    def __init__(self, runtime: RayRuntime) -> None:
        self._runtime = runtime
        self._missed: dict[str, int] = {}
        self._handles: dict[str, Any] = {}
        """Kept, since looking one up takes Ray's head, which may be away when it matters."""
        self.reports: Mapping[str, Mapping[str, Any]] = {}
        """What each node's janitor last said."""

    async def look_after(self, node_ids: Iterable[str]) -> None:
        """Ask the janitor of each node for its report; make those that are missing or silent."""
        nodes = list(node_ids)
        answers = await asyncio.gather(*(self._report(node_id) for node_id in nodes))
        self.reports = {n: answer for n, answer in zip(nodes, answers, strict=True) if answer}
        self._missed = {n: self._missed.get(n, 0) for n in nodes if n not in self.reports}

    async def _report(self, node_id: str) -> Mapping[str, Any] | None:
        try:
            janitor = await self._janitor(node_id)
            report: Mapping[str, Any] = await self._runtime.call(
                janitor, "report", timeout=ANSWER_TIMEOUT_S
            )
        except RaypoolError as error:  # it is dead
            log.warning("a janitor is gone", node_id=node_id, error=error.message)
            return await self._anew(node_id)
        except TimeoutError:
            self._missed[node_id] = self._missed.get(node_id, 0) + 1
            log.warning("a janitor does not answer", node_id=node_id)
            if self._missed[node_id] >= MISSES:
                await self.dismiss([node_id])
                self._missed[node_id] = 0
            return None
        return report

    async def _anew(self, node_id: str) -> Mapping[str, Any] | None:
        """Make another janitor and return its first report: until then nobody asks it anything."""
        del self._handles[node_id]
        with suppress(Exception):  # its name may not be free yet: the next round tries again
            janitor = await self._janitor(node_id)
            report: Mapping[str, Any] = await self._runtime.call(
                janitor, "report", timeout=ANSWER_TIMEOUT_S
            )
            return report
        return None

    async def _janitor(self, node_id: str) -> Any:
        if node_id not in self._handles:
            self._handles[node_id] = await self._runtime.janitor(node_id)
        return self._handles[node_id]

    async def state(self, node_id: str, holder_id: str) -> str | None:
        """Return what a node says of an owner's process: running, stopped or dead; None: nothing."""
        found = await self._ask(node_id, "inspect", ANSWER_TIMEOUT_S)
        if found is None:
            return None
        states = [str(f["owner"]) for f in found if f["holder_id"] == holder_id]
        return states[0] if states else "dead"

    async def end(self, node_id: str, holder_id: str) -> bool:
        """Have an owner and its browser killed; True when nothing of them is left."""
        return bool(await self._ask(node_id, "end", END_TIMEOUT_S, holder_id))

    async def dismiss(self, node_ids: Iterable[str]) -> None:
        """Kill the janitors of these nodes. Idempotent."""
        for node_id in node_ids:
            handle = self._handles.pop(node_id, None)
            await self._runtime.kill(handle or await self._runtime.find_janitor(node_id))

    async def _ask(self, node_id: str, method: str, timeout: float, *args: Any) -> Any:
        if node_id not in self.reports:  # a node that is gone, or of another cluster's Ray
            return None
        try:
            janitor = await self._janitor(node_id)
            return await self._runtime.call(janitor, method, *args, timeout=timeout)
        except (RaypoolError, TimeoutError):
            return None

"""Workers kept ready on each node, so that a business whose process died is back at once. No Ray here.

Starting a worker process and importing what an instance needs takes longer than all the rest of a
recovery. A spare has both behind it when it is given an actor.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any

from raypool.logs import get_logger
from raypool.room import NodeRoom, Room

log = get_logger(__name__)

ASK_AGAIN_S = 3.0
"""Should workers die as they start, a node is not asked for more of them at once."""

Prestart = Callable[[str, int], None]


class Spares:
    """Keeps idle workers on each node that takes businesses.

    Args:
        wanted: How many on each node; 0: none.
        prestart: Has a node, named by its id, start so many workers. Blocks; may raise anything.
        clock: Monotonic seconds.
    """

    def __init__(
        self, wanted: int, prestart: Prestart, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._wanted, self._prestart, self._clock = wanted, prestart, clock
        self._asked: dict[str, float] = {}
        self._told = ""

    async def top_up(self, room: Room, reports: Mapping[str, Mapping[str, Any]]) -> None:
        """Ask the nodes that have too few for more. A node that cannot is asked again later.

        Args:
            room: What the nodes offer.
            reports: What each node's janitor said; without its word a node is left alone.
        """
        now = self._clock()
        self._asked = {n: at for n, at in self._asked.items() if now - at < ASK_AGAIN_S}
        for node in room.nodes:
            count = missing(node, room, reports.get(node.node_id, {}), self._wanted)
            if count and node.node_id not in self._asked:
                self._asked[node.node_id] = now
                await self._ask(node.node_id, count)

    async def _ask(self, node_id: str, count: int) -> None:
        try:
            await asyncio.to_thread(self._prestart, node_id, count)
        except Exception as error:  # noqa: BLE001 -- without a spare a recovery only takes longer
            if repr(error) != self._told:
                log.warning("no spare worker", node_id=node_id, error=repr(error))
            self._told = repr(error)


def missing(node: NodeRoom, room: Room, report: Mapping[str, Any], wanted: int) -> int:
    """Return how many workers a node should start ahead. Pure."""
    takes_businesses = node.slots > 0 or room.slots is None
    if not takes_businesses or node.draining or node.short or "idle" not in report:
        return 0
    return max(0, wanted - int(report["idle"]))

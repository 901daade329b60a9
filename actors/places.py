"""What the nodes offer, laid together from Ray and from their janitors. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from raypool.config import Settings
from raypool.room import NodeRoom, Room


class Node(Protocol):
    """A node as Ray describes it."""

    @property
    def node_id(self) -> str: ...  # noqa: D102
    @property
    def slots(self) -> int: ...  # noqa: D102
    @property
    def draining_deadline(self) -> float | None: ...  # noqa: D102


def room_of(
    nodes: Sequence[Node], reports: Mapping[str, Mapping[str, Any]], settings: Settings
) -> Room:
    """Return the places of the fleet.

    Args:
        nodes: Those that are alive.
        reports: What each node's janitor said, by node; a node without one is taken to be well.
        settings: Most browsers a node, and the memory to keep free.
    """
    return Room(
        tuple(
            NodeRoom(
                node.node_id,
                _slots(node, settings.max_live_per_node),
                draining=node.draining_deadline is not None,
                short=_short(reports.get(node.node_id, {}), settings.memory_reserve),
            )
            for node in sorted(nodes, key=lambda node: node.node_id)
        )
    )


def _slots(node: Node, most: int) -> int:
    return min(node.slots, most) if most else node.slots


def _short(report: Mapping[str, Any], reserve: float) -> bool:
    total = report.get("memory_total", 0)
    return bool(total) and report["memory_available"] < reserve * total

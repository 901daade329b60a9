"""Places on nodes: how many browsers may live, and which of them give way. Nothing but data."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from raypool.phase import Phase

OCCUPIED = frozenset({
    Phase.STARTING, Phase.READY, Phase.RECOVERING, Phase.UNKNOWN, Phase.STOPPING,
})  # fmt: skip
"""Phases in which an actor may exist: another one of the same business must not be started."""
MOVABLE = frozenset({Phase.READY, Phase.RECOVERING})
"""Phases in which an instance that must leave its node can be stopped in order."""
PLENTY = 1_000_000
GIVE_WAY_AFTER_S = 2.0
"""Idle for less than this, an instance is in use: its caller is between two commands."""


@dataclass(frozen=True)
class Seen:
    """One instance as it was last seen."""

    business_id: str
    phase: Phase
    retry_at: float = 0.0
    """In BACKOFF: when the next start is due, seconds on the clock of ``now``."""
    node_id: str = ""
    idle_for: float = 0.0
    """Seconds since somebody used it; 0 while somebody does."""
    idle_after: float = 0.0
    """Seconds of idleness after which it rests; 0: never."""
    resting: bool = False
    """It was told to rest and has not answered yet: its place comes free by itself."""


@dataclass(frozen=True)
class NodeRoom:
    """What one node offers."""

    node_id: str
    slots: int
    """Browsers that may live there."""
    draining: bool = False
    short: bool = False
    """Its memory is nearly used up."""


@dataclass(frozen=True)
class Room:
    """What all nodes offer together; without any node that counts, there is room for everybody."""

    nodes: tuple[NodeRoom, ...] = ()

    @property
    def slots(self) -> int | None:
        """Places in all, on nodes that stay; None when nobody counts them."""
        if not any(node.slots for node in self.nodes):
            return None
        return sum(node.slots for node in self.nodes if not node.draining)

    def places(self, seen: Iterable[Seen]) -> int:
        """Return how many more browsers may be started; less than 0 when there are too many."""
        if self.slots is None:
            return PLENTY
        return self.slots - sum(
            e.phase in OCCUPIED and not self.is_draining(e.node_id) for e in seen
        )

    def is_draining(self, node_id: str) -> bool:
        """Tell whether a node is being emptied."""
        return any(node.node_id == node_id and node.draining for node in self.nodes)


def idle(seen: Sequence[Seen]) -> tuple[list[Seen], list[float]]:
    """Return who has been idle for long enough, and in how many seconds the others will have been."""
    candidates = [e for e in seen if e.phase is Phase.READY and e.idle_after]
    tired = [e for e in candidates if e.idle_for >= e.idle_after]
    return tired, [e.idle_after - e.idle_for for e in candidates if e.idle_for < e.idle_after]


def short_of_memory(seen: Sequence[Seen], room: Room, leaving: Sequence[Seen]) -> list[Seen]:
    """Return the one that was idle longest on each node whose memory is short.

    None where somebody is *leaving* already: what that gives back is not seen yet.
    """
    relieved = {e.node_id for e in leaving}
    return [
        longest
        for node in room.nodes
        if node.short and node.node_id not in relieved
        for longest in crowded([e for e in seen if e.node_id == node.node_id], 1)
    ]


def crowded(seen: Sequence[Seen], needed: int) -> list[Seen]:
    """Return the *needed* ones that were idle longest; fewer when not so many are idle."""
    resting = [e for e in seen if e.phase is Phase.READY and e.idle_for >= GIVE_WAY_AFTER_S]
    return sorted(resting, key=lambda e: (-e.idle_for, e.business_id))[: max(0, needed)]

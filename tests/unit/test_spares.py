"""Workers that are kept ready: where, how many, and what happens when a node cannot."""

from typing import Any

import pytest

from actors.spares import ASK_AGAIN_S, Spares, missing
from raypool.room import NodeRoom, Room

NODE = NodeRoom("a", slots=4)
NONE, ONE = {"a": {"idle": 0}}, {"a": {"idle": 1}}


class Nodes:
    """Notes what is asked of the nodes; a clock beside it."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []
        self.now, self.error = 0.0, ""

    def prestart(self, node_id: str, count: int) -> None:
        self.asked.append((node_id, count))
        if self.error:
            raise OSError(self.error)

    def spares(self, wanted: int = 1) -> Spares:
        return Spares(wanted, self.prestart, lambda: self.now)


@pytest.mark.parametrize(
    ("node", "report", "count"),
    [
        pytest.param(NODE, {"idle": 0}, 2, id="none is there"),
        pytest.param(NODE, {"idle": 1}, 1, id="one is there"),
        pytest.param(NODE, {"idle": 5}, 0, id="more than enough"),
        pytest.param(NODE, {}, 0, id="nobody knows"),
        pytest.param(NodeRoom("a", 4, draining=True), {"idle": 0}, 0, id="it is being drained"),
        pytest.param(NodeRoom("a", 4, short=True), {"idle": 0}, 0, id="its memory is short"),
    ],
)
def test_a_node_gets_what_it_lacks(node: NodeRoom, report: dict[str, Any], count: int) -> None:
    """Two are wanted on each node that may take a business."""
    assert missing(node, Room((node,)), report, 2) == count


def test_a_node_without_places_needs_no_spare() -> None:
    """Such as a head; where no node counts places all of them take businesses."""
    head = NodeRoom("a", slots=0)
    assert missing(head, Room((head, NodeRoom("b", 1))), {"idle": 0}, 1) == 0
    assert missing(head, Room((head,)), {"idle": 0}, 1) == 1


async def test_a_worker_that_never_comes_up_is_not_asked_for_all_the_time() -> None:
    """Now and then, and no more once it is there."""
    nodes = Nodes()
    spares = nodes.spares()
    for nodes.now in (0.0, 1.0, ASK_AGAIN_S + 1):
        await spares.top_up(Room((NODE,)), NONE)
    await spares.top_up(Room((NODE,)), ONE)
    assert nodes.asked == [("a", 1), ("a", 1)]


async def test_a_node_that_cannot_costs_no_other_its_spare() -> None:
    """The error ends here: what looks after the nodes goes on."""
    nodes = Nodes()
    nodes.error = "refused"
    room = Room((NODE, NodeRoom("b", 4)))
    await nodes.spares().top_up(room, {"a": {"idle": 0}, "b": {"idle": 0}})
    assert nodes.asked == [("a", 1), ("b", 1)]


async def test_no_spares_when_none_are_wanted() -> None:
    """``RAYPOOL_SPARE_WORKERS=0``."""
    nodes = Nodes()
    await nodes.spares(wanted=0).top_up(Room((NODE,)), NONE)
    assert nodes.asked == []

"""What the nodes offer: what Ray says, within the settings, less what their janitors warn of."""

from dataclasses import dataclass

import pytest

from actors.places import room_of
from raypool.config import Settings
from raypool.room import NodeRoom, Room


@dataclass(frozen=True)
class _Node:
    node_id: str
    slots: int = 8
    draining_deadline: float | None = None


def _report(available: int, total: int = 1000) -> dict[str, int]:
    return {"memory_available": available, "memory_total": total}


def test_the_nodes_come_in_their_order_with_what_they_offer() -> None:
    """However Ray lists them: the same nodes are the same room, and cause no pass."""
    nodes = [_Node("n2", slots=3), _Node("n1", slots=8)]
    room = Room((NodeRoom("n1", 8), NodeRoom("n2", 3)))
    assert room_of(nodes, {}, Settings()) == room_of(nodes[::-1], {}, Settings()) == room


@pytest.mark.parametrize(("most", "slots"), [(0, 8), (5, 5), (20, 8)])
def test_a_node_has_no_more_places_than_the_settings_allow(most: int, slots: int) -> None:
    """0 means as many as the node itself offers."""
    room = room_of([_Node("n1", slots=8)], {}, Settings(max_live_per_node=most))
    assert room.slots == slots


def test_a_node_that_is_being_emptied_is_marked() -> None:
    """Also with a deadline of 0, which is Ray's word for none."""
    nodes = [_Node("n1", draining_deadline=0.0), _Node("n2")]
    assert [node.draining for node in room_of(nodes, {}, Settings()).nodes] == [True, False]


@pytest.mark.parametrize(
    ("reports", "short"),
    [
        ({"n1": _report(99)}, True),
        ({"n1": _report(100)}, False),
        ({"n1": _report(0)}, True),
        ({"n1": _report(0, total=0)}, False),
        ({"n1": {}}, False),
        ({"n2": _report(0)}, False),
        ({}, False),
    ],
)
def test_memory_is_short_when_the_janitor_says_so(
    reports: dict[str, dict[str, int]], *, short: bool
) -> None:
    """Less is available than the share to keep free; a node nobody heard of is taken to be well."""
    room = room_of([_Node("n1")], reports, Settings(memory_reserve=0.1))
    assert [node.short for node in room.nodes] == [short]

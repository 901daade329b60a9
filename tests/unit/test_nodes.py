"""What the fleet knows of Ray's nodes, and the private corners of Ray that it knows it from."""

import inspect
import math

import pytest
from ray._private import worker
from ray._raylet import InnerGcsClient
from ray.core.generated import autoscaler_pb2, gcs_pb2

from actors.nodes import Node, _node

INFO = gcs_pb2.GcsNodeInfo(
    node_id=b"\xab" * 28,
    state=gcs_pb2.GcsNodeInfo.ALIVE,
    resources_total={"browser": 4.0, "CPU": 1.0},
    labels={"zone": "a"},
    node_manager_address="10.0.0.7",
    node_manager_port=4711,
)
NODE_ID = "ab" * 28


def test_a_node_is_told_as_ray_knows_it() -> None:
    """Id, address, labels and the places for businesses come through."""
    assert _node(INFO, {}) == Node(NODE_ID, True, None, 4, "10.0.0.7", 4711, {"zone": "a"}, False)


def test_a_node_without_browser_slots_takes_no_business() -> None:
    """A head that was started without the resource offers nothing."""
    head = gcs_pb2.GcsNodeInfo(node_id=b"\xab" * 28, is_head_node=True)
    assert (_node(head, {}).slots, _node(head, {}).is_head) == (0, True)


@pytest.mark.parametrize(
    ("draining", "deadline"),
    [({}, None), ({NODE_ID: 1_500}, 1.5), ({NODE_ID: 0}, math.inf), ({"cd" * 28: 1_500}, None)],
)
def test_a_node_that_is_drained_takes_nothing_new(
    draining: dict[str, int], deadline: float | None
) -> None:
    """Ray's milliseconds become seconds, its 0 means that nobody set a deadline."""
    node = _node(INFO, draining)
    assert node.draining_deadline == deadline
    assert node.usable is (deadline is None)


def test_a_dead_node_takes_nothing() -> None:
    """Ray keeps dead nodes in its table."""
    dead = gcs_pb2.GcsNodeInfo(node_id=b"\xab" * 28, state=gcs_pb2.GcsNodeInfo.DEAD)
    assert (_node(dead, {}).alive, _node(dead, {}).usable) == (False, False)


def test_the_private_corners_of_ray_are_where_they_were() -> None:
    """When Ray moves one of them, this says so before a cluster does."""
    assert "worker.gcs_client = " in inspect.getsource(worker.connect)
    for name in ("get_all_node_info", "get_draining_nodes", "drain_node"):
        assert "timeout" in (getattr(InnerGcsClient, name).__doc__ or "").split("\n")[0]
    assert autoscaler_pb2.DRAIN_NODE_REASON_PREEMPTION == 2
    assert "is_head_node" in gcs_pb2.GcsNodeInfo.DESCRIPTOR.fields_by_name

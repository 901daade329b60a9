"""Nodes of a cluster, as the fleet sees and drains them: real raylets, really killed."""

import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import psutil
import pytest
import ray
from ray.actor import ActorHandle
from ray.exceptions import RayActorError

from actors.nodes import Node, RayNodes
from raypool.errors import ErrorCodes, NetworkError
from tests.integration.clusters import Cluster, Driver, RayNode, cluster, driver
from tests.integration.scripts import running, until

DRAIN_TIMEOUT_S = 6
SLOTS = '--resources={"browser": 5}'


@ray.remote(num_cpus=0, resources={"browser": 1}, scheduling_strategy="SPREAD")
class Tenant:
    """Takes the place of a business."""

    def where(self) -> str:
        return str(ray.get_runtime_context().get_node_id())

    def pid(self) -> int:
        return os.getpid()


_tenants: list[ActorHandle[Any]] = []
"""Kept in the driver process, where the functions below run."""


def _settle(count: int, options: dict[str, Any]) -> list[str]:
    made = [Tenant.options(**options).remote() for _ in range(count)]  # type: ignore[attr-defined]
    _tenants.extend(made)
    return ray.get([actor.where.remote() for actor in made], timeout=60)


def _ask_all() -> list[str]:
    return ray.get([actor.where.remote() for actor in _tenants], timeout=20)


def _kill_all() -> None:
    while _tenants:
        ray.kill(_tenants.pop())


def _replace_paused(name: str, options: dict[str, Any]) -> tuple[int, int]:
    """Kill a paused actor and take its name at once; return both processes."""
    named = Tenant.options(name=name, **options)  # type: ignore[attr-defined]
    old = named.remote()
    old_pid = ray.get(old.pid.remote(), timeout=60)
    os.kill(old_pid, signal.SIGSTOP)
    ray.kill(old)
    _tenants.append(named.remote())
    return old_pid, ray.get(_tenants[-1].pid.remote(), timeout=60)


class Fleet:
    """A cluster, and a driver that looks at it."""

    def __init__(self, made: Cluster, driver: Driver) -> None:
        self.cluster, self.ask = made, driver.ask

    def nodes(self) -> list[Node]:
        """Return what the head says."""
        return self.ask(RayNodes().nodes)

    def seen(self, node: RayNode) -> Node | None:
        """Return what the head says of a node, None when it holds it for dead."""
        return next((n for n in self.nodes() if n.address == node.address and n.alive), None)

    def drain(self, node_id: str, deadline_s: float = 100) -> bool:
        """Drain a node."""
        return self.ask(RayNodes().drain, node_id, "a test", deadline_s)

    def settle(self, count: int, **options: Any) -> list[str]:
        """Make actors; return the node of each."""
        return self.ask(_settle, count, options)


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    """A head; each test adds the nodes that it needs."""
    with cluster({"RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": str(DRAIN_TIMEOUT_S)}) as made:
        made.start_head()
        with driver(made) as connected:
            yield Fleet(made, connected)


@pytest.fixture
def two(fleet: Fleet) -> Iterator[tuple[RayNode, RayNode]]:
    """Two nodes that differ by a label."""
    pair = (
        fleet.cluster.start_node("127.0.0.3", SLOTS, "--num-cpus=1", "--labels=zone=a"),
        fleet.cluster.start_node("127.0.0.4", SLOTS, "--num-cpus=1", "--labels=zone=b"),
    )
    until(lambda: all(map(fleet.seen, pair)), "the head knows both", 60)
    yield pair
    fleet.ask(_kill_all)
    for node in pair:
        node.close()
    until(lambda: not any(map(fleet.seen, pair)), "the head gave them up")


def test_nodes_are_told_with_what_they_offer(fleet: Fleet, two: tuple[RayNode, RayNode]) -> None:
    """The head takes no business; each other node has its slots, its label and its address."""
    living = sorted((n for n in fleet.nodes() if n.alive), key=lambda n: n.address)
    assert [(n.address, n.slots, n.is_head, n.labels.get("zone")) for n in living] == [
        ("127.0.0.2", 0, True, None), ("127.0.0.3", 5, False, "a"), ("127.0.0.4", 5, False, "b"),
    ]  # fmt: skip


def test_actors_spread_and_never_go_to_a_node_that_is_drained(
    fleet: Fleet, two: tuple[RayNode, RayNode]
) -> None:
    """SPREAD uses every node; after the drain what runs goes on, and what is new goes elsewhere."""
    here, there = (_id(fleet, node) for node in two)
    placed = fleet.settle(4)  # Ray spreads as well as it can: of two, both may go to one
    assert set(placed) == {here, there}
    before = time.time()
    assert fleet.drain(here)
    drained = fleet.seen(two[0])
    assert drained is not None
    assert drained.draining_deadline is not None
    assert before + 99 < drained.draining_deadline < time.time() + 101
    assert not drained.usable
    assert fleet.settle(1) == [there]
    assert sorted(fleet.ask(_ask_all)) == sorted([*placed, there])


def test_a_drained_node_ends_when_nothing_runs_there_any_more(
    fleet: Fleet, two: tuple[RayNode, RayNode]
) -> None:
    """Ray ends the raylet; draining what is gone, or never was, says no."""
    node_id = _id(fleet, two[0])
    fleet.settle(1, label_selector={"zone": "a"})
    assert fleet.drain(node_id, 100)
    assert fleet.drain(node_id, 200)
    drained = fleet.seen(two[0])
    assert drained is not None
    assert drained.draining_deadline is not None
    assert drained.draining_deadline > time.time() + 150, "the last word counts"
    assert fleet.ask(_ask_all) == [node_id]
    fleet.ask(_kill_all)
    until(lambda: not fleet.seen(two[0]), "the drained node is gone", 15)
    assert not fleet.drain(node_id)
    assert not fleet.drain("ff" * 28)


def test_a_label_chooses_the_node(fleet: Fleet, two: tuple[RayNode, RayNode]) -> None:
    """All actors with one zone land on its node although they would spread."""
    assert set(fleet.settle(2, label_selector={"zone": "b"})) == {_id(fleet, two[1])}


def test_sigterm_drains_a_node_and_waits_for_what_runs_there(
    fleet: Fleet, two: tuple[RayNode, RayNode]
) -> None:
    """`ray start --block` announces the drain, waits until all left, and then ends at once."""
    (node_id,) = fleet.settle(1, label_selector={"zone": "a"})
    asked_at = time.time()
    two[0].terminate()
    drained = until(lambda: (n := fleet.seen(two[0])) and not n.usable and n, "it is drained", 10)
    assert asked_at < drained.draining_deadline < time.time() + DRAIN_TIMEOUT_S
    time.sleep(1)
    assert fleet.ask(_ask_all) == [node_id]
    fleet.ask(_kill_all)
    two[0].wait_ended(20)
    assert not fleet.seen(two[0])


def test_sigterm_does_not_wait_for_ever(fleet: Fleet, two: tuple[RayNode, RayNode]) -> None:
    """At RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S what still runs there is ended with the node."""
    fleet.settle(1, label_selector={"zone": "a"})
    asked_at = time.monotonic()
    two[0].terminate()
    two[0].wait_ended(DRAIN_TIMEOUT_S + 20)
    assert time.monotonic() - asked_at >= DRAIN_TIMEOUT_S - 1
    with pytest.raises(RayActorError):
        fleet.ask(_ask_all)


def test_a_name_says_nothing_about_the_process_that_had_it(
    fleet: Fleet, two: tuple[RayNode, RayNode]
) -> None:
    """A paused actor that is killed dies seconds later; its name can be taken at once."""
    old, new = fleet.ask(_replace_paused, "tenant", {"label_selector": {"zone": "a"}})
    assert old != new
    assert running(old), "both are there: the lease must keep them apart, not the name"
    until(lambda: not running(old), "Ray killed it", 20)


def test_a_killed_raylet_is_seen_dead_and_its_workers_end(
    fleet: Fleet, two: tuple[RayNode, RayNode]
) -> None:
    """The head gives the node up after its health timers; no worker outlives its raylet for long."""
    fleet.settle(1, label_selector={"zone": "a"})
    workers = [p for p in two[0].processes() if p.name().startswith("ray::Tenant")]
    assert workers
    two[0].kill_part("raylet")
    until(lambda: not fleet.seen(two[0]), "the head gave it up", 15)
    until(lambda: not any(map(psutil.Process.is_running, workers)), "its workers are gone", 10)
    assert fleet.seen(two[1])


def test_a_head_that_does_not_answer_is_an_error_in_time(fleet: Fleet) -> None:
    """Nothing is said about the nodes then: silence must not look like an empty cluster."""
    gcs = psutil.Process(fleet.cluster.nodes[0].part("gcs_server"))
    gcs.suspend()
    try:
        with pytest.raises(NetworkError) as caught:
            fleet.ask(RayNodes(timeout=1).nodes)
    finally:
        gcs.resume()
    assert caught.value.code is ErrorCodes.NETWORK_RAY_UNREACHABLE
    assert until(fleet.nodes, "it answers again")


def _id(fleet: Fleet, node: RayNode) -> str:
    seen = fleet.seen(node)
    assert seen is not None
    return seen.node_id

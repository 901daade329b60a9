"""What Ray does when a node's memory is short, with the settings of ray.env."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest
import ray
from ray.actor import ActorHandle

from raypool import rays
from tests.integration.clusters import cluster, driver
from tests.integration.scripts import running, until

MARGIN = 0.1
"""Share of the machine's memory between what is used now and the threshold: room for the node, its
six actors, and whatever else runs."""
BALLAST = """
import sys, time
held = bytearray(int(sys.argv[1]))
held[::4096] = b"x" * len(held[::4096])
time.sleep(60)
"""


@ray.remote(num_cpus=0, resources={"browser": 1}, max_restarts=0)
class Tenant:
    """Takes the place of a business."""

    def pid(self) -> int:
        return os.getpid()


_tenants: list[ActorHandle] = []
"""Kept in the driver process."""


def _settle(count: int) -> list[int]:
    _tenants.extend(Tenant.remote() for _ in range(count))  # type: ignore[attr-defined]
    return list(ray.get([actor.pid.remote() for actor in _tenants], timeout=60))


@pytest.mark.timeout(240)
def test_one_low_memory_event_takes_one_actor() -> None:
    """Ray's default takes all six at once: it thinks that a worker's own memory is all there is."""
    with cluster() as made:
        made.start_head()
        low = {"RAY_memory_usage_threshold": f"{_used() + MARGIN:.3f}"}
        settings = rays.local_environment() | low
        made.start_node("127.0.0.3", '--resources={"browser": 6}', "--num-cpus=1", **settings)
        with driver(made) as connected:
            tenants = connected.ask(_settle, 6)
            with _ballast():
                until(lambda: not all(map(running, tenants)), "one was killed", 30)
            time.sleep(3)  # three looks of the memory monitor
            left = [pid for pid in tenants if running(pid)]
    assert tenants[:4] == left[:4], (
        "the newest goes, and with bad luck one more until memory is back"
    )
    assert len(left) in {4, 5}


@contextmanager
def _ballast() -> Iterator[None]:
    size = int(psutil.virtual_memory().total * MARGIN * 1.3)
    process = subprocess.Popen([sys.executable, "-c", BALLAST, str(size)])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def _used() -> float:
    memory = psutil.virtual_memory()  # as Ray counts: what is not available is used
    return 1 - memory.available / memory.total

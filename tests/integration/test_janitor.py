"""The janitor of a node as a Ray actor: what its patrol promises, whatever else is going on."""

import os
import signal
import subprocess
import sys
import textwrap
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import psutil
import pytest
import ray
from ray.exceptions import RayError

import raypool
from actors.keeper import now
from actors.names import janitor_actor
from raypool.browser.proc import Process, kill_session, members
from raypool.config import Settings
from tests.integration.conftest import new_id
from tests.integration.scripts import ROOT, running, until

OWNER = """
    import os, subprocess, sys
    from raypool.browser.processes import MARKER, InstanceDirectory
    directory = InstanceDirectory(sys.argv[1], 7, sys.argv[2])
    marked = {MARKER: directory.marker, "TMPDIR": str(directory.path)}
    start = lambda **env: subprocess.Popen(
        ["sleep", "60"], start_new_session=True, env={"PATH": os.environ["PATH"], **env}
    )
    driver, browser = start(), start(**marked)
    directory.record(driver_pid=driver.pid, browser_pid=browser.pid)
    directory.set_deadline(float(sys.argv[3]))
    print(directory.path, browser.pid, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def janitor(pool: raypool.Pool, settings: Settings) -> Any:
    """The janitor of this node, which the supervisor makes."""
    return until(lambda: _janitor(settings), "the node has a janitor")


def _janitor(settings: Settings) -> Any:
    name = janitor_actor(ray.get_runtime_context().get_node_id())
    with suppress(ValueError, RayError):
        found = ray.get_actor(name, settings.namespace)
        ray.get(found.report.remote(), timeout=10)
        return found


class Owner:
    """An owner outside of Ray, with a browser that does nothing."""

    def __init__(self, deadline: float, **variables: str) -> None:
        self.business, self.holder = new_id(), new_id()
        program = textwrap.dedent(OWNER)
        self.process = subprocess.Popen(
            [sys.executable, "-c", program, self.business, self.holder, str(deadline)],
            cwd=ROOT,
            env={**os.environ, **variables},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.path, browser = self.process.stdout.readline().split()
        self.browser = Process.of(int(browser))

    def seen_by(self, janitor: Any) -> list[dict[str, Any]]:
        """What the janitor tells of it."""
        found = ray.get(janitor.inspect.remote())
        return [entry for entry in found if entry["business_id"] == self.business]

    def clear(self) -> None:
        """Leave nothing."""
        self.process.kill()
        self.process.communicate()
        kill_session(self.browser)


@pytest.fixture
def owner() -> Iterator[Owner]:
    """A living owner with a deadline far ahead."""
    owner = Owner(now() + 3600)
    yield owner
    owner.clear()


def test_it_tells_how_its_node_is(janitor: Any, owner: Owner) -> None:
    """Who it is, what lives, and how much memory there is."""
    until(lambda: ray.get(janitor.report.remote())["browsers"] >= 1, "the browser is counted")
    report = ray.get(janitor.report.remote())
    assert report["node_id"] == ray.get_runtime_context().get_node_id()
    assert report["orphans"] == 0
    assert report["pid"] != os.getpid()
    assert 0 < report["memory_available"] <= report["memory_total"]
    assert report["memory_total"] <= psutil.virtual_memory().total
    (seen,) = owner.seen_by(janitor)
    assert (seen["directory"], seen["owner"], seen["browser"]) == (owner.path, "running", "running")


def test_its_process_carries_its_name(janitor: Any) -> None:
    """People find it in `ps`."""
    pid = ray.get(janitor.report.remote())["pid"]
    title = f"ray::{janitor_actor(ray.get_runtime_context().get_node_id())}"
    until(lambda: psutil.Process(pid).cmdline()[0].startswith(title), "its title")


def test_a_killed_owners_browser_is_gone(janitor: Any, owner: Owner) -> None:
    """With its directory."""
    owner.process.kill()
    until(lambda: not members(owner.browser), "the browser is dead", 10)
    until(lambda: not owner.seen_by(janitor), "its directory is removed", 10)
    assert ray.get(janitor.report.remote())["orphans"] == 0


def test_a_paused_owners_browser_is_gone(janitor: Any) -> None:
    """At its deadline."""
    owner = Owner(now() + 1.0)
    try:
        owner.process.send_signal(signal.SIGSTOP)
        until(lambda: not members(owner.browser), "the browser is dead", 10)
        assert owner.process.poll() is None
        assert owner.seen_by(janitor)
    finally:
        owner.clear()


def test_it_ends_an_incarnation(janitor: Any, owner: Owner) -> None:
    """Owner and browser, paused or not; once more there is nothing; nobody else is harmed."""
    other = Owner(now() + 3600)
    try:
        owner.process.send_signal(signal.SIGSTOP)
        assert ray.get(janitor.end.remote(owner.holder))
        assert not members(owner.browser)
        assert not running(owner.process.pid)
        assert not owner.seen_by(janitor)
        assert ray.get(janitor.end.remote(owner.holder))
        assert members(other.browser)
    finally:
        other.clear()


def test_the_orphan_gauge_is_exported(janitor: Any) -> None:
    """Ray's own metrics endpoint shows it, and it reads 0."""
    node = next(node for node in ray.nodes() if node["Alive"])
    url = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    node_id = ray.get_runtime_context().get_node_id()

    def gauge() -> list[float]:
        with urllib.request.urlopen(url, timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        ours = [line for line in lines if line.startswith("ray_raypool_orphans{")]
        return [float(line.rsplit(" ", 1)[1]) for line in ours if f'node="{node_id}"' in line]

    assert set(until(gauge, "the gauge is there", 40)) == {0.0}


def test_a_killed_janitor_comes_back_and_goes_on(
    janitor: Any, owner: Owner, settings: Settings
) -> None:
    """What happened meanwhile is seen by the next one."""
    pid = ray.get(janitor.report.remote())["pid"]
    os.kill(pid, signal.SIGKILL)
    owner.process.kill()
    until(lambda: not running(pid), "it is dead")
    until(lambda: not members(owner.browser), "the browser is dead", 30)
    anew = until(lambda: _janitor(settings), "the node has a janitor again", 30)
    assert ray.get(anew.report.remote(), timeout=30)["pid"] != pid

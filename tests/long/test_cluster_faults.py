"""What becomes of a fleet on several nodes when Ray loses a part of itself.

docs/failure-model.md names these tests. Health timers and lease are shorter than a deployment's.
"""

import time
from pathlib import Path

import pytest

from tests.contract.servers import PASSWORD, program, running
from tests.integration.rigs import Log, Rig, browsers, rig, watched
from tests.integration.scripts import closed_port, command, until

pytestmark = pytest.mark.timeout(400)
AT_WORK = 3
"""Numbers that each business was acknowledged before something breaks."""


def busy(rig: Rig, log: Log) -> float:
    """Wait until every business has worked for a while; return when that was."""
    until(lambda: min(log.acknowledged.values()) >= AT_WORK, "every business is at work", 60)
    return time.monotonic()


def came_back(rig: Rig, log: Log) -> None:
    """Check that every business is signed in without a new sign-in and holds what was acknowledged."""
    acknowledged = dict(log.acknowledged)
    found = rig.read()
    assert {business: email for business, (_, email) in found.items()} == {
        business: email for business, (email, _) in rig.accounts.items()
    }
    assert {b: n for b, (n, _) in found.items() if n < acknowledged[b]} == {}, "acknowledged, lost"
    assert rig.site.sign_ins == len(rig.accounts)
    assert {b: len(tokens) for b, tokens in browsers().items()} == dict.fromkeys(rig.accounts, 1)


def up(rig: Rig) -> None:
    """Run ``raypool up``."""
    done = command(rig.environment, "up")
    assert done.returncode == 0, done.stderr


def test_a_lost_head_costs_every_browser_and_no_sign_in() -> None:
    """Without Ray's own fault tolerance the fleet is rebuilt from Redis alone by `raypool up`."""
    with rig() as deployed, watched() as doubles:
        with deployed.at_work() as log:
            busy(deployed, log)
            deployed.head.kill_part("gcs_server")
            assert deployed.head.wait_ended(30), "`ray start` gives up, so that it is started again"
            assert set(browsers()) == set(deployed.accounts), "browsers live on for now"
        deployed.start_head()
        for worker in deployed.workers:
            worker.wait_ended(90)  # the new head does not know the old nodes, and they end
        until(lambda: not browsers(), "the old browsers are gone", 20)
        deployed.start_workers()
        up(deployed)
        came_back(deployed, log)
        assert doubles == []


def test_with_fault_tolerance_browsers_outlive_the_head(tmp_path: Path) -> None:
    """The head keeps its tables in a Redis of its own; back in time, nobody was disturbed."""
    server, port = program("redis") or program("valkey"), closed_port()
    assert server is not None
    external = {
        "RAY_REDIS_ADDRESS": f"127.0.0.1:{port}",
        "RAY_external_storage_namespace": "test",
        "RAY_gcs_rpc_server_reconnect_timeout_s": "300",
    }
    listen = ("--port", str(port), "--bind", "127.0.0.1")
    with (
        running(server, tmp_path, *listen),
        rig(f"--redis-password={PASSWORD}", **external) as deployed,
        watched() as doubles,
    ):
        with deployed.at_work() as log:
            busy(deployed, log)
            before = browsers()
            deployed.head.kill_part("gcs_server")
            assert deployed.head.wait_ended(30)
        deployed.start_head()
        up(deployed)
        came_back(deployed, log)
        assert browsers() == before
        assert doubles == []


def test_a_lost_node_s_businesses_come_up_on_another() -> None:
    """SIGKILL of a raylet: its workers end, their browsers with them, the next node takes over."""
    with rig() as deployed, watched() as doubles, deployed.at_work() as log:
        broken_at = busy(deployed, log)
        lost, _ = deployed.home()
        lost.kill_part("raylet")
        until(lambda: not lost.processes(), "nothing of the node is left", 20)
        until(lambda: log.fresh_since(broken_at + 1, deployed.accounts), "all work again", 90)
        came_back(deployed, log)
        assert doubles == []


def test_a_paused_node_is_replaced_and_changes_nothing_when_it_comes_back() -> None:
    """SIGSTOP of everything on a node for longer than all timers, then SIGCONT: too late."""
    with rig() as deployed, deployed.at_work() as log:
        paused_at = busy(deployed, log)
        node, _ = deployed.home()
        paused = node.processes()
        for process in paused:
            process.suspend()
        until(lambda: log.fresh_since(paused_at + 1, deployed.accounts), "all work again", 90)
        for process in paused:
            process.resume()
        until(lambda: not node.processes(), "the node ends, and its browsers with it", 60)
        resumed_at = time.monotonic()
        until(lambda: log.fresh_since(resumed_at, deployed.accounts), "all go on working", 30)
        came_back(deployed, log)

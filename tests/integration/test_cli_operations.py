"""Commands that look after a fleet: what people see, what programs read, and how each one ends."""

import json
import re

import pytest

import raypool
from raypool.config import Settings
from raypool.model import Holder
from raypool.phase import Phase
from tests.integration import flows
from tests.integration.conftest import Run, new_id
from tests.integration.scripts import command, environment, running

NEEDS_A_FLEET: list[tuple[str, ...]] = [
    ("hibernate", "b"), ("wake", "b"), ("hand-over", "b", "--to", "west"), ("drain", "n"), ("nodes",),
]  # fmt: skip
OF_A_BUSINESS: list[tuple[str, ...]] = [
    ("hibernate",), ("wake",), ("release",), ("hand-over", "--to", "west"),
]  # fmt: skip


@pytest.mark.parametrize("args", NEEDS_A_FLEET, ids=lambda args: args[0])
def test_without_a_fleet_it_is_exit_3(
    args: tuple[str, ...], run: Run, nowhere: dict[str, str]
) -> None:
    """One sentence and one hint; the same as data with --json; nothing is started."""
    code, out, err = run(nowhere, *args)
    assert (code, out) == (3, "")
    assert "error: no local fleet is running" in err
    assert "Start one with `raypool up`" in err
    code, out, _ = run(nowhere, *args, "--json")
    assert (code, json.loads(out)["error"]["code"]) == (3, "NETWORK_RAY_UNREACHABLE")


WRONG_USE: dict[str, tuple[tuple[str, ...], str]] = {
    "no business": (("hibernate",), "Missing argument 'BUSINESS'"),
    "no cluster": (("hand-over", "b"), "Missing option '--to'"),
    "no reason": (("unlock", "b", "--yes"), "Missing option '--reason'"),
    "empty reason": (("unlock", "b", "--yes", "--reason", ""), "reason"),
    "no node": (("drain",), "Missing argument 'NODE'"),
    "timeout": (("drain", "n", "--timeout", "soon"), "--timeout"),
    "bad id": (("unlock", "a b", "--yes", "--reason", "r"), "'a b' is not a business id"),
    "bad id to release": (("release", "a/b"), "'a/b' is not a business id"),
}


@pytest.mark.parametrize("what", WRONG_USE)
def test_wrong_use_is_exit_2(what: str, run: Run, nowhere: dict[str, str]) -> None:
    """With a sentence that names what does not fit."""
    args, says = WRONG_USE[what]
    code, out, err = run(nowhere, *args)
    assert (code, out) == (2, "")
    assert says in err
    assert "Traceback" not in err


@pytest.mark.parametrize("args", OF_A_BUSINESS, ids=lambda args: args[0])
def test_what_nobody_knows_or_may_be_called_so(
    args: tuple[str, ...], run: Run, here: dict[str, str]
) -> None:
    """A business without a session is exit 1, what is no business id exit 2."""
    name, *options = args
    code, out, err = run(here, name, "nobody", *options)
    assert (code, out) == (1, "")
    assert "nobody has no active session" in err
    code, out, err = run(here, name, "no body", *options)
    assert (code, out) == (2, "")
    assert "'no body' is not a business id" in err


@pytest.mark.parametrize("to", ["", "x" * 65, "a\nb"])
def test_a_cluster_that_cannot_be_is_wrong_use(
    to: str, run: Run, here: dict[str, str], pool: raypool.Pool, business: str
) -> None:
    """It would be assigned to nobody for ever."""
    pool.sessions.ensure_active(business)
    code, _, err = run(here, "hand-over", business, "--to", to)
    assert code == 2, err
    assert "cluster" in err
    session = pool.sessions.get_active_session(business)
    assert session.assigned_cluster is None


@pytest.mark.parametrize("timeout", ["0", "-1", "nan", "inf"])
def test_a_time_that_cannot_be_is_wrong_use(
    timeout: str, run: Run, here: dict[str, str], pool: raypool.Pool, business: str
) -> None:
    """Nothing has been done for it."""
    pool.sessions.ensure_active(business)
    (node,) = (node["node_id"] for node in pool.nodes())
    for args in (("hand-over", business, "--to", "west"), ("drain", node)):
        code, _, err = run(here, *args, f"--timeout={timeout}")
        assert code == 2, err
        assert "timeout" in err
    assert pool.sessions.get_active_session(business).assigned_cluster is None
    assert [node["draining_deadline"] for node in pool.nodes()] == [None]


def test_to_rest_and_back(
    run: Run, here: dict[str, str], pool: raypool.Pool, business: str
) -> None:
    """One line each, and what `status` tells in between."""
    pool.run(business, flows.nothing)
    assert run(here, "hibernate", business)[:2] == (0, f"{business} is hibernated.\n")
    code, out, _ = run(here, "status", business)
    assert code == 0
    assert re.search(r"phase +hibernated", out)
    assert re.search(r"browser_pid +—", out)
    assert re.search(r"NotRunning +Hibernated: it rests; the next call wakes it", out)
    assert run(here, "wake", business)[:2] == (0, f"{business} is ready.\n")
    code, out, _ = run(here, "hibernate", business, "--json")
    assert (code, json.loads(out)) == (0, {"business_id": business, "hibernated": True})
    code, out, _ = run(here, "wake", business, "--json")
    assert (code, json.loads(out)) == (0, {"business_id": business, "ready": True})
    assert pool.status(business).phase is Phase.READY


def test_a_business_that_is_well_may_be_released(
    run: Run, here: dict[str, str], pool: raypool.Pool, business: str
) -> None:
    """It was not in quarantine, and is not now."""
    pool.sessions.ensure_active(business)
    assert run(here, "release", business)[:2] == (0, f"{business} is out of quarantine.\n")
    code, out, _ = run(here, "release", business, "--json")
    assert (code, json.loads(out)) == (0, {"business_id": business, "released": True})


def test_unlock_asks_first_and_says_from_whom(
    settings: Settings, run: Run, here: dict[str, str], pool: raypool.Pool
) -> None:
    """Without a yes nothing is done; nobody to take it from is no error."""
    business = new_id()
    gone = Holder(id="g" * 32, cluster="", node_id="n" * 12, pid=4711)
    pool._loop.call(pool.sessions.leases.acquire(business, gone, 300.0))
    asked = command(environment(settings), "unlock", business, "--reason", "gone")
    assert asked.returncode == 1
    assert f"Break the lease of {business}, whoever holds it?" in asked.stderr
    assert pool._loop.call(pool.sessions.leases.get(business)) is not None
    code, out, _ = run(here, "unlock", business, "--reason", "gone", "--yes")
    assert (code, out) == (
        0,
        f"{business} is free: it was held by instance gggggggg of cluster ?.\n",
    )
    code, out, _ = run(here, "unlock", business, "--reason", "again", "--yes")
    assert (code, out) == (0, f"{business} is free: nobody held it.\n")
    code, out, _ = run(here, "unlock", business, "--reason", "again", "--yes", "--json")
    assert (code, json.loads(out)) == (0, {"business_id": business, "taken_from": None})


def test_nodes_are_shown(run: Run, here: dict[str, str], pool: raypool.Pool, business: str) -> None:
    """Places, browsers, orphans and memory; as data the janitor's whole report."""
    pool.run(business, flows.nothing)
    code, out, _ = run(here, "nodes")
    assert code == 0
    for title in ("node", "address", "state", "places", "browsers", "orphans", "free memory"):
        assert title in out
    (node_id,) = (node["node_id"] for node in pool.nodes())
    assert f" {node_id[:12]} " in out
    assert " up " in out
    code, out, _ = run(here, "nodes", "--json")
    (node,) = json.loads(out)
    assert (code, node["node_id"], node["alive"]) == (0, node_id, True)
    assert node["janitor"]["orphans"] == 0
    assert running(node["janitor"]["pid"])


@pytest.mark.parametrize("node", ["no-such-node", ""])
def test_a_node_that_is_none_cannot_be_drained(node: str, run: Run, here: dict[str, str]) -> None:
    """It says where the ids are."""
    code, out, err = run(here, "drain", node)
    assert (code, out) == (2, "")
    assert f"'{node}' is no node of this cluster that is alive" in err
    assert "`raypool nodes` shows the nodes and their ids" in err

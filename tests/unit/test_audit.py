"""When record, lease, actor, process and directory tell different stories, and when they do not."""

from dataclasses import replace
from typing import Any

import pytest

from raypool.audit import (
    Action,
    Actor,
    Finding,
    FleetView,
    HeldLease,
    Kind,
    Local,
    Record,
    Repair,
    audit,
)
from raypool.phase import Phase

N = "node-1"
RECORD = Record("b", wanted=True, checkpoint_version=3, versions=(3, 2, 1))
LEASE = HeldLease("b", "h", "c", N, 40)
ACTOR = Actor("b", holder_id="h", token=7, ready=True, node_id=N)
LOCAL = Local(N, "b", "/tmp/d-7", 7, "h", "running", "running", 50)
HEALTHY = FleetView(
    (RECORD,),
    (LEASE,),
    (ACTOR,),
    (LOCAL,),
    frozenset({N}),
    frozenset({(N, 40)}),
    {"b": "ready"},
    "c",
)


def findings(**change: Any) -> list[Finding]:
    return audit(replace(HEALTHY, **change))


def kinds(**change: Any) -> list[Kind]:
    return [finding.kind for finding in findings(**change)]


def test_a_healthy_fleet_agrees() -> None:
    """With one business, with none, and with nothing looked at."""
    assert audit(HEALTHY) == []
    assert audit(FleetView()) == []
    assert audit(FleetView(records=(), actors=())) == []


def test_a_wanted_business_needs_an_actor() -> None:
    """Unless the supervisor knows why it has none, or another cluster runs it."""
    alone: dict[str, Any] = {"actors": (), "leases": (), "locals": ()}
    assert kinds(**alone) == [Kind.WANTED_WITHOUT_ACTOR]
    assert kinds(**alone, phases={}) == [Kind.WANTED_WITHOUT_ACTOR]
    for phase in (Phase.STARTING, Phase.BACKOFF, Phase.STOPPING, Phase.QUARANTINED):
        assert kinds(**alone, phases={"b": str(phase)}) == []
    assert kinds(**alone | {"leases": (replace(LEASE, cluster="other", node_id="far"),)}) == []
    assert kinds(**alone, records=(replace(RECORD, wanted=False),)) == []


def test_an_actor_needs_a_record_that_wants_it() -> None:
    """Unless it is being stopped."""
    assert kinds(records=()) == [Kind.ACTOR_WITHOUT_RECORD]
    assert kinds(records=(replace(RECORD, wanted=False),)) == [Kind.ACTOR_WITHOUT_RECORD]
    assert kinds(records=(), phases={"b": "stopping"}) == []


def test_silence_is_told_and_nothing_is_concluded_from_it() -> None:
    """No lease, no browser is held against an actor that said nothing."""
    silent = Actor("b", answered=False)
    assert kinds(actors=(silent,)) == [Kind.ACTOR_SILENT]
    assert kinds(actors=(silent,), locals=()) == [Kind.ACTOR_SILENT]


def test_a_ready_actor_holds_the_lease() -> None:
    """One that starts, or is off line, need not."""
    assert kinds(leases=()) == [Kind.ACTOR_WITHOUT_LEASE]
    another = replace(LEASE, holder_id="x", node_id="far")
    assert kinds(leases=(another,)) == [Kind.ACTOR_WITHOUT_LEASE]
    assert kinds(leases=(), actors=(replace(ACTOR, ready=False),)) == []


def test_a_ready_actor_has_a_browser() -> None:
    """Frozen or running, of this very incarnation, where its node was looked at."""
    assert kinds(locals=()) == [Kind.ACTOR_WITHOUT_BROWSER]
    assert kinds(locals=(replace(LOCAL, browser="gone"),)) == [Kind.ACTOR_WITHOUT_BROWSER]
    assert kinds(locals=(replace(LOCAL, token=6),)) == [Kind.ACTOR_WITHOUT_BROWSER]
    assert kinds(locals=(replace(LOCAL, browser="frozen"),)) == []
    assert kinds(locals=(), nodes=frozenset()) == []


DEAD: dict[str, Any] = {
    "actors": (),
    "locals": (),
    "living": frozenset(),
    "phases": {"b": "backoff"},
}


def test_a_lease_whose_holder_is_dead_can_be_released() -> None:
    """Its node was looked at, and neither process nor directory nor actor is there."""
    (found,) = findings(**DEAD)
    assert found.kind is Kind.LEASE_WITHOUT_HOLDER
    assert found.repair == Repair(Action.RELEASE, N, "h")
    assert "40" in found.what


@pytest.mark.parametrize(
    "change",
    [
        {"living": frozenset({(N, 40)})},
        {"locals": (replace(LOCAL, owner="stopped", browser="frozen"),)},
        {"actors": (replace(ACTOR, ready=False),)},
        {"nodes": frozenset()},
        {"nodes": frozenset({"node-2"})},
        {"leases": (replace(LEASE, pid=0),)},
        {"leases": (replace(LEASE, node_id=""),), "nodes": frozenset({""})},
    ],
)
def test_a_lease_is_not_released_on_a_guess(change: dict[str, Any]) -> None:
    """Something of its holder is there, or nobody could look."""
    assert Kind.LEASE_WITHOUT_HOLDER not in kinds(**DEAD | change)


def test_a_browser_without_an_owner_is_an_orphan() -> None:
    """With the directory of a dead owner, frozen or not, or with none at all."""
    for browser in ("running", "frozen"):
        dead = replace(LOCAL, business_id="x", owner="dead", browser=browser)
        (found,) = findings(locals=(LOCAL, dead))
        assert (found.kind, found.business_id) == (Kind.ORPHAN, "x")
        assert found.repair == Repair(Action.KILL, N, "/tmp/d-7")
    (found,) = findings(locals=(LOCAL, replace(dead, directory=None)))
    assert (found.kind, found.repair) == (Kind.ORPHAN, Repair(Action.KILL, N, "50"))


def test_a_directory_without_an_owner_is_a_remainder() -> None:
    """It can be removed; one that cannot be read is for a person."""
    dead = replace(LOCAL, business_id="x", owner="dead", browser="gone")
    (found,) = findings(locals=(LOCAL, dead))
    assert found.kind is Kind.DEAD_DIRECTORY
    assert found.repair == Repair(Action.REMOVE, N, "/tmp/d-7")
    (found,) = findings(locals=(LOCAL, Local(N, None, "/tmp/x-1")))
    assert (found.kind, found.repair) == (Kind.UNREADABLE_DIRECTORY, None)


def test_two_of_a_kind_are_one_too_many() -> None:
    """Two browsers that run, two actors of one name. One that stands still is only waiting."""
    other = replace(LOCAL, node_id="node-2", directory="/tmp/d-8", token=8)
    (found,) = findings(locals=(LOCAL, other))
    assert (found.kind, found.repair) == (Kind.TWO_BROWSERS, None)
    assert "/tmp/d-7, /tmp/d-8" in found.what
    assert kinds(locals=(LOCAL, replace(other, browser="frozen"))) == []
    assert kinds(actors=(ACTOR, ACTOR)) == [Kind.TWO_ACTORS]


def test_a_record_and_its_checkpoints_agree() -> None:
    """A newer one than the record knew a moment ago is none the worse."""
    for versions, says in (((), "none is kept"), ((2, 1), "the newest kept is 2")):
        (found,) = findings(records=(replace(RECORD, versions=versions),))
        assert found.kind is Kind.CHECKPOINT_MISSING
        assert says in found.what
    assert kinds(records=(replace(RECORD, versions=(5, 4)),)) == []
    assert kinds(records=(replace(RECORD, versions=None),)) == []
    assert kinds(records=(replace(RECORD, checkpoint_version=0, versions=()),)) == []


def test_what_nobody_looked_at_agrees() -> None:
    """Without Redis or without Ray only the processes are judged."""
    dead = replace(LOCAL, owner="dead")
    for blind in ({"records": None, "leases": ()}, {"actors": None}):
        assert kinds(locals=(dead,), **blind) == [Kind.ORPHAN]


def test_findings_come_in_a_stable_order() -> None:
    """Two looks can be compared, whatever order the sides answer in."""
    dead = tuple(replace(LOCAL, business_id=b, owner="dead") for b in "zxy")
    assert findings(locals=dead) == findings(locals=dead[::-1])

"""What ``status()`` tells: why a business is not running, first the reason that explains the others."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from raypool.model import Condition, Desired, Holder, Lease, Observed, Session, SignIn, Supervision
from raypool.phase import Phase
from raypool.status import NOT_RUNNING, status_of

START = datetime(2030, 1, 1, 12, 0, 0, tzinfo=UTC)
LEASE = Lease(
    business_id="bakery",
    token=7,
    holder=Holder(id="h1", cluster="west", node_id="0123456789abcdef", pid=4711),
    ttl=12.0,
    since=START,
)
QUARANTINED = Condition(
    type="Quarantined", reason="CrashLoop", message="it died 5 times", since=START
)
FAILED = {
    "phase": Phase.BACKOFF,
    "error": "no memory",
    "next_retry_at": START + timedelta(seconds=30),
}


def _session(**changes: Any) -> Session:
    known = {
        "id": "s1", "business_id": "bakery", "desired": Desired.RUNNING, "created_at": START,
        "updated_at": START, "last_activity": START, "expires_at": START, "ttl": 86_400,
    }  # fmt: skip
    return Session(**{**known, **changes})


def _why(
    session: Session, known: dict[str, Any], live: dict[str, Any], lease: Lease | None = None
) -> tuple[str, str] | None:
    conditions = status_of(session, known, live, lease).conditions
    found = [c for c in conditions if c.type == NOT_RUNNING]
    assert len(found) <= 1
    return (found[0].reason, found[0].message) if found else None


@pytest.mark.parametrize(
    ("changes", "known", "lease", "reason", "words"),
    [
        ({"desired": Desired.STOPPED}, {}, None, "Stopped", "raypool wake"),
        ({"desired": Desired.STOPPED}, {"phase": Phase.STOPPING}, LEASE, "Stopped", "nobody wants"),
        ({"desired": Desired.HIBERNATED}, {}, None, "Hibernated", "the next call wakes it"),
        (
            {"desired": Desired.HIBERNATED}, {"phase": Phase.HIBERNATED}, None, "Hibernated",
            "it rests",
        ),
        (
            {"supervision": Supervision(quarantined=QUARANTINED)}, {"phase": Phase.QUARANTINED},
            None, "Quarantined", "it died 5 times. `raypool release bakery` lets it out",
        ),
        (
            {"supervision": Supervision(quarantined=QUARANTINED)}, {}, None, "Quarantined",
            "raypool release bakery",
        ),
        ({}, {"phase": Phase.ABSENT, "no_room": True}, None, "NoRoom", "in use"),
        ({"assigned_cluster": "east"}, {}, LEASE, "Assigned", "cluster 'east'"),
        ({}, {**FAILED}, LEASE, "Locked", "cluster west (node 01234567, pid 4711)"),
        ({}, {**FAILED}, LEASE, "Locked", "since 12:00:00 UTC; an owner that died keeps it for 12"),
        ({}, {}, LEASE, "Locked", "instance of cluster west"),
        ({}, {**FAILED}, None, "Failed", "no memory; the next try is at 12:00:30 UTC"),
        ({}, {"phase": Phase.UNKNOWN}, None, "Silent", "its node is asked"),
        ({}, {"phase": Phase.UNKNOWN}, LEASE, "Silent", "does not answer"),
        ({}, {}, None, "NoSupervisor", "is the fleet up?"),
        ({}, {"phase": Phase.STARTING}, LEASE, "Starting", "it is starting"),
        ({}, {"phase": Phase.STOPPING}, LEASE, "Stopping", "it is stopping"),
        ({}, {"phase": Phase.ABSENT}, None, "Absent", "it is absent"),
    ],
)  # fmt: skip
def test_why_a_business_is_not_running(
    changes: dict[str, Any],
    known: dict[str, Any],
    lease: Lease | None,
    reason: str,
    words: str,
) -> None:
    """One reason, in words that say what to do or whom to ask."""
    why = _why(_session(**changes), known, {}, lease)
    assert why is not None
    assert why[0] == reason
    assert words in why[1]


@pytest.mark.parametrize("phase", [Phase.READY, Phase.RECOVERING])
def test_what_runs_needs_no_reason(phase: Phase) -> None:
    """Whatever the record wants: it is being stopped, or someone has it all the same."""
    live = {"phase": phase, "pid": 1}
    for desired in Desired:
        assert _why(_session(desired=desired), {"phase": Phase.READY}, live) is None


def test_what_the_instance_says_counts_most() -> None:
    """Then what the supervisor remembers, then what the record holds."""
    session = _session(observed=Observed(phase=Phase.STARTING, node_id="n1", incarnation=1))
    known = {"phase": Phase.READY, "incarnation": 2, "restarts": 3}
    live = {"phase": Phase.RECOVERING, "node_id": "n2", "pid": 5, "sign_in": SignIn.SIGNED_IN}
    all_three = status_of(session, known, live)
    assert (all_three.phase, all_three.node_id, all_three.pid) == (Phase.RECOVERING, "n2", 5)
    assert (all_three.incarnation, all_three.restarts) == (2, 3)
    assert all_three.sign_in is SignIn.SIGNED_IN
    assert status_of(session, known, {}).phase is Phase.READY
    assert status_of(session, {}, {}, LEASE).phase is Phase.STARTING
    assert status_of(session, {}, {}).phase is Phase.ABSENT  # nobody holds it, nobody knows it


@pytest.mark.parametrize(
    ("changes", "phase"),
    [
        ({"desired": Desired.HIBERNATED}, Phase.HIBERNATED),
        ({"supervision": Supervision(quarantined=QUARANTINED)}, Phase.QUARANTINED),
        (
            {"desired": Desired.STOPPED, "supervision": Supervision(quarantined=QUARANTINED)},
            Phase.ABSENT,
        ),
        ({"desired": Desired.STOPPED}, Phase.ABSENT),
    ],
)
@pytest.mark.parametrize("known", [{}, {"phase": Phase.ABSENT}])
def test_the_phase_of_what_nobody_supervises_is_what_its_record_says(
    changes: dict[str, Any], phase: Phase, known: dict[str, Any]
) -> None:
    """No supervisor remembers what rests or is set aside; people still see that it does."""
    assert status_of(_session(**changes), known, {}).phase is phase


@pytest.mark.parametrize("phase", [Phase.ABSENT, Phase.BACKOFF, Phase.HIBERNATED])
def test_what_is_gone_is_not_said_to_be_signed_in(phase: Phase) -> None:
    """The record's last verdict was about a browser that is no more."""
    session = _session(observed=Observed(sign_in=SignIn.SIGNED_IN))
    assert status_of(session, {"phase": phase}, {}).sign_in is SignIn.UNKNOWN
    assert status_of(session, {"phase": Phase.UNKNOWN}, {}).sign_in is SignIn.SIGNED_IN


def test_off_line_is_a_condition_of_what_runs() -> None:
    """The browser lives, frozen; the phase alone would hide why commands are refused."""
    live = {"phase": Phase.READY, "off_line": True}
    (condition,) = status_of(_session(), {"phase": Phase.READY}, live).conditions
    assert (condition.type, condition.reason) == ("OffLine", "Lease")
    assert "frozen until Redis answers again" in condition.message
    assert status_of(_session(), {}, {**live, "off_line": False}).conditions == ()


def test_the_instances_own_conditions_are_kept() -> None:
    """They come before the reason; those of the record where a live one says nothing, for now."""
    old, new = (
        Condition(type="Started", reason="Warnings", message=m, since=START) for m in ("old", "new")
    )
    session = _session(observed=Observed(conditions=(old,)))
    running = status_of(session, {}, {"phase": Phase.READY, "conditions": (new,)})
    assert running.conditions == (new,)
    first, reason = status_of(session, {"phase": Phase.UNKNOWN}, {}).conditions
    assert first == old
    assert reason.type == NOT_RUNNING
    (alone,) = status_of(session, {**FAILED}, {}).conditions
    assert alone.type == NOT_RUNNING  # what a browser said that is gone says nothing any more


def test_the_next_try_is_told() -> None:
    """With the phase that waits for it."""
    status = status_of(_session(), {**FAILED}, {})
    assert (status.phase, status.next_retry_at) == (Phase.BACKOFF, FAILED["next_retry_at"])


NEEDED = Condition(type="NeedsHuman", reason="SignedOut", message="sign it in again", since=START)
STARTED = Condition(type="Started", reason="Warnings", message="a tab did not open", since=START)


@pytest.mark.parametrize("desired", [Desired.HIBERNATED, Desired.STOPPED])
def test_that_a_person_is_needed_is_told_without_a_browser_too(desired: Desired) -> None:
    """Nobody but a person can change it; what concerned the browser alone is gone with it."""
    observed = Observed(sign_in=SignIn.NEEDS_HUMAN, conditions=(STARTED, NEEDED))
    status = status_of(_session(desired=desired, observed=observed), {}, {})
    assert status.sign_in is SignIn.NEEDS_HUMAN
    assert NEEDED in status.conditions
    assert STARTED not in status.conditions


def test_what_was_seen_of_a_browser_ends_with_it() -> None:
    """It may be signed out by the time that there is another."""
    observed = Observed(sign_in=SignIn.SIGNED_IN)
    status = status_of(_session(desired=Desired.HIBERNATED, observed=observed), {}, {})
    assert status.sign_in is SignIn.UNKNOWN

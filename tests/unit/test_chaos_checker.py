"""The judge of the fault suite finds each violation that is planted, and none where there is none."""

import dataclasses
import itertools
from pathlib import Path
from typing import Any

from tests.chaos.checker import Verdict, check, percentile
from tests.chaos.evidence import Account, Final
from tests.chaos.history import Event, History, Kind, read
from tests.sites.server import Counters

BUSINESS, EMAIL = "b-1", "owner@one.example"
CLEAN_SITE = Counters(sign_ins=1, notices=1, devices=1, posts=1)
REFUSED = {"code": "SESSION_LEASE_LOST", "retryable": False, "error": "token 7 is stale"}


def told(*lines: tuple[Kind, str, int, Any]) -> list[Event]:
    """Return a history of one business: kind, f, op and value of each event, a second apart."""
    clock = itertools.count(1)
    return [Event(kind, f, BUSINESS, op, value, next(clock)) for kind, f, op, value in lines]


def ran(value: Any, began: float, ended: float, pid: int = 1) -> dict[str, Any]:
    return {"value": value, "pid": pid, "began": began, "ended": ended}


def clean() -> list[Event]:
    """A history in which everything held."""
    return told(
        (Kind.INVOKE, "publish", 0, None),
        (Kind.OK, "publish", 0, ran(1, 1.0, 2.0)),
        (Kind.FAULT, "kill-actor", 2, True),
        (Kind.INVOKE, "who", 3, None),
        (Kind.OK, "who", 3, ran(EMAIL, 3.0, 4.0, pid=2)),
        (Kind.RECOVERED, "kill-actor", 2, {"seconds": 1.5, "changed": []}),
        (Kind.INVOKE, "stale_write", 6, 7),
        (Kind.FAIL, "stale_write", 6, REFUSED),
    )


def final(*, orphans: int = 0, processes: tuple[str, ...] = (), **site: int) -> Final:
    """Return what is left: an account that differs from a clean one as told."""
    at_start = dataclasses.replace(CLEAN_SITE, posts=0)
    at_end = dataclasses.replace(CLEAN_SITE, **site)
    accounts = (Account(BUSINESS, EMAIL, at_start, at_end),)
    return Final(accounts=accounts, orphans=orphans, processes=processes)


def without(events: list[Event], kind: Kind, f: str) -> list[Event]:
    return [event for event in events if (event.kind, event.f) != (kind, f)]


def replaced(events: list[Event], kind: Kind, f: str, value: Any) -> list[Event]:
    return [
        dataclasses.replace(e, value=value) if (e.kind, e.f) == (kind, f) else e for e in events
    ]


def one_violation(verdict: Verdict) -> str:
    assert len(verdict.violations) == 1, verdict.violations
    return verdict.violations[0]


def test_a_clean_run_has_no_violation() -> None:
    """Nothing is reported where every promise held, and the numbers are those of the run."""
    verdict = check(clean(), final())
    assert verdict.violations == []
    assert dataclasses.asdict(verdict.report) == {
        "trials": 1,
        "faults_fired": {"kill-actor": 1},
        "acknowledged_lost": 0,
        "double_owners": 0,
        "stale_writes_accepted": 0,
        "orphans": 0,
        "signed_out": 0,
        "p50_recovery_s": 1.5,
        "p95_recovery_s": 1.5,
        "recovery": {"kill-actor": {"n": 1, "p50": 1.5, "p95": 1.5}},
        "sign_ins_excused": 0,
        "skipped": {},
        "violations": 0,
    }


def test_an_acknowledged_post_that_is_not_there_is_lost() -> None:
    """A post was acknowledged, the site has none."""
    verdict = check(clean(), final(posts=0))
    assert verdict.report.acknowledged_lost == 1
    assert "1 posts acknowledged, 0 there" in one_violation(verdict)


def test_a_post_that_was_not_acknowledged_may_be_there_or_not() -> None:
    """A call that failed with a retryable error promises nothing either way."""
    lost = {"code": "BROWSER_INSTANCE_LOST", "retryable": True, "error": "it died"}
    events = replaced(clean(), Kind.OK, "publish", lost)
    events = [dataclasses.replace(e, kind=Kind.FAIL) if e.value is lost else e for e in events]
    for posts in (0, 1):
        assert check(events, final(posts=posts)).violations == []


def test_a_post_that_nobody_asked_for_is_a_violation() -> None:
    """One publish, two posts: something was run twice that was not idempotent."""
    assert "1 posts asked for, 2 there" in one_violation(check(clean(), final(posts=2)))


def test_an_acknowledged_write_must_be_read_back() -> None:
    """The value, in cookie and localStorage both; a half, another or none is a loss."""
    for seen, lost in (
        ({"cookie": "x", "local": "x"}, 0),
        ({"cookie": "x", "local": None}, 1),
        ({"cookie": "w", "local": "w"}, 1),
    ):
        events = told(
            (Kind.OK, "write", 0, ran("x", 1.0, 2.0)),
            (Kind.FAULT, "kill-server", 1, True),
            (Kind.OK, "read", 2, ran(seen, 3.0, 4.0)),
        )
        verdict = check(events, Final())
        assert verdict.report.acknowledged_lost == len(verdict.violations) == lost


def test_a_write_that_was_never_read_back_counts_as_lost() -> None:
    """A business that did not come back has lost what it was told is kept."""
    events = told((Kind.OK, "write", 0, ran("x", 1.0, 2.0)))
    assert check(events, Final()).report.acknowledged_lost == 1


def test_two_processes_at_once_are_two_owners() -> None:
    """Runs of one business overlap in time in two processes."""
    events = replaced(clean(), Kind.OK, "who", ran(EMAIL, 1.5, 4.0, pid=2))
    verdict = check(events, final())
    assert verdict.report.double_owners == 1
    assert "1 and 2 ran at once" in one_violation(verdict)


def test_a_long_run_overlaps_with_every_later_one() -> None:
    """An owner that never let go is found also when others come and go within its time."""
    events = told(
        (Kind.OK, "publish", 0, ran(1, 1.0, 9.0, pid=1)),
        (Kind.OK, "publish", 1, ran(1, 2.0, 3.0, pid=2)),
        (Kind.OK, "publish", 2, ran(1, 4.0, 5.0, pid=2)),
    )
    assert check(events, Final()).report.double_owners == 2


def test_a_stale_write_that_is_accepted_is_a_violation() -> None:
    """An old token wrote."""
    events = [
        dataclasses.replace(e, kind=Kind.OK, value=None) if e.value is REFUSED else e
        for e in clean()
    ]
    verdict = check(events, final())
    assert verdict.report.stale_writes_accepted == 1
    assert "stale token was accepted" in one_violation(verdict)


def test_a_stale_write_must_be_refused_for_being_stale() -> None:
    """A write that fails for another reason proves nothing."""
    away = {"code": "STORAGE_UNAVAILABLE", "retryable": True, "error": "Redis is away"}
    events = replaced(clean(), Kind.FAIL, "stale_write", away)
    assert "was not tried: Redis is away" in one_violation(check(events, final()))


def test_after_an_actor_died_a_stale_write_must_be_tried() -> None:
    """A suite that forgot to look may not report that all is well."""
    events = [event for event in clean() if event.f != "stale_write"]
    assert "no new incarnation was seen" in one_violation(check(events, final()))


def test_browsers_and_processes_that_are_left_are_violations() -> None:
    """Orphans are counted; other processes of the fleet are named."""
    verdict = check(clean(), final(orphans=2, processes=("42 raylet",)))
    assert verdict.report.orphans == 2
    assert verdict.violations == ["2 browsers are left", "left running: 42 raylet"]


def test_a_business_that_is_not_ready_in_the_end_is_a_violation() -> None:
    """The phase that its status told last counts; an error is none."""
    early = Event(Kind.OK, "ready", BUSINESS, 8, "recovering", 90.0)
    ready = Event(Kind.OK, "ready", BUSINESS, 9, "ready", 91.0)
    failed = Event(Kind.FAIL, "ready", BUSINESS, 9, {"error": "x", "retryable": True}, 91.0)
    assert check([*clean(), early, ready], final()).violations == []
    for last in (early, failed):
        verdict = check([*clean(), ready, last], final())
        assert "is not ready in the end" in one_violation(verdict)


def test_a_business_that_signed_in_again_was_signed_out() -> None:
    """The site counts sign-ins: one too many means that a sign-in was lost."""
    assert check(clean(), final(sign_ins=2)).report.signed_out == 1


def test_a_business_that_the_site_does_not_know_is_signed_out() -> None:
    """It was asked who it is, and the site asked for a sign-in."""
    events = replaced(clean(), Kind.OK, "who", ran(None, 3.0, 4.0, pid=2))
    assert check(events, final()).report.signed_out == 1


def test_a_business_that_was_never_asked_is_not_taken_for_signed_in() -> None:
    """No answer is no proof."""
    assert check(without(clean(), Kind.OK, "who"), final()).report.signed_out == 1


def test_a_publish_that_the_site_refused_is_a_signed_out_business() -> None:
    """Also when it was signed in again at the end."""
    refused = {"code": "X", "retryable": True, "error": "the function raised PermissionError: no"}
    events = [*clean(), Event(Kind.FAIL, "publish", BUSINESS, 9, refused, 99.0)]
    assert check(events, final()).report.signed_out == 1


def test_another_device_or_a_notice_is_a_violation() -> None:
    """A restored browser is the same device to the site, and its owner hears nothing."""
    assert "2 devices" in one_violation(check(clean(), final(devices=2)))
    assert "notices" in one_violation(check(clean(), final(notices=2)))


def test_a_fault_that_did_not_fire_is_a_violation_and_not_counted() -> None:
    """A suite that broke nothing may not report that all is well."""
    events = [*clean(), Event(Kind.FAULT, "kill-driver", BUSINESS, 9, False, 99.0)]
    verdict = check(events, final())
    assert verdict.report.faults_fired == {"kill-actor": 1}
    assert one_violation(verdict) == "kill-driver did not fire at b-1"


def test_a_fault_that_was_planned_and_never_fired_is_a_violation() -> None:
    """Once is enough, wherever it struck."""
    planned = dataclasses.replace(final(), planned=("kill-actor", "kill-janitor", "kill-actor"))
    assert one_violation(check(clean(), planned)) == "kill-janitor was planned and did not fire"


def test_a_fault_that_must_spare_browsers_and_costs_one_is_a_violation() -> None:
    """Whoever serves the fleet may die; no live browser notices."""
    recovered = {"seconds": 1.5, "changed": [BUSINESS]}
    events = replaced(clean(), Kind.RECOVERED, "kill-actor", recovered)
    assert one_violation(check(events, final())) == "kill-actor cost b-1 the browser"


def test_a_business_that_did_not_recover_is_a_violation() -> None:
    """A fault that fired is followed by a recovery or a successful read."""
    events = without(clean(), Kind.RECOVERED, "kill-actor")
    assert "did not recover from kill-actor" in one_violation(check(events, final()))


def test_an_error_that_is_final_is_a_violation() -> None:
    """Whoever is disturbed by a fault must be told that another try is worth it."""
    failed = {"code": "INTERNAL_ERROR", "retryable": False, "error": "boom"}
    events = [*clean(), Event(Kind.FAIL, "publish", BUSINESS, 9, failed, 99.0)]
    assert "publish failed for good: boom" in one_violation(check(events, final()))


def test_what_ran_and_was_not_saved_is_told_as_such() -> None:
    """Not to be run again, but to be saved: the one final error that a fault may cause."""
    failed = {"code": "STORAGE_NOT_SAVED", "retryable": False, "error": "Redis is away"}
    events = [*clean(), Event(Kind.FAIL, "publish", BUSINESS, 9, failed, 99.0)]
    assert check(events, final()).violations == []


def test_percentiles_are_nearest_rank() -> None:
    """Values that were measured, none in between."""
    assert percentile([], 0.5) is None
    assert percentile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert percentile(map(float, range(1, 21)), 0.95) == 19.0


def test_a_history_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    """What is kept for people is what was judged, also before it is closed."""
    with History(tmp_path / "history.jsonl") as history:
        op = history.add(Kind.INVOKE, "publish", BUSINESS)
        history.add(Kind.OK, "publish", BUSINESS, op, ran(1, 1.0, 2.0))
        assert read(history.path) == history.events
    assert [event.op for event in history.events] == [op, op]

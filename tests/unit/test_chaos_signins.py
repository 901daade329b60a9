"""Which second sign-ins a fault excuses: those that lose a cookie by nature, and no other."""

import itertools
from collections.abc import Sequence

import pytest

from tests.chaos.checker import check
from tests.chaos.evidence import Final, RotatingAccount
from tests.chaos.history import EVERYWHERE, Event, Kind
from tests.chaos.signins import judged
from tests.sites.rotating.server import Log

BUSINESS, EMAIL = "b-1", "owner@rotating-1.example"
SEEN = {"value": 1, "pid": 1, "began": 0.0, "ended": 0.0}
OUT = {"value": None, "pid": 1, "began": 0.0, "ended": 0.0}
FAILED = {"code": "BROWSER_INSTANCE_LOST", "retryable": True, "error": "it died"}


def told(*steps: str) -> list[Event]:
    """Return a history: ``+f`` begins a command, ``f`` ends it well, ``-f`` badly, ``?f`` without an
    answer, ``f:out`` well but signed out; ``!f`` is a fault there and ``!*f`` one everywhere; ``^f``
    is the moment at which one struck that takes long to show, ``=f`` the one at which it was got over.
    """
    clock, ops, events = itertools.count(1), {}, []
    kinds = {"+": Kind.INVOKE, "-": Kind.FAIL, "?": Kind.LOST, "!": Kind.FAULT, "~": Kind.HEALED,
             "^": Kind.BLOW, "=": Kind.RECOVERED}  # fmt: skip
    for step in steps:
        kind = kinds.get(step[0], Kind.OK)
        f, _, how = step.lstrip("+-?!~^=").partition(":")
        where = EVERYWHERE if f.startswith("*") else BUSINESS
        now = next(clock)
        ops[f] = now if kind in {Kind.INVOKE, Kind.FAULT} else ops.get(f, now)
        value = {Kind.OK: OUT if how else SEEN, Kind.FAIL: FAILED, Kind.FAULT: True}.get(kind)
        events.append(Event(kind, f.lstrip("*"), where, ops[f], value, float(now)))
    return events


FIRST = ("+sign_in", "sign_in")
AGAIN = ("+act", "act:out", "+sign_in", "sign_in")


@pytest.mark.parametrize(
    ("steps", "excused", "unexcused"),
    [
        pytest.param((), 0, 0, id="the first sign-in needs no excuse"),
        pytest.param(AGAIN, 0, 1, id="no fault at all"),
        pytest.param(("+act", "!kill", "-act", *AGAIN), 1, 0, id="a fault during a command"),
        pytest.param(("+act", "^race", "-act", *AGAIN, "!race"), 1, 0, id="a slow fault's blow"),
        pytest.param(("+act", "!*kill", "?act", *AGAIN), 1, 0, id="a fault everywhere"),
        pytest.param(("!kill", "+act", "-act", *AGAIN), 1, 0, id="a fault that lasts"),
        pytest.param(("!kill", "=kill", "+act", "-act", *AGAIN), 0, 1, id="one that is over"),
        pytest.param(("!kill", *AGAIN), 0, 1, id="a fault while nothing was under way"),
        pytest.param(("+act", "act", "!kill", *AGAIN), 0, 1, id="after an acknowledgement"),
        pytest.param(("+act", "-act", "!kill", *AGAIN), 1, 0, id="after a command that failed"),
        pytest.param(("+act", "-act", *AGAIN), 0, 1, id="a command that failed by itself"),
        pytest.param(("!kill", "!kill", *AGAIN), 1, 0, id="a second fault before any command"),
        pytest.param(
            ("!pause", "+act", "~pause", "-act", *AGAIN), 1, 0, id="a fault's end is one too"
        ),
        pytest.param(
            ("+act", "!kill", "-act", "+act", "act", *AGAIN), 0, 1, id="seen signed in since"
        ),
        pytest.param(
            ("+act", "!kill", "-act", *AGAIN, *AGAIN), 1, 1, id="one fault excuses one sign-in"
        ),
        pytest.param(
            ("+act", "+who", "act", "!kill", "-who", *AGAIN), 1, 0, id="another was under way"
        ),
    ],
)
def test_a_second_sign_in_is_excused_by_a_fault_that_loses_a_cookie(
    steps: Sequence[str], excused: int, unexcused: int
) -> None:
    """Each history begins with the first sign-in."""
    assert judged(told(*FIRST, *steps)) == (excused, unexcused)


def rotating(log: Log) -> Final:
    return Final(rotating=(RotatingAccount(BUSINESS, EMAIL, log),))


def ended(*steps: str, who: str | None = EMAIL) -> list[Event]:
    """Return a history at whose end the site said *who* is signed in."""
    events = told(*FIRST, *steps, "+who")
    return [*events, Event(Kind.OK, "who", BUSINESS, events[-1].op, {**SEEN, "value": who}, 99.0)]


def test_an_excused_sign_in_is_counted_and_no_violation() -> None:
    """It is in the report, so that people see how often it happens."""
    events = [e for e in ended("+act", "!kill", "-act", *AGAIN) if e.f != "kill"]
    fault = Event(Kind.FAULT, "kill-driver", BUSINESS, 50, True, 3.5)
    back = Event(Kind.RECOVERED, "kill-driver", BUSINESS, 50, {"seconds": 1.0, "changed": []}, 9.0)
    events = [*events[:3], fault, *events[3:], back]
    asked = [e if e.f != "act" else Event(e.kind, "act", BUSINESS, e.op, e.value) for e in events]
    verdict = check(asked, rotating(Log(sign_ins=2)))
    assert (verdict.report.sign_ins_excused, verdict.report.signed_out) == (1, 0)
    assert verdict.violations == []


def test_a_sign_in_that_the_history_does_not_know_is_a_violation() -> None:
    """Whoever did it: the site counts."""
    assert check(ended(), rotating(Log(sign_ins=1))).violations == []
    assert check(ended(), rotating(Log(sign_ins=2))).report.signed_out == 1


def test_a_business_that_is_signed_out_in_the_end_is_a_violation() -> None:
    """An excuse is for signing in again, not for staying away."""
    assert check(ended(who=None), rotating(Log(sign_ins=1))).report.signed_out == 1

"""Two browsers that act for one business are found by what the site saw, and one is not."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import pytest

from tests.chaos import durability, rights
from tests.chaos.evidence import Final, RotatingAccount, Run
from tests.chaos.history import Event, Kind
from tests.chaos.ownership import double_owners
from tests.sites.rotating.server import Action, Log

BUSINESS = "b-1"


def run(log: Log, *events: Event) -> Run:
    return Run(events, Final(rotating=(RotatingAccount(BUSINESS, "owner@x.example", log),)))


def acted(*by: str) -> Log:
    """Return a log in which these processes acted, in this order."""
    return Log(actions=tuple(Action(f"k{n}", who, float(n)) for n, who in enumerate(by)))


def pinged(**pings: Sequence[float]) -> Log:
    return Log(pings=pings)


def test_owners_that_follow_each_other_are_no_double_owners() -> None:
    """One works, then another, then a third."""
    assert double_owners(run(acted("1", "1", "2", "3", "3"))) == []


def test_an_owner_that_acts_again_after_another_is_found() -> None:
    """It was paused, or cut off, and came back."""
    (violation,) = double_owners(run(acted("1", "2", "1")))
    assert "1 acted again after another owner had" in violation


def times(first: float, last: float) -> list[float]:
    """Return the times of pings, ten a second."""
    return [first + n / 10 for n in range(int((last - first) * 10) + 1)]


def test_documents_that_follow_each_other_are_one_browser() -> None:
    """Also when a ping of the old one is written down a little late."""
    log = pinged(a=[*times(0.0, 5.0), 5.4], b=times(5.0, 9.0))
    assert double_owners(run(log)) == []


def test_documents_that_ping_at_once_are_two_browsers() -> None:
    """There is one tab: two live pages are in two browsers."""
    (violation,) = double_owners(run(pinged(a=times(0.0, 6.0), b=times(5.0, 9.0))))
    assert "document a pinged until 6.00, though b had begun at 5.00" in violation


PAUSED = rights.Paused(
    stopped_at=10.0,
    lease=3.0,
    first_pid=1,
    second_pid=2,
    went_on=True,
    written="x",
    read={"cookie": "x", "local": "x"},
)
QUIET = pinged(a=times(0.0, 12.5), b=times(14.0, 30.0))


def trial(kind: str, what: Any, **changes: Any) -> Event:
    return Event(Kind.OK, kind, BUSINESS, 1, {**asdict(what), **changes})


@pytest.mark.parametrize(
    ("log", "changes", "found"),
    [
        (QUIET, {}, None),
        (pinged(a=times(0.0, 14.0)), {}, "the page of a paused owner pinged"),
        (pinged(a=[*times(0.0, 12.0), 19.0]), {}, "until 9.00 s after the pause"),
        (QUIET, {"second_pid": None, "read": None}, "no second owner worked"),
        (QUIET, {"second_pid": 1}, "no second owner worked"),
        (QUIET, {"read": {"cookie": "x", "local": "first"}}, "of the second was then read as"),
        (QUIET, {"read": None}, "of the second was then read as"),
    ],
)
def test_a_paused_owner_does_nothing_after_its_deadline(
    log: Log, changes: Mapping[str, Any], found: str | None
) -> None:
    """Its page stands still, another owner works, and what that one wrote stays."""
    violations = rights.violations(run(log, trial(rights.PAUSED, PAUSED, **changes)))
    assert [found in v for v in violations if found] == ([True] if found else [])
    assert bool(violations) == bool(found)


OUTAGE = rights.Outage(cut_at=10.0, mended_at=60.0, lease=5.0, same_browser=True, remembered=True)


@pytest.mark.parametrize(
    ("log", "changes", "found"),
    [
        (pinged(a=[*times(0.0, 14.5), *times(60.5, 70.0)]), {}, None),
        (pinged(a=times(0.0, 70.0)), {}, "while nobody could renew its lease"),
        (pinged(), {"same_browser": False}, "cost it its Chromium"),
        (pinged(), {"remembered": False}, "cost it its page"),
    ],
)
def test_an_outage_stops_pages_and_costs_nothing(
    log: Log, changes: Mapping[str, Any], found: str | None
) -> None:
    """Off line from the deadline on, and the same page afterwards."""
    violations = rights.violations(run(log, trial(rights.OUTAGE, OUTAGE, **changes)))
    assert [found in v for v in violations if found] == ([True] if found else [])
    assert bool(violations) == bool(found)


def asked(key: str, op: int, value: Any) -> list[Event]:
    witness = {"value": value, "pid": 1, "began": 0.0, "ended": 0.0}
    invoked = Event(Kind.INVOKE, "act", BUSINESS, op, key)
    return [invoked, Event(Kind.OK, "act", BUSINESS, op, witness)]


def test_an_acknowledged_action_that_is_not_there_is_lost() -> None:
    """One that was answered with "signed out" was not acknowledged."""
    events = [*asked("k0", 1, 1), *asked("k1", 2, None)]
    assert durability.lost(run(acted("1"), *events)) == []
    (violation,) = durability.lost(run(Log(), *events))
    assert "k0 was acknowledged, and is not there" in violation


def test_an_action_that_nobody_asked_for_is_found() -> None:
    """The site has one that no script sent."""
    assert durability.surplus(run(acted("1"), *asked("k0", 1, 1))) == []
    assert durability.surplus(run(acted("1", "1"), *asked("k0", 1, 1))) == [
        "b-1: nobody asked for k1"
    ]

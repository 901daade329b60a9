"""What the supervisor decides in the situations that people ask about."""

import pytest

from raypool.phase import Phase
from raypool.planner import Forget, Plan, Seen, Start, Stop, Want, backoff, plan

NOW = 100.0


def test_a_wanted_business_without_an_instance_is_started() -> None:
    """First wish, first start, for the session that the wish names."""
    assert plan([Want("b", "s")], [], now=NOW) == Plan((Start("b", "s"),), None)


def test_a_backoff_is_sat_out() -> None:
    """Not a moment before its time, at its time at once; the plan says when to look again."""
    seen = [Seen("b", Phase.BACKOFF, retry_at=NOW + 7)]
    assert plan([Want("b", "s")], seen, now=NOW) == Plan((), 7.0)
    assert plan([Want("b", "s")], seen, now=NOW + 7) == Plan((Start("b", "s"),), None)


def test_silence_is_not_death() -> None:
    """An instance that does not answer gets no second one beside it, only another look."""
    assert plan([Want("b", "s")], [Seen("b", Phase.UNKNOWN)], now=NOW) == Plan((), 1.0)


def test_what_is_not_wanted_goes() -> None:
    """What may live is stopped, what is stopping is left in peace, the rest is forgotten."""
    seen = [
        Seen("a", Phase.READY), Seen("b", Phase.STOPPING), Seen("c", Phase.ABSENT),
        Seen("d", Phase.BACKOFF, retry_at=NOW + 300), Seen("e", Phase.UNKNOWN),
        Seen("f", Phase.STARTING), Seen("g", Phase.RECOVERING),
    ]  # fmt: skip
    assert plan([], seen, now=NOW).actions == (
        Stop("a"), Forget("c"), Forget("d"), Stop("e"), Stop("f"), Stop("g"),
    )  # fmt: skip


def test_a_wish_for_what_is_stopping_waits_for_the_end() -> None:
    """The new instance comes when the old one is gone, not before."""
    assert plan([Want("b", "s")], [Seen("b", Phase.STOPPING)], now=NOW) == Plan((), 1.0)
    gone = plan([Want("b", "s")], [Seen("b", Phase.ABSENT)], now=NOW)
    assert gone == Plan((Start("b", "s"),), None)


def test_starts_are_rationed_and_the_newest_wish_comes_first() -> None:
    """Who asked last is waiting now; the others are next, and the plan says to come back."""
    wanted = [Want("old", "1", 10), Want("new", "2", 30), Want("mid", "3", 20)]
    decided = plan(wanted, [Seen("x", Phase.STARTING)], now=NOW, max_starting=3)
    stop, *starts = decided.actions
    assert stop == Stop("x")
    assert starts == [Start("new", "2"), Start("mid", "3")]
    assert decided.requeue_after == 1.0


def test_of_two_wishes_for_one_business_the_newest_counts() -> None:
    """In whatever order the records come."""
    wanted = [Want("b", "newer", 2), Want("b", "older", 1)]
    for order in (wanted, wanted[::-1]):
        assert plan(order, [], now=NOW).actions == (Start("b", "newer"),)


@pytest.mark.parametrize(
    ("failures", "least", "most"),
    [(1, 0.5, 1), (2, 1, 2), (5, 8, 16), (9, 128, 256), (10, 150, 300)],
)
def test_backoff_doubles_up_to_five_minutes(failures: int, least: float, most: float) -> None:
    """1 s, 2 s, 4 s … 300 s, with at least half of it and the rest by chance."""
    assert backoff(failures, 0.0) == least
    assert backoff(failures, 0.999999) == pytest.approx(most, rel=1e-5)

"""When an idle business is looked at: spread over time, never without a setting."""

from hypothesis import given
from hypothesis import strategies as st

from actors.signin_watch import SPREAD, SignInWatch, spread

DICE = st.floats(0, 1, exclude_max=True)


@given(st.floats(0, 1e6), DICE)
def test_the_time_between_looks_varies_by_a_fifth(every: float, dice: float) -> None:
    """So that a thousand businesses do not ask their site at once."""
    assert every * (1 - SPREAD) * 0.999 <= spread(every, dice) <= every * (1 + SPREAD) * 1.001


def test_each_wait_is_rolled_anew() -> None:
    """Two that began together do not stay together."""
    rolls = iter([0.0, 1.0, 0.5])
    watch = SignInWatch(100, lambda: next(rolls))
    assert not watch.is_due(79)
    assert watch.is_due(81)
    assert not watch.is_due(81)
    assert not watch.is_due(119)
    assert watch.is_due(121)


def test_nought_means_never() -> None:
    """However long ago the last look was."""
    assert not SignInWatch(0).is_due(1e9)

"""Whatever the order of calls and retries: retries stay a share of calls."""

from hypothesis import given
from hypothesis import strategies as st

from raypool.retry import RetryBudget

WINDOW = 10.0
steps = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.01, 0.5, 1.0, 3.0, 12.0]), st.integers(0, 5), st.integers(0, 9)
    ),
    max_size=60,
)


@given(steps, st.sampled_from([0.0, 0.1, 0.2, 1.0]), st.integers(0, 10))
def test_in_no_window_are_there_more_retries_than_allowed(
    history: list[tuple[float, int, int]], share: float, minimum: int
) -> None:
    """To a tenth of the window; and none is refused while there is room."""
    now = 0.0
    budget = RetryBudget(share, minimum, WINDOW, lambda: now)
    called: list[float] = []
    granted: list[float] = []
    for pause, calls, retries in history:
        now += pause
        for _ in range(calls):
            budget.record_call()
            called.append(now)
        for _ in range(retries):
            known = sum(now - at < WINDOW for at in called)
            spent = sum(now - at < WINDOW * 0.9 for at in granted)
            surely = sum(now - at < WINDOW * 0.9 for at in called)
            before = sum(now - at < WINDOW for at in granted)
            if budget.spend():
                granted.append(now)
                assert spent + 1 <= minimum + share * known
            else:
                assert before + 1 > minimum + share * surely

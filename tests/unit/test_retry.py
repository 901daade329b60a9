"""Trying again: only what can help, never sooner than asked, and the last error as it is."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import pytest

from raypool.errors import CODES, ErrorCategory, ErrorCodes, RaypoolError, create_error
from raypool.retry import NEVER, POLICIES, ErrorRetry, RetryBudget, is_retryable, with_retry

LOST = create_error(ErrorCodes.BROWSER_INSTANCE_LOST, "it died")


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Waits take no time; they are written down here."""
    waits: list[float] = []

    async def sleep(delay: float) -> None:
        waits.append(delay)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    return waits


def failing(*errors: Exception) -> Callable[[], Awaitable[str]]:
    """Return an operation that raises these one after another and then succeeds."""
    left = list(errors)

    async def operation() -> str:
        if left:
            raise left.pop(0)
        return "done"

    return operation


async def test_success_needs_no_waiting(slept: list[float]) -> None:
    """The first answer is the answer."""
    assert await with_retry(failing()) == "done"
    assert slept == []


async def test_what_may_help_is_tried_again(slept: list[float]) -> None:
    """Waits double, with jitter of at most one base delay."""
    assert await with_retry(failing(LOST, LOST, LOST), max_attempts=4, base_delay=0.5) == "done"
    for wait, least in zip(slept, [0.5, 1.0, 2.0], strict=True):
        assert least <= wait <= least + 0.5


@pytest.mark.parametrize("code", ErrorCodes)
async def test_only_retryable_codes_are_tried_again(code: ErrorCodes, slept: list[float]) -> None:
    """Wrong passwords, bad arguments and bugs fail at once."""
    error = create_error(code)
    if CODES[code].retryable:
        assert await with_retry(failing(error)) == "done"
        assert len(slept) == 1
    else:
        with pytest.raises(RaypoolError) as caught:
            await with_retry(failing(error))
        assert caught.value is error
        assert slept == []


@pytest.mark.parametrize("error", [ValueError("x"), TimeoutError(), ConnectionError("x")])
async def test_errors_of_others_fail_at_once(error: Exception, slept: list[float]) -> None:
    """Nobody knows whether repeating them does harm."""
    assert not is_retryable(error)
    with pytest.raises(type(error)) as caught:
        await with_retry(failing(error))
    assert caught.value is error
    assert slept == []


async def test_being_cancelled_is_no_reason_to_try_again(slept: list[float]) -> None:
    """A cancelled caller stops at once."""

    async def cancelled() -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await with_retry(cancelled)
    assert slept == []


async def test_the_last_error_comes_out_unchanged(slept: list[float]) -> None:
    """Not wrapped by the library, and after exactly the attempts that were allowed."""
    errors = [create_error(ErrorCodes.STORAGE_UNAVAILABLE, str(n)) for n in range(3)]
    with pytest.raises(RaypoolError) as caught:
        await with_retry(failing(*errors), max_attempts=3)
    assert caught.value is errors[2]
    assert len(slept) == 2


@pytest.mark.parametrize("asked", [5.0, 120.0])
async def test_a_wait_that_was_asked_for_is_kept(asked: float, slept: list[float]) -> None:
    """Never sooner than retry_after, also when that is longer than max_delay."""
    error = create_error(ErrorCodes.RATE_LIMIT_SIGN_IN, "wait", retry_after=asked)
    await with_retry(failing(error), base_delay=0.1, max_delay=1.0)
    assert slept == [asked]


async def test_a_short_retry_after_does_not_shorten_the_backoff(slept: list[float]) -> None:
    """It is a minimum."""
    error = create_error(ErrorCodes.SESSION_LOCKED, "busy", retry_after=0.01)
    await with_retry(failing(error), base_delay=1.0)
    assert 1.0 <= slept[0] <= 2.0


async def test_waits_have_an_upper_bound(slept: list[float]) -> None:
    """However many attempts."""
    await with_retry(failing(*[LOST] * 9), max_attempts=10, base_delay=1.0, max_delay=3.0)
    assert max(slept) == 3.0


async def test_the_caller_hears_of_every_retry(slept: list[float]) -> None:
    """With the error, the number of the attempt that failed, and the wait that follows."""
    heard: list[tuple[BaseException, int, float]] = []
    errors = [create_error(ErrorCodes.BROWSER_CRASHED, str(n)) for n in range(3)]
    with pytest.raises(RaypoolError):
        await with_retry(failing(*errors), on_retry=lambda *call: heard.append(call))
    assert heard == [(errors[0], 1, slept[0]), (errors[1], 2, slept[1])]


async def test_one_attempt_means_one(slept: list[float]) -> None:
    """No retry was asked for, none is made."""
    with pytest.raises(RaypoolError):
        await with_retry(failing(LOST), max_attempts=1)
    assert slept == []


def test_the_services_other_name_is_the_same_thing() -> None:
    """ErrorRetry.with_retry is with_retry."""
    assert ErrorRetry.with_retry is with_retry


async def test_a_lambda_that_calls_the_operation_will_do(slept: list[float]) -> None:
    """As in the example of the docstring: what counts is that the result can be awaited."""
    operation = failing(LOST)
    assert await with_retry(lambda: operation()) == "done"  # noqa: PLW0108 -- the form under test
    assert len(slept) == 1


@pytest.mark.parametrize("code", [c for c in ErrorCodes if CODES[c].retryable])
async def test_each_category_has_its_own_policy(code: ErrorCodes, slept: list[float]) -> None:
    """As often and as far apart as its table says, when the caller says nothing."""
    policy = POLICIES[CODES[code].category]
    with pytest.raises(RaypoolError):
        await with_retry(failing(*[create_error(code)] * 99))
    assert len(slept) == policy.max_attempts - 1 > 0
    for number, wait in enumerate(slept):
        least = min(policy.base_delay * 2**number, policy.max_delay)
        assert least <= wait <= min(least + policy.base_delay, policy.max_delay)


def test_categories_that_never_help_are_never_tried_again() -> None:
    """None of their codes is retryable; every category has a policy."""
    assert set(POLICIES) == set(ErrorCategory)
    for info in CODES.values():
        assert (POLICIES[info.category] is NEVER) <= (not info.retryable)


async def test_the_policy_follows_the_error(slept: list[float]) -> None:
    """Of each attempt, not of the first."""
    away = create_error(ErrorCodes.STORAGE_UNAVAILABLE)
    full = create_error(ErrorCodes.RATE_LIMIT_CAPACITY)
    assert await with_retry(failing(away, full)) == "done"
    assert slept[0] < 2
    assert slept[1] >= 10


async def test_the_callers_word_is_above_the_policy(slept: list[float]) -> None:
    """For each of the three by itself."""
    away = create_error(ErrorCodes.STORAGE_UNAVAILABLE)
    with pytest.raises(RaypoolError):
        await with_retry(failing(*[away] * 9), max_attempts=2)
    assert len(slept) == 1
    assert 0.5 <= slept[0] <= 1.0


async def test_a_budget_that_is_used_up_raises_at_once(slept: list[float]) -> None:
    """A thousand callers of a server that is down: the minimum and a share of them try again."""
    budget = RetryBudget(share=0.2, minimum=10, clock=lambda: 0.0)
    for _ in range(1000):
        with pytest.raises(RaypoolError) as caught:
            await with_retry(failing(LOST, LOST, LOST), budget=budget)
        assert caught.value is LOST
    assert len(slept) == 10 + 200


async def test_a_budget_grows_back(slept: list[float]) -> None:
    """When its window has passed."""
    now = 0.0
    budget = RetryBudget(minimum=2, share=0, clock=lambda: now)
    assert [budget.spend() for _ in range(3)] == [True, True, False]
    now = 9.0
    assert not budget.spend()
    now = 11.0
    assert budget.spend()


async def test_success_costs_no_budget(slept: list[float]) -> None:
    """Nor do errors that are not tried again."""
    budget = RetryBudget(minimum=1, share=0, clock=lambda: 0.0)
    wrong = create_error(ErrorCodes.AUTH_INVALID_CREDENTIALS)
    for error in (None, wrong, ValueError()):
        with contextlib.suppress(RaypoolError, ValueError):
            await with_retry(failing(*([error] if error else [])), budget=budget)
    assert await with_retry(failing(LOST), budget=budget) == "done"

"""Trying again: only what may succeed later, with backoff and jitter, never sooner than asked."""

import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    wait_exponential,
    wait_random,
)

from raypool.errors import ErrorCategory, RaypoolError

T = TypeVar("T")
OnRetry = Callable[[BaseException, int, float], None]


@dataclass(frozen=True)
class Policy:
    """How often, and how far apart.

    Args:
        max_attempts: Attempts in all, the first one included.
        base_delay: Seconds before the second attempt; doubles each time, plus jitter.
        max_delay: Longest wait in seconds; ``error.retry_after`` may ask for more.
    """

    max_attempts: int
    base_delay: float
    max_delay: float


NEVER = Policy(max_attempts=1, base_delay=0.0, max_delay=0.0)

POLICIES: Mapping[ErrorCategory, Policy] = {
    # The site's own counter goes on: each repeated attempt brings a lock-out nearer.
    ErrorCategory.AUTHENTICATION: NEVER,
    # Somebody has to correct something first.
    ErrorCategory.CONFIGURATION: NEVER,
    # A bug; it would only be logged more often.
    ErrorCategory.INTERNAL: NEVER,
    # A holder lets go, or a new owner comes up, within seconds.
    ErrorCategory.SESSION: Policy(max_attempts=3, base_delay=1.0, max_delay=30.0),
    # The browser or its actor is made anew meanwhile: p95 about 5 s.
    ErrorCategory.BROWSER: Policy(max_attempts=3, base_delay=1.0, max_delay=30.0),
    # Somebody else's machine: give it time, and do not add to its load.
    ErrorCategory.NETWORK: Policy(max_attempts=3, base_delay=2.0, max_delay=60.0),
    # Our own server: a restart or a failover takes 2 to 15 s, and asking it costs little.
    ErrorCategory.STORAGE: Policy(max_attempts=6, base_delay=0.5, max_delay=8.0),
    # Room comes when a browser ends, not within a second.
    ErrorCategory.RATE_LIMIT: Policy(max_attempts=3, base_delay=5.0, max_delay=300.0),
}
"""What :func:`with_retry` does when its caller does not say."""


class RetryBudget:
    """Keeps retries a small share of calls, so that a sick fleet is not hammered by its own retries.

    As Finagle's and gRPC's: in any *window* (to a tenth), retries are at most *minimum* plus *share*
    of the calls made in it. One for all calls to the same thing, used on one event loop.

    Args:
        share: Retries a call.
        minimum: Retries that are always possible in a window: a single caller retries freely.
        window: Seconds.
        clock: Monotonic seconds.
    """

    _SLOTS = 10

    def __init__(
        self,
        share: float = 0.2,
        minimum: int = 10,
        window: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._share, self._minimum, self._window = share, minimum, window
        self._clock = clock
        self._slots: deque[_Slot] = deque()

    def record_call(self) -> None:
        """Count a call, its retries not included."""
        self._now().calls += 1

    def spend(self) -> bool:
        """Take one retry out of the budget; False when it is used up."""
        slot = self._now()
        calls = sum(each.calls for each in self._slots)
        retries = sum(each.retries for each in self._slots)
        if retries + 1 > self._minimum + self._share * calls:
            return False
        slot.retries += 1
        return True

    def _now(self) -> "_Slot":
        now = self._clock()
        while self._slots and now - self._slots[0].since >= self._window:
            self._slots.popleft()
        if not self._slots or now - self._slots[-1].since >= self._window / self._SLOTS:
            self._slots.append(_Slot(now))
        return self._slots[-1]


@dataclass
class _Slot:
    since: float
    calls: int = 0
    retries: int = 0


def is_retryable(error: BaseException) -> bool:
    """Tell whether the call that raised *error* may succeed when repeated."""
    return isinstance(error, RaypoolError) and error.retryable


class _Plan:
    """When to stop and how long to wait: the caller's word, else the policy of the error."""

    def __init__(
        self,
        max_attempts: int | None,
        base_delay: float | None,
        max_delay: float | None,
        budget: RetryBudget | None,
    ) -> None:
        self._asked = (max_attempts, base_delay, max_delay)
        self._budget = budget

    def stop(self, state: RetryCallState) -> bool:
        """Tell tenacity whether this was the last attempt; asked once an attempt."""
        if state.attempt_number >= self._policy(state).max_attempts:
            return True
        return self._budget is not None and not self._budget.spend()

    def wait(self, state: RetryCallState) -> float:
        """Return exponential backoff with jitter, but at least what the error itself asks for."""
        policy, error = self._policy(state), _error(state)
        backoff = wait_exponential(policy.base_delay, policy.max_delay)
        jittered = backoff(state) + wait_random(0, policy.base_delay)(state)
        asked = error.retry_after if isinstance(error, RaypoolError) else None
        return max(min(jittered, policy.max_delay), asked or 0.0)

    def _policy(self, state: RetryCallState) -> Policy:
        error = _error(state)
        usual = POLICIES[error.category] if isinstance(error, RaypoolError) else NEVER
        attempts, base, most = self._asked
        return Policy(
            usual.max_attempts if attempts is None else attempts,
            usual.base_delay if base is None else base,
            usual.max_delay if most is None else most,
        )


def _error(state: RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome else None


async def with_retry(
    operation: Callable[[], Awaitable[T]],
    *,
    max_attempts: int | None = None,
    base_delay: float | None = None,
    max_delay: float | None = None,
    on_retry: OnRetry | None = None,
    budget: RetryBudget | None = None,
) -> T:
    """Return what *operation* returns, trying again when its error is retryable.

    What is not given follows from the category of each error: see :data:`POLICIES`.

    Args:
        operation: Called without arguments, once an attempt.
        max_attempts: Attempts in all, the first one included.
        base_delay: Seconds before the second attempt; doubles each time, plus jitter.
        max_delay: Longest wait in seconds; ``error.retry_after`` may ask for more.
        on_retry: Called with ``(error, attempt, delay)`` before each wait.
        budget: Shared with other calls; when it is used up, the error is raised at once.

    Raises:
        Exception: The last error, unchanged, or the first one that is not retryable.

    Example:
        >>> await with_retry(lambda: sessions.get_session(id), max_attempts=5)
    """

    def before_sleep(state: RetryCallState) -> None:
        error = _error(state)
        if on_retry and error and state.next_action:
            on_retry(error, state.attempt_number, state.next_action.sleep)

    async def attempt() -> T:  # tenacity awaits what is an `async def`, not a lambda that calls one
        return await operation()

    if budget:
        budget.record_call()
    plan = _Plan(max_attempts, base_delay, max_delay, budget)
    retrying = AsyncRetrying(
        stop=plan.stop,
        wait=plan.wait,
        retry=retry_if_exception(is_retryable),
        before_sleep=before_sleep,
        reraise=True,
    )
    return await retrying(attempt)


class ErrorRetry:
    """The service's other name for the same thing."""

    with_retry = staticmethod(with_retry)

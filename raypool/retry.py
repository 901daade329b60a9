"""Trying again: only what may succeed later, with backoff and jitter, never sooner than asked."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    stop_after_attempt,
    wait_exponential,
    wait_random,
)

from raypool.errors import RaypoolError

T = TypeVar("T")
OnRetry = Callable[[BaseException, int, float], None]


def is_retryable(error: BaseException) -> bool:
    """Tell whether the call that raised *error* may succeed when repeated."""
    return isinstance(error, RaypoolError) and error.retryable


class _Wait:
    """Exponential with jitter, but at least what the error itself asks for."""

    def __init__(self, base_delay: float, max_delay: float) -> None:
        self._backoff = wait_exponential(base_delay, max_delay) + wait_random(0, base_delay)
        self._most = max_delay

    def __call__(self, state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        asked = error.retry_after if isinstance(error, RaypoolError) else None
        return max(min(self._backoff(state), self._most), asked or 0.0)


async def with_retry(
    operation: Callable[[], Awaitable[T]],
    *,
    max_attempts: int = 3,
    base_delay: float = 1.0,
    max_delay: float = 30.0,
    on_retry: OnRetry | None = None,
) -> T:
    """Return what *operation* returns, trying again when its error is retryable.

    Args:
        operation: Called without arguments, once an attempt.
        max_attempts: Attempts in all, the first one included.
        base_delay: Seconds before the second attempt; doubles each time, plus jitter.
        max_delay: Longest wait in seconds; ``error.retry_after`` may ask for more.
        on_retry: Called with ``(error, attempt, delay)`` before each wait.

    Raises:
        Exception: The last error, unchanged, or the first one that is not retryable.

    Example:
        >>> await with_retry(lambda: sessions.get_session(id), max_attempts=5)
    """

    def before_sleep(state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        if on_retry and error and state.next_action:
            on_retry(error, state.attempt_number, state.next_action.sleep)

    async def attempt() -> T:  # tenacity awaits what is an `async def`, not a lambda that calls one
        return await operation()

    retrying = AsyncRetrying(
        stop=stop_after_attempt(max_attempts),
        wait=_Wait(base_delay, max_delay),
        retry=retry_if_exception(is_retryable),
        before_sleep=before_sleep,
        reraise=True,
    )
    return await retrying(attempt)


class ErrorRetry:
    """The service's other name for the same thing."""

    with_retry = staticmethod(with_retry)

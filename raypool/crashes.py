"""What failures lead to: a wait that grows, and quarantine for what dies again and again. Pure."""

from datetime import datetime, timedelta

from raypool.errors import ErrorCodes, RaypoolError
from raypool.model import Condition, Supervision

WINDOW_S = 600.0
LOOP_DEATHS = 5
"""Deaths without progress within :data:`WINDOW_S` that make a crash loop."""
LOCKED_RETRY_S = 5.0
"""Longest wait for a business that another holder has: to look at its lease costs next to nothing."""
_HEALTHY = Supervision()
_DEATHS = frozenset({
    ErrorCodes.BROWSER_START_FAILED, ErrorCodes.BROWSER_CRASHED, ErrorCodes.BROWSER_INSTANCE_LOST,
    ErrorCodes.INTERNAL_ERROR,
})  # fmt: skip
"""What speaks against the business itself; Redis, Ray, a lease or a missing Chromium do not."""


def backoff(failures: int, chance: float, *, base: float = 1.0, most: float = 300.0) -> float:
    """Return the seconds to wait after *failures* failed starts in a row: full jitter, bounded.

    Args:
        failures: 1 for the first.
        chance: A number in [0, 1) from the caller's dice.
        base: Upper bound after the first failure; it doubles with each.
        most: Upper bound for ever.
    """
    return min(most, base * 2.0 ** min(failures - 1, 20)) * chance


def failed(
    before: Supervision, error: RaypoolError, at: datetime, delay: float, *, progress: bool
) -> Supervision:
    """Return what is to be remembered after a start that failed or a life that ended unasked.

    Args:
        before: What was remembered.
        error: Why.
        at: When.
        delay: Seconds until the next try.
        progress: The life had done something: what went before is no loop.
    """
    old = _HEALTHY if progress else before
    deaths = tuple(d for d in old.deaths if (at - d).total_seconds() < WINDOW_S)
    if error.code in _DEATHS:
        deaths = (*deaths, at)
    loop = len(deaths) >= LOOP_DEATHS
    return Supervision(
        failures=old.failures + 1,
        deaths=deaths,
        retry_at=at + timedelta(seconds=delay),
        quarantined=_quarantined(len(deaths), error, at) if loop else None,
    )


def _quarantined(deaths: int, error: RaypoolError, at: datetime) -> Condition:
    return Condition(
        type="Quarantined",
        reason="CrashLoop",
        message=f"it died {deaths} times within {WINDOW_S / 60:.0f} minutes without doing anything; "
        f"the last time: {error.message}",
        since=at,
    )

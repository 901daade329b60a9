"""What failures lead to: waits with full jitter, and quarantine for what keeps dying."""

from datetime import UTC, datetime, timedelta

import pytest

from raypool.crashes import LOOP_DEATHS, WINDOW_S, backoff, failed
from raypool.errors import ErrorCodes, RaypoolError, create_error
from raypool.model import Supervision

START = datetime(2030, 1, 1, tzinfo=UTC)
DIED = create_error(ErrorCodes.BROWSER_INSTANCE_LOST, "it was killed")


def _after(
    errors: list[RaypoolError], *, apart: float = 1.0, before: Supervision | None = None
) -> Supervision:
    """Return what is remembered after these failures, none of which had done anything."""
    kept = before or Supervision()
    for number, error in enumerate(errors):
        at = START + timedelta(seconds=number * apart)
        kept = failed(kept, error, at, delay=3.0, progress=False)
    return kept


def test_five_deaths_without_progress_are_a_crash_loop() -> None:
    """The fifth sets it aside, with how often, how long and the last reason."""
    assert _after([DIED] * (LOOP_DEATHS - 1)).quarantined is None
    kept = _after([DIED] * LOOP_DEATHS)
    assert kept.quarantined is not None
    assert (kept.quarantined.type, kept.quarantined.reason) == ("Quarantined", "CrashLoop")
    assert "5 times within 10 minutes" in kept.quarantined.message
    assert "it was killed" in kept.quarantined.message
    assert kept.quarantined.since == START + timedelta(seconds=LOOP_DEATHS - 1)


@pytest.mark.parametrize(
    "code",
    [
        ErrorCodes.BROWSER_START_FAILED, ErrorCodes.BROWSER_CRASHED,
        ErrorCodes.BROWSER_INSTANCE_LOST, ErrorCodes.INTERNAL_ERROR,
    ],
)  # fmt: skip
def test_what_speaks_against_the_business_counts(code: ErrorCodes) -> None:
    """A browser that does not come up, or dies, or an actor that does."""
    assert len(_after([create_error(code, "x")] * 3).deaths) == 3


@pytest.mark.parametrize(
    "code",
    [
        ErrorCodes.SESSION_LOCKED, ErrorCodes.SESSION_NOT_FOUND, ErrorCodes.STORAGE_UNAVAILABLE,
        ErrorCodes.STORAGE_READ_ONLY, ErrorCodes.STORAGE_FULL, ErrorCodes.NETWORK_RAY_UNREACHABLE,
        ErrorCodes.BROWSER_NOT_FOUND, ErrorCodes.RATE_LIMIT_CAPACITY,
    ],
)  # fmt: skip
def test_what_speaks_against_something_else_never_counts(code: ErrorCodes) -> None:
    """A lease that another holds, Redis, a node that was lost, a machine without Chromium."""
    kept = _after([create_error(code, "x")] * 50)
    assert (kept.deaths, kept.quarantined) == ((), None)
    assert kept.failures == 50


def test_deaths_far_apart_are_no_loop() -> None:
    """Only those within ten minutes count, and older ones are not kept."""
    kept = _after([DIED] * 50, apart=WINDOW_S / (LOOP_DEATHS - 1))
    assert kept.quarantined is None
    assert len(kept.deaths) == LOOP_DEATHS - 1


def test_progress_makes_what_went_before_no_loop() -> None:
    """A life that did something begins the count anew."""
    before = _after([DIED] * (LOOP_DEATHS - 1))
    at = START + timedelta(seconds=60)
    kept = failed(before, DIED, at, delay=0.0, progress=True)
    assert kept == Supervision(failures=1, deaths=(at,), retry_at=at)


def test_other_failures_between_deaths_do_not_hide_a_loop() -> None:
    """A lease or an outage in between is neither a death nor progress."""
    away = create_error(ErrorCodes.STORAGE_UNAVAILABLE, "away")
    kept = _after([DIED, away] * LOOP_DEATHS)
    assert kept.quarantined is not None


def test_the_next_try_is_kept_with_the_failure() -> None:
    """Whoever supervises next can sit out what is left of the wait."""
    kept = _after([DIED, DIED])
    assert kept.failures == 2
    assert kept.retry_at == START + timedelta(seconds=1 + 3)


@pytest.mark.parametrize(
    ("failures", "ceiling"), [(1, 1), (2, 2), (5, 16), (9, 256), (10, 300), (10_000, 300)]
)
def test_backoff_has_full_jitter(failures: int, ceiling: float) -> None:
    """Anything between nothing and 1 s, 2 s, 4 s … 300 s: a thousand that failed together spread."""
    assert backoff(failures, 0.0) == 0.0
    assert backoff(failures, 0.25) == ceiling / 4
    assert backoff(failures, 0.999999) == pytest.approx(ceiling, rel=1e-5)

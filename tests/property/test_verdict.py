"""What holds for every incarnation that a janitor may find."""

import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from raypool.browser.ledger import read_deadline, read_ledger
from raypool.browser.verdict import (
    GRACE_S,
    BrowserState,
    Found,
    Keep,
    Kill,
    OwnerState,
    verdict,
)

moments = st.floats(0, 1e9)
founds = st.builds(
    Found,
    st.sampled_from(OwnerState),
    st.sampled_from(BrowserState),
    st.none() | moments,
    st.booleans(),
)


def killed(found: Found, now: float) -> bool:
    return isinstance(verdict(found, now), Kill)


@given(founds, moments)
def test_a_healthy_incarnation_is_never_touched(found: Found, now: float) -> None:
    """Owner runs, deadline ahead or none: nothing that the browser does can cost its life."""
    ahead = found.deadline is None or now <= found.deadline
    if found.owner is OwnerState.RUNNING and ahead and not found.condemned:
        assert verdict(found, now) == Keep()


@given(founds, moments)
def test_no_browser_runs_on_without_a_right(found: Found, now: float) -> None:
    """A running browser whose owner is dead, or whose deadline passed a grace ago, is killed."""
    over = found.deadline is not None and now > found.deadline + GRACE_S
    if found.browser is BrowserState.RUNNING and (found.owner is OwnerState.DEAD or over):
        assert killed(found, now)


@given(founds, moments)
def test_a_running_browser_is_the_worst_case(found: Found, now: float) -> None:
    """What is spared while it runs is spared when it stands still or is gone: no need to look."""
    worst = Found(found.owner, BrowserState.RUNNING, found.deadline, found.condemned)
    if not killed(worst, now):
        assert not killed(found, now)


@given(founds, moments, st.floats(0, 1e6))
def test_time_pardons_nobody(found: Found, now: float, later: float) -> None:
    """What must go now must go later as well, unless something about it changed."""
    if killed(found, now):
        assert killed(found, now + later)


@given(founds, moments)
def test_a_renewed_lease_saves_a_browser(found: Found, now: float) -> None:
    """With a living owner a deadline ahead is enough."""
    renewed = Found(found.owner, found.browser, now + 1)
    assert killed(renewed, now) == (found.owner is OwnerState.DEAD)


@given(st.binary(max_size=300))
def test_no_bytes_break_the_reader(data: bytes) -> None:
    """Whatever is in the files of a directory, reading gives a value or none."""
    with tempfile.TemporaryDirectory() as name:
        for file in ("owner.json", "deadline"):
            (Path(name) / file).write_bytes(data)
        read_ledger(Path(name))
        read_deadline(Path(name))

"""When a node's janitor lets a browser live, case by case."""

import pytest

from raypool.browser.verdict import (
    GRACE_S,
    BrowserState,
    Found,
    Keep,
    Kill,
    OwnerState,
    verdict,
)

AT = 100.0
RUNS, FROZEN, GONE = BrowserState.RUNNING, BrowserState.FROZEN, BrowserState.GONE


@pytest.mark.parametrize("browser", BrowserState)
@pytest.mark.parametrize("deadline", [None, AT + 1, AT - 1])
def test_nothing_outlives_its_owner(browser: BrowserState, deadline: float | None) -> None:
    """Whatever the browser does and however long the lease would have lasted."""
    assert verdict(Found(OwnerState.DEAD, browser, deadline), AT) == Kill("its owner is dead")


@pytest.mark.parametrize("browser", [RUNS, FROZEN])
def test_a_stopped_owner_has_until_its_deadline(browser: BrowserState) -> None:
    """It can do nothing itself any more, so there is no grace."""
    found = Found(OwnerState.STOPPED, browser, AT)
    assert verdict(found, AT) == Keep()
    assert verdict(found, AT + 0.001) == Kill("its owner is stopped and past its deadline")


def test_an_owner_that_runs_takes_its_browser_off_line_itself() -> None:
    """A little late is allowed; then its keeper has failed."""
    found = Found(OwnerState.RUNNING, RUNS, AT)
    assert verdict(found, AT + GRACE_S) == Keep()
    assert verdict(found, AT + GRACE_S + 0.001) == Kill("it ran on past its owner's deadline")


def test_off_line_is_not_dead() -> None:
    """A frozen browser harms nobody: its owner decides, after an hour too."""
    assert verdict(Found(OwnerState.RUNNING, FROZEN, AT), AT + 3600) == Keep()


@pytest.mark.parametrize("owner", [OwnerState.RUNNING, OwnerState.STOPPED])
def test_no_deadline_yet_is_no_crime(owner: OwnerState) -> None:
    """An incarnation that is just starting has none."""
    assert verdict(Found(owner, RUNS), AT) == Keep()


@pytest.mark.parametrize("owner", [OwnerState.RUNNING, OwnerState.STOPPED])
def test_without_a_browser_there_is_nothing_to_kill(owner: OwnerState) -> None:
    """A living owner keeps its directory."""
    assert verdict(Found(owner, GONE, AT), AT + 3600) == Keep()


@pytest.mark.parametrize("owner", [OwnerState.RUNNING, OwnerState.STOPPED])
@pytest.mark.parametrize("browser", BrowserState)
def test_what_the_supervisor_gave_up_goes(owner: OwnerState, browser: BrowserState) -> None:
    """Whether or not its lease would last."""
    found = Found(owner, browser, AT + 60, condemned=True)
    assert verdict(found, AT) == Kill("its supervisor gave it up")

"""The table of phases has no hole and no dead end, and nothing gets round it."""

import itertools

import pytest

from raypool.errors import ErrorCodes, InternalError
from raypool.phase import TRANSITIONS, Phase, transition

PAIRS = list(itertools.product(Phase, Phase))


def _reachable(start: Phase) -> set[Phase]:
    found, edge = {start}, {start}
    while edge:
        edge = {then for now in edge for then in TRANSITIONS[now]} - found
        found |= edge
    return found


def test_every_phase_has_a_row() -> None:
    """The table answers for every phase, and only for phases."""
    assert set(TRANSITIONS) == set(Phase)
    assert all(then in Phase for row in TRANSITIONS.values() for then in row)


@pytest.mark.parametrize("phase", Phase)
def test_no_phase_is_out_of_reach_or_a_trap(phase: Phase) -> None:
    """Every phase can be reached from nothing, and nothing can be reached from every phase."""
    assert phase in _reachable(Phase.ABSENT)
    assert Phase.ABSENT in _reachable(phase)
    assert Phase.READY in _reachable(phase)


@pytest.mark.parametrize(("now", "then"), PAIRS)
def test_only_the_table_decides(now: Phase, then: Phase) -> None:
    """A listed move and staying are allowed; any other is a bug, named with both phases."""
    if then is now or then in TRANSITIONS[now]:
        assert transition(now, then) is then
        return
    with pytest.raises(InternalError, match=f"from {now} to {then}$") as caught:
        transition(now, then)
    assert caught.value.code is ErrorCodes.INTERNAL_ILLEGAL_TRANSITION
    assert not caught.value.retryable


def test_an_illegal_move_changes_nothing() -> None:
    """Whoever assigns the result keeps the old phase when the move is refused."""
    phase, before = Phase.BACKOFF, {now: set(row) for now, row in TRANSITIONS.items()}
    with pytest.raises(InternalError):
        phase = transition(phase, Phase.READY)
    assert phase is Phase.BACKOFF
    assert {now: set(row) for now, row in TRANSITIONS.items()} == before


def test_the_rules_that_matter_most() -> None:
    """What would make two browsers or lose one is not in the table, whatever else changes."""
    for occupied in (Phase.READY, Phase.RECOVERING, Phase.STOPPING):
        assert Phase.STARTING not in TRANSITIONS[occupied]  # a second actor beside the first
    assert Phase.READY not in TRANSITIONS[Phase.STOPPING]  # back from a stop that was ordered
    # Alive without a start:
    for out in (Phase.BACKOFF, Phase.HIBERNATED, Phase.QUARANTINED):
        assert TRANSITIONS[out] <= {Phase.STARTING, Phase.QUARANTINED, Phase.ABSENT}
    into = {now for now, row in TRANSITIONS.items() if Phase.HIBERNATED in row}
    assert into == {Phase.STOPPING}  # never without a stop in order

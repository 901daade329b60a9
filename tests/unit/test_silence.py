"""An instance that does not answer is asked after at its node: silence alone is no death."""

import pytest

from actors.silence import PATIENCE_S, SUSPECT_AFTER_S
from raypool.phase import Phase
from tests.unit.fleet_world import Stage, turns

SOME_S = 2.0


@pytest.fixture
async def stage() -> Stage:
    """A business that runs and then says nothing any more."""
    stage = Stage()
    await stage.want("a")
    await stage.settle()
    stage.now += 10
    stage.world.vitals["a"] = None
    return stage


async def _silent_for(stage: Stage, seconds: float) -> None:
    until = stage.now + seconds
    while stage.now < until:
        await stage.ask()
        await stage.settle()
        stage.now += SOME_S


async def test_a_silent_instance_whose_process_runs_gets_time(stage: Stage) -> None:
    """After some seconds its phase is unknown; nothing is started beside it, nothing is ended."""
    stage.world.states["a"] = "running"
    await _silent_for(stage, SUSPECT_AFTER_S + SOME_S)
    assert stage.phase("a") is Phase.UNKNOWN
    (life,) = stage.world.lives
    assert set(stage.world.asked_after) == {("n1", life.holder.id)}
    assert stage.world.killed == []
    stage.world.vitals.clear()
    await stage.ask()
    assert stage.phase("a") is Phase.READY
    assert len(stage.world.lives) == 1


async def test_one_that_stays_silent_is_ended(stage: Stage) -> None:
    """Its process runs and does nothing: the node kills it, so the lease can be taken over."""
    stage.world.states["a"] = "running"
    await _silent_for(stage, PATIENCE_S - SOME_S)
    assert len(stage.world.lives) == 1
    stage.world.vitals["a"] = None
    await _silent_for(stage, 3 * SOME_S)
    first, second = stage.world.lives
    assert second.supersedes == first.holder.id


@pytest.mark.parametrize("state", ["stopped", "dead"])
async def test_one_whose_process_is_stopped_or_gone_is_ended_at_once(
    stage: Stage, state: str
) -> None:
    """Its node knows: nobody waits for what cannot answer."""
    stage.world.states["a"] = state
    await stage.ask()
    stage.world.vitals.clear()
    await stage.settle()
    first, second = stage.world.lives
    assert second.supersedes == first.holder.id
    assert stage.phase("a") is Phase.READY


async def test_a_silent_node_says_nothing_about_its_instances(stage: Stage) -> None:
    """When the node cannot be asked either, the instance is unknown for as long as that lasts."""
    await _silent_for(stage, 10 * PATIENCE_S)
    assert stage.phase("a") is Phase.UNKNOWN
    assert len(stage.world.lives) == 1
    assert stage.world.killed == []


async def test_an_end_that_the_node_cannot_vouch_for_supersedes_nothing(stage: Stage) -> None:
    """Something of the old owner may be left: its lease must expire first."""
    stage.world.states["a"], stage.world.ends = "stopped", False
    await stage.ask()
    await stage.settle()
    assert len(stage.world.lives) == 1
    assert stage.phase("a") is Phase.BACKOFF


async def test_a_stop_whose_answer_was_lost_is_seen(stage: Stage) -> None:
    """The instance says that it has stopped: it is replaced, since it is wanted."""
    stage.world.vitals["a"] = {"phase": Phase.ABSENT}
    await stage.ask()
    stage.world.vitals.clear()
    await stage.settle()
    assert len(stage.world.lives) == 2
    assert stage.phase("a") is Phase.READY


async def test_a_browser_that_is_being_rebuilt_is_told_from_one_that_is_ready(stage: Stage) -> None:
    """The phase is what the instance says, each time that it is asked."""
    for phase in (Phase.RECOVERING, Phase.READY):
        stage.world.vitals["a"] = {"phase": phase}
        await stage.ask()
        assert stage.phase("a") is phase


async def test_a_silent_instance_holds_nobody_up(stage: Stage) -> None:
    """While one keeps its asker waiting the others are heard; it is not asked twice meanwhile."""
    await stage.want("b")
    await stage.settle()
    stage.world.silences.clear()
    for phase in (Phase.RECOVERING, Phase.READY):
        stage.world.vitals["b"] = {"phase": phase}
        stage.asking.ask_all(stage.reconciler.living())
        await turns()
        assert stage.phase("b") is phase
    assert stage.world.asked.count("a") == 1
    stage.world.states["a"] = "stopped"
    stage.world.silences.set()
    await turns()
    stage.world.vitals.clear()
    await stage.settle()
    assert [life.business_id for life in stage.world.lives] == ["a", "b", "a"]


async def test_a_question_that_fails_is_asked_again(stage: Stage) -> None:
    """The node's word cannot be had in one round: the next one gets it."""
    owner_state, failures = stage.world.owner_state, [OSError("no such node"), None]

    async def failing_once(node_id: str, holder_id: str) -> str | None:
        if error := failures.pop(0):
            raise error
        return await owner_state(node_id, holder_id)

    stage.world.owner_state = failing_once  # type: ignore[method-assign]
    stage.world.states["a"] = "stopped"
    for _ in range(2):
        stage.asking.ask_all(stage.reconciler.living())
        await turns()
    assert failures == []
    stage.world.vitals.clear()
    await stage.settle()
    assert len(stage.world.lives) == 2


# -- those that a new supervisor cannot hear -----------------------------------------------------


async def _adopted_by_the_next(stage: Stage) -> None:
    stage.new_supervisor()
    stage.world.strangers["a"] = None
    await stage.reconciler.adopt()


@pytest.mark.parametrize("state", ["stopped", "dead"])
async def test_a_stranger_is_asked_after_where_its_lease_says(stage: Stage, state: str) -> None:
    """The supervisor died, and the owner with it or before: the lease names node and holder."""
    stage.world.states["a"] = state
    await _adopted_by_the_next(stage)
    stage.world.strangers.clear()
    await stage.settle()
    first, second = stage.world.lives
    assert stage.world.asked_after == [("n1", first.holder.id)]
    assert second.supersedes == first.holder.id
    assert stage.phase("a") is Phase.READY


async def test_a_stranger_whose_process_runs_gets_time(stage: Stage) -> None:
    """As much as one that is known, and no more."""
    stage.world.states["a"] = "running"
    await _adopted_by_the_next(stage)
    await _silent_for(stage, PATIENCE_S - 2 * SOME_S)
    assert stage.phase("a") is Phase.UNKNOWN
    assert len(stage.world.lives) == 1
    await _silent_for(stage, 3 * SOME_S)
    stage.world.strangers.clear()
    await _silent_for(stage, SOME_S)
    assert len(stage.world.lives) == 2


async def test_a_stranger_without_a_lease_may_not_act_and_is_replaced(stage: Stage) -> None:
    """It could not renew: its browser is off line, and nobody knows on which node to ask."""
    await stage.store.leases.release(stage.world.held["a"])
    await _adopted_by_the_next(stage)
    await _silent_for(stage, PATIENCE_S - 2 * SOME_S)
    assert len(stage.world.lives) == 1
    await _silent_for(stage, 3 * SOME_S)
    stage.world.strangers.clear()
    await _silent_for(stage, SOME_S)
    assert len(stage.world.lives) == 2
    assert stage.world.lives[1].supersedes is None

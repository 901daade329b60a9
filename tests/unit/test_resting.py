"""Instances that nobody uses are hibernated, a call wakes them, and a drained node is left."""

import pytest

from raypool.errors import InstanceNotReady, RateLimitError
from raypool.model import Desired
from raypool.phase import Phase
from raypool.room import NodeRoom
from tests.unit.fleet_world import Stage, turns

IDLE = 60.0


@pytest.fixture
async def stage() -> Stage:
    return Stage(idle_after=IDLE)


async def _idle(stage: Stage, **idle_for: float) -> None:
    """Have the instances say for how long nobody has used them."""
    for business_id, seconds in idle_for.items():
        stage.world.vitals[business_id] = {"idle_for": seconds}
    await stage.ask()


async def _running(stage: Stage, *business_ids: str) -> None:
    await stage.want(*business_ids)
    await stage.settle()
    assert stage.world.living == sorted(business_ids)


async def test_what_is_idle_for_long_is_hibernated(stage: Stage) -> None:
    """Nothing of it is left but the record, and that says so: no supervisor starts it again."""
    await _running(stage, "a", "b")
    await _idle(stage, a=IDLE, b=1)
    await stage.settle()
    assert stage.world.rested == ["a"]
    assert stage.world.living == ["b"]
    assert (await stage.session("a")).desired is Desired.HIBERNATED
    assert await stage.store.leases.get("a") is None
    stage.new_supervisor()
    await stage.reconciler.adopt()
    await stage.settle()
    assert stage.world.living == ["b"]


async def test_a_spec_s_own_time_comes_first(stage: Stage) -> None:
    """It may be longer or shorter than the settings say."""
    await stage.store.sessions.ensure_active("a", idle_after=1000 * IDLE)
    await stage.store.sessions.ensure_active("b", idle_after=10)
    await _running(stage, "a", "b")
    await _idle(stage, a=100 * IDLE, b=10)
    await stage.settle()
    assert stage.world.living == ["a"]


async def test_one_that_is_used_in_that_moment_is_left_alone(stage: Stage) -> None:
    """It declines, and is not told again before it says that it is idle."""
    await _running(stage, "a")
    stage.world.declines = True
    await _idle(stage, a=IDLE)
    await stage.settle()
    await stage.settle()
    assert stage.world.rested == ["a"]
    assert stage.phase("a") is Phase.READY
    assert (await stage.session("a")).desired is Desired.RUNNING
    await stage.ask()
    await stage.settle()
    assert stage.world.rested == ["a", "a"]


async def test_a_call_wakes_it(stage: Stage) -> None:
    """It is desired to run again, and ready when the caller goes on."""
    await stage.want("a", desired=Desired.HIBERNATED)
    assert await stage.settle() is None
    assert stage.world.lives == []
    calling = await stage.waiting(stage.reconciler.await_ready("a", 30))
    await stage.settle()
    assert (await calling).phase is Phase.READY
    assert (await stage.session("a")).desired is Desired.RUNNING
    await _idle(stage, a=1)
    await stage.settle()
    assert stage.phase("a") is Phase.READY


async def test_a_call_in_the_middle_of_the_stop_wakes_it_after(stage: Stage) -> None:
    """It is not ready for that caller until the next life is."""
    await _running(stage, "a")
    await _idle(stage, a=IDLE)
    stage.world.hold.clear()
    await stage.reconciler.reconcile()
    await turns()
    calling = await stage.waiting(stage.reconciler.await_ready("a", 30))
    await stage.settle()
    assert not calling.done()
    stage.world.hold.set()
    await stage.settle()
    assert (await calling).phase is Phase.READY
    assert len(stage.world.lives) == 2
    assert (await stage.session("a")).desired is Desired.RUNNING


async def test_what_a_person_stopped_meanwhile_stays_stopped(stage: Stage) -> None:
    """The rest was ordered before; its end does not say that a call may wake it."""
    await _running(stage, "a")
    await _idle(stage, a=IDLE)
    stage.world.hold.clear()
    await stage.reconciler.reconcile()
    await turns()
    await stage.want("a", desired=Desired.STOPPED)
    stage.world.hold.set()
    await stage.settle()
    assert (await stage.session("a")).desired is Desired.STOPPED
    assert stage.world.living == []
    assert stage.reconciler.overview() == []


async def test_what_cannot_be_noted_is_wanted_still(stage: Stage) -> None:
    """With the store away when it has stopped, it is started again: nobody was to know."""
    await _running(stage, "a")
    await _idle(stage, a=IDLE)
    stage.world.hold.clear()
    await stage.reconciler.reconcile()
    await turns()
    stage.records.away = True
    stage.world.hold.set()
    await turns()
    assert stage.world.living == []
    stage.records.away = False
    await stage.settle()
    assert stage.phase("a") is Phase.READY


# -- places --------------------------------------------------------------------------------------


async def test_the_one_idle_longest_gives_way_to_a_caller(stage: Stage) -> None:
    """One and no other, also while it takes its time to go; then the caller has its place."""
    await _running(stage, "a", "b", "c")
    stage.offer(NodeRoom("n1", 3))
    await _idle(stage, a=10, b=30, c=20)
    await stage.want("x")
    await stage.settle()
    assert stage.world.rested == []
    assert stage.row("x")["no_room"]
    stage.world.hold.clear()
    calling = await stage.waiting(stage.reconciler.await_ready("x", 30))
    await stage.settle()
    assert stage.world.rested == ["b"]
    stage.world.hold.set()
    await stage.settle()
    assert (await calling).phase is Phase.READY
    assert stage.world.living == ["a", "c", "x"]
    assert stage.world.rested == ["b"]


async def test_a_caller_for_whom_nobody_gives_way_is_told_so(stage: Stage) -> None:
    """Every browser that may live is in use: a capacity error, to be retried."""
    await _running(stage, "a")
    stage.offer(NodeRoom("n1", 1))
    await stage.want("x")
    await stage.settle()
    calling = await stage.waiting(stage.reconciler.await_ready("x", 0.05))
    await stage.settle()
    with pytest.raises(RateLimitError, match="no place for x") as caught:
        await calling
    assert caught.value.retryable
    assert stage.world.living == ["a"]


async def test_a_caller_of_what_nobody_supervises_waits_no_longer_than_it_said(
    stage: Stage,
) -> None:
    """A record that wants it stopped is not overruled by waiting."""
    await stage.want("a", desired=Desired.STOPPED)
    with pytest.raises(InstanceNotReady, match="it is absent"):
        await stage.reconciler.await_ready("a", 0.05)
    assert (await stage.session("a")).desired is Desired.STOPPED


# -- draining ------------------------------------------------------------------------------------


async def test_a_draining_node_is_left_for_another(stage: Stage) -> None:
    """Each is stopped in order, then comes up elsewhere; others notice nothing."""
    stage.offer(NodeRoom("n1", 4), NodeRoom("n2", 4))
    await _running(stage, "a", "b")
    stage.world.node_id = "n2"
    await stage.want("c")
    await stage.settle()
    stage.offer(NodeRoom("n1", 4, draining=True), NodeRoom("n2", 4))
    await stage.settle()
    assert sorted(stage.world.stopped) == ["a", "b"]
    assert {name: stage.row(name)["node_id"] for name in "abc"} == dict.fromkeys("abc", "n2")
    assert stage.world.living == ["a", "b", "c"]
    assert len(stage.world.lives) == 5


async def test_draining_tells_how_each_stop_went(stage: Stage) -> None:
    """Of those that lived there; they are wanted still."""
    await _running(stage, "a", "b")
    stage.world.node_id = "n2"
    await stage.want("c")
    await stage.settle()
    stage.offer(NodeRoom("n1", 4, draining=True), NodeRoom("n2", 4))
    emptying = await stage.waiting(stage.reconciler.empty("n1", 5))
    await stage.settle()
    results = {result.business_id: result.saved for result in await emptying}
    assert results == {"a": True, "b": True}
    assert stage.world.living == ["a", "b", "c"]


async def test_no_more_start_elsewhere_than_there_is_room_for(stage: Stage) -> None:
    """What left the draining node waits for a place, and takes nobody else's."""
    stage.offer(NodeRoom("n1", 4), NodeRoom("n2", 2))
    await _running(stage, "a", "b", "c")
    stage.world.node_id = "n2"
    await stage.want("x")
    await stage.settle()
    stage.world.hold_starts.clear()
    stage.offer(NodeRoom("n1", 4, draining=True), NodeRoom("n2", 2))
    await stage.settle()
    assert len(stage.world.lives) == 5  # one of the three is on its way
    stage.world.hold_starts.set()
    await stage.settle()
    assert len(stage.world.living) == 2
    assert "x" in stage.world.living
    assert len(stage.world.lives) == 5

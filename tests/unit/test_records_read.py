"""Records are read when they changed; one that is missing, or all of them, stops nothing."""

import pytest

from raypool.errors import RaypoolError
from raypool.model import Desired
from raypool.phase import Phase
from tests.unit.fleet_world import Stage

MANY = 1000


@pytest.fixture
async def stage() -> Stage:
    return Stage()


async def test_a_pass_costs_what_changed(stage: Stage) -> None:
    """With a thousand that rest and ten that changed, ten are read; with none, none."""
    resting = [f"h{number}" for number in range(MANY)]
    some = await stage.store.sessions.ensure_active("h", desired=Desired.HIBERNATED)
    for business_id in resting:  # one by one would take the twin a long time
        copy = some.model_copy(update={"id": business_id, "business_id": business_id})
        stage.store.sessions._records.sessions[business_id] = copy
    await stage.want("a", "b")
    await stage.settle()
    stage.records.read.clear()
    await stage.settle()
    assert stage.records.read.total() == 0
    await stage.want(*resting[:10])
    await stage.reconciler.reconcile()
    assert stage.records.read.total() == 10
    assert set(stage.records.read) == set(resting[:10])
    for _ in range(4):
        await stage.settle()
    assert len(stage.world.living) == 12


async def test_the_first_pass_reads_what_is_desired_only(stage: Stage) -> None:
    """A new supervisor does not look at what rests."""
    for number in range(50):
        await stage.store.sessions.create_session(f"h{number}")
    await stage.want("a")
    stage.new_supervisor()
    await stage.reconciler.reconcile()
    assert dict(stage.records.read) == {"a": 1}
    await stage.settle()


async def test_a_lost_event_is_made_up_for(stage: Stage) -> None:
    """All that is desired is read now and then, and whenever the stream may have missed some."""
    await stage.want("a")
    await stage.settle()
    await stage.store.sessions.ensure_active("b", desired=Desired.RUNNING)
    await stage.settle()
    assert stage.world.living == ["a"]
    stage.reconciler.note([], resync=True)
    await stage.settle()
    assert stage.world.living == ["a", "b"]
    await stage.store.sessions.ensure_active("a", desired=Desired.STOPPED)
    stage.now += 60
    await stage.settle()
    assert stage.world.living == ["b"]


@pytest.mark.parametrize("resync", [False, True])
async def test_a_failed_read_of_the_records_stops_nobody(stage: Stage, *, resync: bool) -> None:
    """The pass is given up; it must not look like nothing is wanted. What changed is not forgotten."""
    await stage.want("a")
    await stage.settle()
    await stage.want("b")
    stage.reconciler.note([], resync=resync)
    stage.records.away = True
    for _ in range(3):
        with pytest.raises(RaypoolError):
            await stage.reconciler.reconcile()
    assert stage.world.stopped == []
    assert stage.phase("a") is Phase.READY
    stage.records.away = False
    await stage.settle()
    assert stage.world.living == ["a", "b"]


@pytest.mark.parametrize("fresh", [False, True])
async def test_an_emptied_store_stops_nothing(stage: Stage, *, fresh: bool) -> None:
    """However long it stays empty, also under a supervisor that came after the loss."""
    names = [f"b{number}" for number in range(4)]
    await stage.want(*names)
    await stage.settle()
    stage.store.lose()
    if fresh:
        stage.new_supervisor()
        await stage.reconciler.adopt()
    for _ in range(10):
        stage.reconciler.note(names, resync=True)
        await stage.settle()
        stage.now += 60
    assert stage.world.stopped == []
    assert stage.world.living == names
    assert len(stage.world.lives) == 4


async def test_records_that_are_written_again_are_obeyed_again(stage: Stage) -> None:
    """Once they are there they say what is wanted, as before."""
    names = [f"b{number}" for number in range(4)]
    await stage.want(*names)
    await stage.settle()
    kept = [await stage.session(name) for name in names]
    stage.store.lose()
    await stage.settle()
    for session, life in zip(kept, stage.world.lives, strict=True):
        token = stage.world.held[life.business_id].token
        await stage.store.sessions.rewrite_lost(session, token)
    stage.reconciler.note(names)
    await stage.settle()
    await stage.want(names[0], desired=Desired.STOPPED)
    await stage.settle()
    assert stage.world.stopped == names[:1]


async def test_one_that_was_deleted_goes_after_a_while(stage: Stage) -> None:
    """One of many that is missing was deleted: a minute later its instance is stopped."""
    names = [f"b{number}" for number in range(6)]
    await stage.want(*names)
    for _ in range(3):
        await stage.settle()
    session = await stage.session("b0")
    await stage.store.sessions.delete_session(session.id)
    stage.reconciler.note(["b0"])
    await stage.settle()
    assert stage.world.stopped == []
    stage.now += 61
    await stage.settle()
    assert stage.world.stopped == ["b0"]
    assert stage.world.living == names[1:]


async def test_a_change_wakes_the_supervisor_once(stage: Stage) -> None:
    """News of nothing do not."""
    wakes = stage.wakes
    stage.reconciler.note([])
    assert stage.wakes == wakes
    stage.reconciler.note(["a"])
    assert stage.wakes == wakes + 1


async def test_what_is_wanted_anew_is_left_to_whoever_was_asked() -> None:
    """Every cluster hears of it; the one with the caller begins at once, the others a while later."""
    stage = Stage(courtesy=8.0)
    await stage.want("mine", "theirs", "nobodys")
    await stage.settle()
    assert stage.world.living == ["mine", "nobodys", "theirs"], "the first look finds no callers"
    await stage.want("asked", "other")
    await stage.settle()
    assert {"asked", "other"} & set(stage.world.living) == set()
    call = await stage.waiting(stage.reconciler.await_ready("asked", 10.0))
    await stage.settle()
    assert (await call).phase is Phase.READY
    await stage.hold_elsewhere("other")
    stage.now += 8.1
    await stage.settle()
    assert "other" not in stage.world.living
    assert stage.row("other")["error"] is not None


async def test_what_is_assigned_here_is_not_left_to_others() -> None:
    """Nobody else may run it."""
    stage = Stage(courtesy=8.0)
    await stage.settle()
    session = await stage.store.sessions.ensure_active("a", desired=Desired.RUNNING)
    await stage.store.sessions.update_session(session.id, assigned_cluster="here")
    stage.reconciler.note(["a"])
    await stage.settle()
    assert stage.world.living == ["a"]

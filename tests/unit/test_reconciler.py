"""The reconciler brings what lives to what the records want, whatever happens in between."""

import pytest

from raypool.errors import ErrorCodes, RaypoolError, SessionLocked, SessionNotFound, create_error
from raypool.model import Desired, Supervision
from raypool.phase import Phase
from tests.unit.fleet_world import Actor, Stage, turns


@pytest.fixture
async def stage() -> Stage:
    return Stage()


async def test_what_is_desired_runs_and_a_settled_world_needs_nothing(stage: Stage) -> None:
    """Each desired business gets one life; then there is nothing to do."""
    await stage.want("a", "b")
    assert await stage.settle() is None
    assert sorted(life.business_id for life in stage.world.lives) == ["a", "b"]
    assert stage.phase("a") is stage.phase("b") is Phase.READY


# -- deaths --------------------------------------------------------------------------------------


async def test_a_death_is_followed_by_the_next_incarnation(stage: Stage) -> None:
    """A steady instance that dies is started again at once, superseding its dead holder."""
    await stage.want("a")
    await stage.settle()
    stage.now += 10
    stage.world.die("a")
    await stage.settle()
    first, second = stage.world.lives
    assert second.supersedes == first.holder.id
    assert second.holder.id != first.holder.id
    assert second.number == first.number + 1
    assert stage.phase("a") is Phase.READY


async def test_a_death_after_work_is_never_waited_for(stage: Stage) -> None:
    """However often it comes: what has done something in between is in no crash loop."""
    await stage.want("a")
    await stage.settle()
    for number in range(10):
        stage.world.vitals["a"] = {"commands": 1}
        await stage.ask()
        stage.now += 2
        stage.world.die("a")
        await stage.settle()
        assert len(stage.world.lives) == number + 2
        assert stage.phase("a") is Phase.READY


async def test_a_death_that_nobody_saw_is_vouched_for_by_the_node(stage: Stage) -> None:
    """It died with the supervisor that watched it: the node ends what is left, nobody waits."""
    await stage.want("a")
    await stage.settle()
    first = stage.world.lives[0]
    stage.world.states["a"] = "dead"
    stage.now += 10
    stage.world.die("a", certain=False)
    await stage.settle()
    assert stage.world.lives[1].supersedes == first.holder.id


async def test_a_holder_whose_process_runs_is_left_alone(stage: Stage) -> None:
    """It may be another fleet's of the same name: its lease must end by itself."""
    await stage.want("a")
    await stage.settle()
    stage.world.states["a"] = "running"
    stage.now += 10
    stage.world.die("a", certain=False)
    await stage.settle()
    assert len(stage.world.lives) == 1
    assert stage.phase("a") is Phase.BACKOFF


async def test_an_owner_that_renews_on_a_lost_node_is_fenced_off(stage: Stage) -> None:
    """Its raylet hangs, it does not: its lease goes to a fence, and the next life waits that out."""
    await stage.want("a")
    await stage.settle()
    stage.world.ends, lost = False, stage.world.held["a"]
    stage.now += 10
    stage.world.die("a", certain=False)
    stage.world.lost_nodes = {lost.holder.node_id}
    for _ in range(4):
        assert await stage.store.leases.renew(lost)
        stage.now += 6
        await stage.settle()
    held = await stage.store.leases.get("a")
    assert held is not None
    assert held.holder.kind == "fence"
    assert not await stage.store.leases.renew(lost)
    assert len(stage.world.lives) == 1
    for _ in range(4):
        stage.now += 6
        await stage.settle()
    assert len(stage.world.lives) == 2


async def test_a_death_that_nobody_can_vouch_for_supersedes_nothing(stage: Stage) -> None:
    """When only the node was lost, the old owner may still act: its lease must expire first."""
    stage.world.ends = False
    await stage.want("a")
    await stage.settle()
    stage.now += 10
    stage.world.die("a", certain=False)
    await stage.settle()
    assert len(stage.world.lives) == 1
    assert stage.phase("a") is Phase.BACKOFF
    await stage.store.leases.release(stage.world.held["a"])
    stage.now += 6
    await stage.settle()
    assert stage.world.lives[1].supersedes is None


async def test_a_failed_start_waits_its_turn_and_is_tried_again(stage: Stage) -> None:
    """After a failure the next try comes after the backoff, not before."""
    stage.world.failures = [create_error(ErrorCodes.BROWSER_START_FAILED, "no memory")]
    await stage.want("a")
    assert await stage.settle() == 1.0
    assert stage.phase("a") is Phase.BACKOFF
    stage.now += 0.9
    await stage.settle()
    assert len(stage.world.lives) == 1
    stage.now += 0.1
    await stage.settle()
    assert stage.phase("a") is Phase.READY
    assert len(stage.world.lives) == 2


async def test_an_instance_that_dies_at_once_backs_off(stage: Stage) -> None:
    """A crash loop does not spin: dying right after ready counts as a failed start."""
    await stage.want("a")
    await stage.settle()
    stage.world.die("a")
    await stage.settle()
    assert stage.phase("a") is Phase.BACKOFF
    assert len(stage.world.lives) == 1


# -- leases --------------------------------------------------------------------------------------


async def test_a_business_that_is_held_elsewhere_costs_no_actor(stage: Stage) -> None:
    """The lease is looked at every few seconds; a caller is told who holds it."""
    lease = await stage.hold_elsewhere("a")
    await stage.want("a")
    for _ in range(5):
        delay = await stage.settle()
        assert delay is not None
        assert 0 < delay <= 6
        stage.now += delay
    assert stage.world.lives == []
    assert (await stage.session("a")).supervision == Supervision()
    with pytest.raises(SessionLocked, match="cluster elsewhere"):
        await stage.reconciler.await_ready("a", 0.02)
    await stage.store.leases.release(lease)
    stage.now += 6
    await stage.settle()
    assert stage.phase("a") is Phase.READY


async def test_a_lease_that_was_taken_at_the_last_moment_is_no_failure(stage: Stage) -> None:
    """The actor is refused instead: tried again in seconds, remembered as nothing bad."""
    stage.world.failures = [SessionLocked("held elsewhere", retry_after=900.0) for _ in range(9)]
    await stage.want("a")
    for _ in range(9):
        delay = await stage.settle()
        assert delay == pytest.approx(5.2)
        stage.now += delay
    await stage.settle()
    assert stage.phase("a") is Phase.READY
    assert (await stage.session("a")).supervision == Supervision()


# -- stops ---------------------------------------------------------------------------------------


async def test_what_is_not_desired_any_more_is_stopped(stage: Stage) -> None:
    """The record says stopped: the instance is stopped, and forgotten."""
    await stage.want("a")
    await stage.settle()
    await stage.want("a", desired=Desired.STOPPED)
    assert await stage.settle() is None
    assert stage.world.stopped == ["a"]
    assert stage.reconciler.overview() == []


async def test_what_was_handed_over_is_stopped(stage: Stage) -> None:
    """Its lease is free for the other cluster, and this one does not start it again."""
    await stage.want("a")
    await stage.settle()
    session = await stage.session("a")
    await stage.store.sessions.update_session(session.id, assigned_cluster="elsewhere")
    stage.reconciler.note(["a"])
    assert await stage.settle() is None
    assert stage.world.stopped == ["a"]
    assert await stage.store.leases.get("a") is None
    assert stage.reconciler.overview() == []


async def test_a_stop_during_a_start_waits_for_it(stage: Stage) -> None:
    """Nothing comes up behind the back of a stop: it waits for the start, then stops that."""
    stage.world.hold.clear()
    await stage.want("a")
    await stage.settle()
    assert stage.phase("a") is Phase.STARTING
    await stage.want("a", desired=Desired.STOPPED)
    await stage.settle()
    assert stage.phase("a") is Phase.STOPPING
    stage.world.hold.set()
    await stage.settle()
    assert stage.world.stopped == ["a"]
    assert stage.world.living == []


async def test_a_stop_during_a_start_that_fails_is_a_stop(stage: Stage) -> None:
    """There is nothing to stop; it is not tried again, and says that it had not come up."""
    stage.world.failures = [create_error(ErrorCodes.BROWSER_START_FAILED, "no memory")]
    stage.world.hold.clear()
    await stage.want("a")
    await stage.settle()
    await stage.want("a", desired=Desired.STOPPED)
    stopping = await stage.waiting(stage.reconciler.stop("a"))
    stage.world.hold.set()
    await stage.settle()
    result = await stopping
    assert (result.saved, result.why) == (False, "it had not come up")
    assert len(stage.world.lives) == 1
    assert stage.reconciler.overview() == []


@pytest.mark.parametrize("ready_for", [0, 10])
async def test_a_stop_in_the_moment_of_a_death_is_a_stop(stage: Stage, ready_for: float) -> None:
    """Ordered while the death is being written down; nothing comes after it."""
    await stage.want("a")
    await stage.settle()
    stage.now += ready_for
    go_on = stage.write_slowly()
    stage.world.die("a")
    await turns()
    await stage.want("a", desired=Desired.STOPPED)
    await stage.reconciler.reconcile()
    assert stage.phase("a") is Phase.STOPPING
    go_on.set()
    stage.now += 10_000
    await stage.settle()
    assert len(stage.world.lives) == 1
    assert stage.reconciler.overview() == []


async def test_a_stop_in_the_moment_of_a_failure_leaves_the_phase_to_it(
    stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    """The order that failed to start ends without a word, not with an illegal transition."""
    stage.world.failures = [create_error(ErrorCodes.BROWSER_START_FAILED, "no memory")]
    await stage.want("a")
    go_on = stage.write_slowly()
    await stage.reconciler.reconcile()
    await turns()
    await stage.want("a", desired=Desired.STOPPED)
    await stage.reconciler.reconcile()
    go_on.set()
    await stage.settle()
    assert stage.reconciler.overview() == []
    assert "order failed" not in capsys.readouterr().err


async def test_close_stops_everything_and_starts_nothing(stage: Stage) -> None:
    """Going down stops each instance and keeps what is desired in the records."""
    await stage.want("a", "b")
    await stage.settle()
    results = await stage.reconciler.close(5)
    assert sorted(result.business_id for result in results) == ["a", "b"]
    assert all(result.saved for result in results)
    await stage.settle()
    assert len(stage.world.lives) == 2
    wanted = await stage.store.sessions.list_sessions(desired=Desired.RUNNING)
    assert len(wanted) == 2


async def test_a_down_whose_caller_is_gone_is_no_down(stage: Stage) -> None:
    """The fleet goes on: what was stopped meanwhile comes back."""
    await stage.want("a")
    await stage.settle()
    stage.world.hold.clear()
    closing = await stage.waiting(stage.reconciler.close(5))
    closing.cancel()
    stage.world.hold.set()
    await stage.settle()
    assert stage.phase("a") is Phase.READY
    assert len(stage.world.lives) == 2


# -- a new supervisor ------------------------------------------------------------------------------


async def test_a_new_supervisor_adopts_what_lives(stage: Stage) -> None:
    """A ready actor is taken over as it is: no second life is begun, and its death is seen."""
    await stage.want("a")
    await stage.settle()
    stage.new_supervisor()
    await stage.reconciler.adopt()
    assert await stage.settle() is None
    (first,) = stage.world.lives
    stage.now += 10
    stage.world.die("a")
    await stage.settle()
    _, second = stage.world.lives
    assert (second.supersedes, second.number) == (first.holder.id, first.number + 1)


async def test_a_half_started_actor_is_not_adopted(stage: Stage) -> None:
    """Whoever was starting it is gone: it is killed, and a new life is begun in its place."""
    await stage.want("a")
    stage.world.strangers["a"] = {"phase": Phase.STARTING, "holder_id": "h", "session_id": "s"}
    await stage.reconciler.adopt()
    stage.world.strangers.clear()
    await stage.settle()
    assert stage.world.killed == [Actor("a", "h", "")]
    (life,) = stage.world.lives
    assert life.supersedes == "h"


async def test_unknown_is_not_absent(stage: Stage) -> None:
    """An actor that does not answer is neither replaced nor forgotten; one that answers is adopted."""
    await stage.want("a")
    await stage.settle()
    stage.new_supervisor()
    said, stage.world.strangers["a"] = stage.world.strangers["a"], None
    stage.world.states["a"] = "running"
    await stage.reconciler.adopt()
    await stage.settle()
    assert stage.phase("a") is Phase.UNKNOWN
    stage.world.strangers["a"] = said
    await stage.settle()
    assert stage.phase("a") is Phase.READY
    assert len(stage.world.lives) == 1


# -- callers ---------------------------------------------------------------------------------------


async def test_a_caller_gets_the_error_that_waiting_cannot_mend(stage: Stage) -> None:
    """await_ready raises a fatal error of its own try at once instead of waiting."""
    stage.world.failures = [create_error(ErrorCodes.BROWSER_NOT_FOUND, "no Chromium")]
    await stage.want("a")
    waiting = await stage.waiting(stage.reconciler.await_ready("a", 30))
    await stage.settle()
    with pytest.raises(RaypoolError) as caught:
        await waiting
    assert caught.value.code is ErrorCodes.BROWSER_NOT_FOUND


async def test_a_caller_of_a_business_without_a_record_does_not_wait(stage: Stage) -> None:
    """There is nothing to wait for, and nothing is remembered of it."""
    with pytest.raises(SessionNotFound):
        await stage.reconciler.await_ready("nobody", 30)
    await stage.settle()
    assert stage.reconciler.overview() == []


async def test_a_caller_in_a_hurry_shortens_the_backoff(stage: Stage) -> None:
    """Somebody waits: the next try comes a second after the last, not minutes later."""
    stage.world.failures = [create_error(ErrorCodes.STORAGE_UNAVAILABLE, "x") for _ in range(5)]
    await stage.want("a")
    for _ in range(4):
        stage.now += await stage.settle() or 0
    assert await stage.settle() == pytest.approx(16.0)
    waiting = await stage.waiting(stage.reconciler.await_ready("a", 30))
    stage.now += 1.0
    await stage.settle()
    assert (await waiting).phase is Phase.READY


async def test_an_instance_that_just_died_is_not_ready(stage: Stage) -> None:
    """Also while its death is being written down, which takes as long as the store wants."""
    await stage.want("a")
    await stage.settle()
    stage.now += 10
    go_on = stage.write_slowly()
    stage.world.die("a")
    waiting = await stage.waiting(stage.reconciler.await_ready("a", 30))
    assert not waiting.done()
    go_on.set()
    await stage.settle()
    assert (await waiting).number == 2


async def test_a_late_caller_is_told_what_the_business_waits_for(stage: Stage) -> None:
    """The phase, and the last error."""
    stage.world.failures = [create_error(ErrorCodes.BROWSER_START_FAILED, "no memory")]
    await stage.want("a")
    await stage.settle()
    with pytest.raises(RaypoolError, match=r"it is backoff \(last error: no memory\)") as caught:
        await stage.reconciler.await_ready("a", 0.02)
    assert caught.value.code is ErrorCodes.BROWSER_INSTANCE_NOT_READY


async def test_starts_are_bounded(stage: Stage) -> None:
    """Twenty businesses at once do not become twenty starts at once."""
    stage.world.hold.clear()
    await stage.want(*(f"b{number}" for number in range(20)))
    await stage.settle()
    assert len(stage.world.lives) == 4
    stage.world.hold.set()
    for _ in range(6):
        await stage.settle()
    assert len(stage.world.lives) == 20

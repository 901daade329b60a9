"""A crash loop is set aside, whoever supervises, until a person releases it."""

import pytest

from raypool.crashes import LOOP_DEATHS
from raypool.errors import ErrorCodes, RaypoolError, create_error
from raypool.model import Supervision
from raypool.phase import Phase
from tests.unit.fleet_world import Stage, fail_until


@pytest.fixture
async def stage() -> Stage:
    return Stage()


def _failures(number: int) -> list[Exception]:
    return [create_error(ErrorCodes.BROWSER_START_FAILED, "no memory") for _ in range(number)]


async def _set_aside(stage: Stage) -> None:
    stage.world.failures = _failures(LOOP_DEATHS)
    await stage.want("a")
    await fail_until(stage, lambda: stage.phase("a") is Phase.QUARANTINED)


async def test_a_crash_loop_is_set_aside(stage: Stage) -> None:
    """After five tries no sixth; the record says why."""
    await _set_aside(stage)
    assert len(stage.world.lives) == LOOP_DEATHS
    stage.now += 10_000
    assert await stage.settle() is None
    assert len(stage.world.lives) == LOOP_DEATHS
    kept = (await stage.session("a")).supervision.quarantined
    assert kept is not None
    assert "no memory" in kept.message
    assert stage.row("a")["quarantined"] == kept


async def test_an_instance_that_dies_again_and_again_is_set_aside(stage: Stage) -> None:
    """It comes up each time, does nothing, and dies."""
    await stage.want("a")

    async def dies() -> bool:
        await stage.settle()
        if stage.phase("a") is Phase.READY:
            stage.world.die("a")
        return stage.phase("a") is Phase.QUARANTINED

    for _ in range(30):
        if await dies():
            break
        stage.now += 5
    assert stage.phase("a") is Phase.QUARANTINED
    assert len(stage.world.lives) == LOOP_DEATHS


async def test_a_caller_of_one_that_is_set_aside_is_told_at_once(stage: Stage) -> None:
    """With the reason; waiting would not help."""
    await _set_aside(stage)
    with pytest.raises(RaypoolError, match="in quarantine: it died 5 times") as caught:
        await stage.reconciler.await_ready("a", 30)
    assert caught.value.code is ErrorCodes.BROWSER_QUARANTINED
    assert not caught.value.retryable


async def test_the_next_supervisor_does_not_try_either(stage: Stage) -> None:
    """It reads the record before it starts anything."""
    await _set_aside(stage)
    stage.new_supervisor()
    assert await stage.settle() is None
    assert stage.phase("a") is Phase.QUARANTINED
    assert len(stage.world.lives) == LOOP_DEATHS


async def test_a_release_lets_it_out(stage: Stage) -> None:
    """It is started at once, and what went before does not count any more."""
    await _set_aside(stage)
    session = await stage.session("a")
    await stage.store.sessions.supervise(session.id, Supervision())
    stage.reconciler.note(["a"])
    stage.world.failures = _failures(1)
    await stage.settle()
    assert len(stage.world.lives) == LOOP_DEATHS + 1
    assert stage.phase("a") is Phase.BACKOFF
    stage.now += 1
    await stage.settle()
    assert stage.phase("a") is Phase.READY


async def test_the_next_supervisor_sits_out_the_wait(stage: Stage) -> None:
    """What is left of it, and goes on counting where the last one was."""
    stage.world.failures = _failures(LOOP_DEATHS)
    await stage.want("a")
    await fail_until(stage, lambda: len(stage.world.lives) == LOOP_DEATHS - 1)
    stage.new_supervisor()
    delay = await stage.settle()
    assert delay is not None
    assert 2 < delay <= 8  # 2 ** 3, less what has passed meanwhile
    stage.now += delay
    await stage.settle()
    assert stage.phase("a") is Phase.QUARANTINED


async def test_the_next_supervisor_goes_on_counting_deaths_of_what_it_adopted(stage: Stage) -> None:
    """A supervisor that dies in a crash loop does not hide the loop."""
    stage.world.failures = _failures(LOOP_DEATHS - 1)
    await stage.want("a")
    await fail_until(stage, lambda: stage.phase("a") is Phase.READY)
    stage.new_supervisor()
    await stage.reconciler.adopt()
    await stage.settle()
    stage.now += 2
    stage.world.die("a")
    stage.world.strangers.clear()
    await stage.settle()
    assert stage.phase("a") is Phase.QUARANTINED


async def test_what_is_not_the_business_s_fault_sets_nothing_aside(stage: Stage) -> None:
    """Redis away, a lost node: it is tried for as long as it takes."""
    codes = [ErrorCodes.STORAGE_UNAVAILABLE, ErrorCodes.NETWORK_RAY_UNREACHABLE] * 10
    stage.world.failures = [create_error(code, "away") for code in codes]
    await stage.want("a")
    await fail_until(stage, lambda: stage.phase("a") is Phase.READY)
    assert len(stage.world.lives) == 21


async def test_a_failure_that_cannot_be_written_down_is_sat_out_all_the_same(stage: Stage) -> None:
    """The store is away: what this supervisor remembers counts."""
    stage.world.failures = _failures(2)
    await stage.want("a")
    await stage.reconciler.reconcile()
    stage.records.away = True
    delay = await stage.settle()
    assert (stage.phase("a"), delay) == (Phase.BACKOFF, 1.0)
    stage.now += 1
    assert await stage.settle() == 2.0
    stage.records.away = False
    stage.now += 2
    await stage.settle()
    assert stage.phase("a") is Phase.READY

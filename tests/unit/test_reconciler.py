"""The reconciler brings what lives to what the records want, whatever happens in between."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from actors.life import Death, Incarnation, StopResult
from actors.lives import Lives
from actors.reconciler import Reconciler
from raypool.errors import ErrorCodes, RaypoolError, SessionLocked, create_error
from raypool.model import Desired
from raypool.phase import Phase
from raypool.store.memory import MemoryStore


class World:
    """Actors that live and die as a test says; remembers every life."""

    def __init__(self) -> None:
        self.lives: list[Incarnation] = []
        self.alive: dict[str, asyncio.Future[Death]] = {}
        self.failures: list[Exception] = []
        self.described: dict[str, dict[str, Any] | None] = {}
        self.stopped: list[str] = []
        self.hold = asyncio.Event()
        self.hold.set()

    async def start(self, incarnation: Incarnation) -> str:
        self.lives.append(incarnation)
        await self.hold.wait()
        if self.failures:
            raise self.failures.pop(0)
        self.alive[incarnation.business_id] = asyncio.get_running_loop().create_future()
        return incarnation.business_id

    async def find(self, business_id: str) -> tuple[str, dict[str, Any] | None] | None:
        if business_id not in self.described:
            return None
        self.alive.setdefault(business_id, asyncio.get_running_loop().create_future())
        return business_id, self.described[business_id]

    async def businesses(self) -> list[str]:
        return sorted(self.described)

    async def stop(self, handle: str, timeout: float) -> StopResult:
        self.stopped.append(handle)
        return StopResult(handle, saved=True, checkpoint_version=1)

    async def kill(self, handle: str) -> None:
        self.alive.pop(handle, None)

    async def death(self, handle: str) -> Death:
        return await self.alive[handle]

    def die(self, business_id: str, *, certain: bool = True) -> None:
        self.alive.pop(business_id).set_result(Death(certain, "killed by the test"))


class Stage:
    """A reconciler with its surroundings, and a clock that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0
        self.store = MemoryStore()
        self.world = World()
        self.lives = Lives(
            self.world, "here", lambda: None, clock=lambda: self.now, dice=lambda: 1.0
        )
        self.reconciler = Reconciler(self.store.sessions, self.lives)

    async def want(self, business_id: str, desired: Desired = Desired.RUNNING) -> None:
        await self.store.sessions.ensure_active(business_id, desired=desired)

    async def settle(self) -> float | None:
        """Reconcile and let every order that can finish do so."""
        delay = None
        for _ in range(4):
            delay = await self.reconciler.reconcile()
            for _ in range(20):
                await asyncio.sleep(0)
        return delay

    def phase(self, business_id: str) -> Phase:
        rows = {row["business_id"]: row for row in self.reconciler.overview()}
        return rows[business_id]["phase"] if business_id in rows else Phase.ABSENT


@pytest.fixture
async def stage() -> Stage:
    return Stage()


async def test_what_is_desired_runs_and_a_settled_world_needs_nothing(stage: Stage) -> None:
    """Each desired business gets one life; then there is nothing to do."""
    await stage.want("a")
    await stage.want("b")
    assert await stage.settle() is None
    assert sorted(life.business_id for life in stage.world.lives) == ["a", "b"]
    assert stage.phase("a") is stage.phase("b") is Phase.READY


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


async def test_a_death_that_nobody_can_vouch_for_supersedes_nothing(stage: Stage) -> None:
    """When only the node was lost, the old owner may still act: its lease must expire first."""
    await stage.want("a")
    await stage.settle()
    stage.now += 10
    stage.world.die("a", certain=False)
    await stage.settle()
    assert stage.world.lives[1].supersedes is None


async def test_a_failed_start_waits_its_turn_and_is_tried_again(stage: Stage) -> None:
    """After a failure the next try comes after the backoff, not before."""
    stage.world.failures = [create_error(ErrorCodes.BROWSER_START_FAILED, "no memory")]
    await stage.want("a")
    delay = await stage.settle()
    assert stage.phase("a") is Phase.BACKOFF
    assert delay is not None
    assert 0 < delay <= 1.0
    assert len(stage.world.lives) == 1
    stage.now += delay
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


async def test_a_locked_business_is_tried_when_its_holder_may_be_gone(stage: Stage) -> None:
    """The wait after SessionLocked is at least what remains of the lease."""
    stage.world.failures = [SessionLocked("held elsewhere", retry_after=12.0)]
    await stage.want("a")
    delay = await stage.settle()
    assert delay is not None
    assert delay >= 12.0


async def test_what_is_not_desired_any_more_is_stopped(stage: Stage) -> None:
    """The record says stopped: the instance is stopped, and forgotten."""
    await stage.want("a")
    await stage.settle()
    await stage.want("a", Desired.STOPPED)
    assert await stage.settle() is None
    assert stage.world.stopped == ["a"]
    assert stage.reconciler.overview() == []


async def test_a_stop_during_a_start_waits_for_it(stage: Stage) -> None:
    """Nothing comes up behind the back of a stop: it waits for the start, then stops that."""
    stage.world.hold.clear()
    await stage.want("a")
    await stage.settle()
    assert stage.phase("a") is Phase.STARTING
    await stage.want("a", Desired.STOPPED)
    await stage.settle()
    assert stage.phase("a") is Phase.STOPPING
    stage.world.hold.set()
    await stage.settle()
    assert stage.world.stopped == ["a"]
    assert stage.world.alive == {}


async def test_a_new_supervisor_adopts_what_lives(stage: Stage) -> None:
    """A ready actor is taken over as it is: no second life is begun."""
    await stage.want("a")
    stage.world.described["a"] = {
        "phase": Phase.READY, "session_id": "s", "holder_id": "h", "incarnation": 7,
    }  # fmt: skip
    await stage.reconciler.adopt()
    assert await stage.settle() is None
    assert stage.world.lives == []
    stage.now += 10
    stage.world.described.clear()
    stage.world.die("a")
    await stage.settle()
    (life,) = stage.world.lives
    assert (life.supersedes, life.number) == ("h", 8)


async def test_a_half_started_actor_is_not_adopted(stage: Stage) -> None:
    """Whoever was starting it is gone: it is killed, and a new life is begun in its place."""
    await stage.want("a")
    stage.world.described["a"] = {"phase": Phase.STARTING, "holder_id": "h", "session_id": "s"}
    await stage.reconciler.adopt()
    stage.world.described.clear()
    await stage.settle()
    (life,) = stage.world.lives
    assert life.supersedes == "h"


async def test_unknown_is_not_absent(stage: Stage) -> None:
    """An actor that does not answer is neither replaced nor forgotten; one that answers is adopted."""
    await stage.want("a")
    stage.world.described["a"] = None
    await stage.reconciler.adopt()
    await stage.settle()
    assert stage.phase("a") is Phase.UNKNOWN
    assert stage.world.lives == []
    stage.world.described["a"] = {
        "phase": Phase.READY, "session_id": "s", "holder_id": "h", "incarnation": 1,
    }  # fmt: skip
    await stage.settle()
    assert stage.phase("a") is Phase.READY
    assert stage.world.lives == []


async def test_a_caller_gets_the_error_that_waiting_cannot_mend(stage: Stage) -> None:
    """await_ready raises a fatal error of its own try at once instead of waiting."""
    stage.world.failures = [create_error(ErrorCodes.BROWSER_NOT_FOUND, "no Chromium")]
    await stage.want("a")
    waiting = asyncio.ensure_future(stage.reconciler.await_ready("a", 30))
    await stage.settle()
    with pytest.raises(RaypoolError) as caught:
        await waiting
    assert caught.value.code is ErrorCodes.BROWSER_NOT_FOUND


async def test_a_caller_in_a_hurry_shortens_the_backoff(stage: Stage) -> None:
    """Somebody waits: the next try comes a second after the last, not minutes later."""
    stage.world.failures = [create_error(ErrorCodes.BROWSER_START_FAILED, "x") for _ in range(5)]
    await stage.want("a")
    for _ in range(4):
        stage.now += await stage.settle() or 0
    assert await stage.settle() == pytest.approx(16.0)
    waiting = asyncio.ensure_future(stage.reconciler.await_ready("a", 30))
    await asyncio.sleep(0)
    stage.now += 1.0
    await stage.settle()
    assert (await waiting).phase is Phase.READY


async def test_close_stops_everything_and_starts_nothing(stage: Stage) -> None:
    """Going down stops each instance and keeps what is desired in the records."""
    await stage.want("a")
    await stage.want("b")
    await stage.settle()
    results = await stage.reconciler.close(5)
    assert sorted(result.business_id for result in results) == ["a", "b"]
    assert all(result.saved for result in results)
    await stage.settle()
    assert len(stage.world.lives) == 2
    wanted = await stage.store.sessions.list_sessions(desired=Desired.RUNNING)
    assert len(wanted) == 2


async def test_starts_are_bounded(stage: Stage) -> None:
    """Twenty businesses at once do not become twenty starts at once."""
    stage.world.hold.clear()
    for number in range(20):
        await stage.want(f"b{number}")
    await stage.settle()
    assert len(stage.world.lives) == 4
    stage.world.hold.set()
    for _ in range(6):
        await stage.settle()
    assert len(stage.world.lives) == 20


async def test_a_failed_read_of_the_records_stops_nobody(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the records cannot be read the pass is given up; it must not look like nothing is wanted."""
    await stage.want("a")
    await stage.settle()
    unreachable: Callable[..., Any] = _unreachable
    monkeypatch.setattr(stage.store.sessions, "list_sessions", unreachable)
    with pytest.raises(RaypoolError):
        await stage.reconciler.reconcile()
    assert stage.world.stopped == []
    assert stage.phase("a") is Phase.READY


async def _unreachable(**_: Any) -> Any:
    raise create_error(ErrorCodes.STORAGE_UNAVAILABLE, "away")

"""One incarnation, on the store's twin and a browser that does as it is told: the order is kept."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from actors.life import Incarnation
from actors.ports import Stores
from actors.session import InstanceSession
from raypool.config import Settings
from raypool.errors import (
    CommandTimeout,
    ErrorCodes,
    InstanceLost,
    InstanceNotReady,
    LeaseLost,
    RaypoolError,
    SessionLocked,
    create_error,
)
from raypool.model import Holder, Session
from raypool.phase import Phase
from raypool.store.base import LeaseStore
from raypool.store.memory import MemoryStore


class FakeState:
    def __init__(self, parts: Mapping[str, bytes]) -> None:
        self.parts, self.warnings = dict(parts), []


class FakeBrowser:
    """A browser whose state is a dictionary; it dies when a test says so."""

    driver_pid, browser_pid = 11, 12
    components = (None, None)

    def __init__(self, diary: list[str], parts: Mapping[str, bytes], on_lost: Any) -> None:
        self.diary, self.state, self.on_lost = diary, dict(parts), on_lost
        self.alive = True

    async def page(self) -> "FakeBrowser":
        return self

    async def open_tabs(self, parts: Mapping[str, bytes], warnings: list[str]) -> None:
        self.diary.append("tabs")

    async def collect(self, previous: Mapping[str, bytes]) -> FakeState:
        if not self.alive:
            raise RuntimeError("the browser is gone")
        return FakeState(self.state)

    async def close(self) -> None:
        self.diary.append("closed")

    async def ping(self) -> None:
        if not self.alive:
            await asyncio.Event().wait()

    def abandon(self) -> None:
        self.on_lost = None

    def memory(self) -> int:
        return 1

    def die(self) -> None:
        self.alive = False
        if self.on_lost:
            self.on_lost("killed by the test")


class FakeHome:
    def __init__(self, diary: list[str]) -> None:
        self.diary = diary

    def kill_browser(self) -> None:
        self.diary.append("killed")

    def wait_gone(self, timeout: float) -> bool:
        return True

    def remove(self) -> None:
        self.diary.append("removed")


class FakeLauncher:
    def __init__(self, diary: list[str]) -> None:
        self.diary, self.browsers, self.failures = diary, [], []  # type: ignore[var-annotated]
        self.specs: list[Any] = []

    def home(self, business_id: str, token: int) -> FakeHome:
        self.diary.append("home")
        return FakeHome(self.diary)

    async def launch(
        self, spec: Any, home: Any, parts: Mapping[str, bytes], on_lost: Callable[[str], None]
    ) -> tuple[FakeBrowser, list[str]]:
        self.diary.append("launched")
        self.specs.append(spec)
        if self.failures:
            raise self.failures.pop(0)
        self.browsers.append(FakeBrowser(self.diary, parts, on_lost))
        return self.browsers[-1], []


class Stage:
    def __init__(self, session: Session, store: MemoryStore, *, lease_ttl: float) -> None:
        self.diary: list[str] = []
        self.session, self.store = session, store
        self.launcher = FakeLauncher(self.diary)
        self.ended: list[str] = []
        self.away = 0
        self.settings = Settings(lease_ttl=lease_ttl)

    def life(self, holder: str = "h1", supersedes: str | None = None) -> InstanceSession:
        stores = Stores(self.store.sessions, self.store.leases, self.store.checkpoints)
        incarnation = Incarnation(
            "b1", self.session.id, Holder(id=holder, cluster="here"), supersedes=supersedes
        )
        return InstanceSession(
            incarnation,
            self.settings,
            stores,
            self.launcher,  # type: ignore[arg-type]
            self._open_leases,
            self.ended.append,
        )

    @asynccontextmanager
    async def _open_leases(self) -> AsyncIterator[LeaseStore]:
        if self.away > 0:
            self.away -= 1
            raise create_error(ErrorCodes.STORAGE_UNAVAILABLE, "away")
        yield self.store.leases

    @property
    def browser(self) -> FakeBrowser:
        return self.launcher.browsers[-1]

    async def eventually(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                await asyncio.sleep(0.02)


@pytest.fixture
async def stage() -> Stage:
    store = MemoryStore()
    return Stage(await store.sessions.ensure_active("b1"), store, lease_ttl=2)


def writes(name: str, value: bytes) -> Callable[[Any], Any]:
    """A function that changes the browser's state."""

    async def work(page: FakeBrowser) -> str:
        page.state[name] = value
        return "done"

    return work


async def test_lease_comes_first_and_goes_last(stage: Stage) -> None:
    """Lease, directory, browser, tabs; and back: saved, closed, killed, removed, released."""
    life = stage.life()
    await life.start()
    assert stage.diary == ["home", "launched", "tabs"]
    assert life.phase is Phase.READY
    assert await stage.store.leases.get("b1") is not None
    await life.run(writes("cookies", b"1"), 5)
    result = await life.stop(5)
    assert (result.saved, result.checkpoint_version) == (True, 1)
    assert stage.diary[3:] == ["closed", "killed", "killed", "removed"]
    assert await stage.store.leases.get("b1") is None
    assert stage.ended == []


async def test_run_returns_after_the_acknowledgement(stage: Stage) -> None:
    """When run returns, the newest version holds what the function changed."""
    life = stage.life()
    await life.start()
    assert await life.run(writes("cookies", b"fresh"), 5) == "done"
    saved = await stage.store.checkpoints.load(stage.session.id)
    assert saved is not None
    assert saved.parts["cookies"] == b"fresh"
    await life.stop(5)


async def test_a_function_that_raises_is_saved_all_the_same(stage: Stage) -> None:
    """Its own error is raised unchanged, and what it left behind is kept."""
    life = stage.life()
    await life.start()

    async def half(page: FakeBrowser) -> None:
        page.state["cookies"] = b"half"
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await life.run(half, 5)
    saved = await stage.store.checkpoints.load(stage.session.id)
    assert saved is not None
    assert saved.parts["cookies"] == b"half"
    await life.stop(5)


async def test_a_second_holder_is_refused_and_leaves_nothing(stage: Stage) -> None:
    """SessionLocked, no browser launched, and the first one undisturbed."""
    first = stage.life("h1")
    await first.start()
    launched = stage.diary.count("launched")
    with pytest.raises(SessionLocked):
        await stage.life("h2").start()
    assert stage.diary.count("launched") == launched
    assert await first.run(writes("cookies", b"1"), 5) == "done"
    await first.stop(5)


async def test_a_failed_launch_gives_the_lease_back(stage: Stage) -> None:
    """Nothing of an incarnation is left that could not come up."""
    stage.launcher.failures = [create_error(ErrorCodes.BROWSER_START_FAILED, "no memory")]
    with pytest.raises(RaypoolError, match="no memory"):
        await stage.life().start()
    assert await stage.store.leases.get("b1") is None
    assert stage.diary[-1] == "removed"


async def test_a_dead_browser_is_replaced_by_the_last_checkpoint(stage: Stage) -> None:
    """Same incarnation, new browser, and what was acknowledged is in it."""
    life = stage.life()
    await life.start()
    await life.run(writes("cookies", b"kept"), 5)
    stage.browser.die()
    assert life.phase is Phase.RECOVERING
    assert await life.run(writes("tabs", b"new"), 5) == "done"
    assert stage.browser.state["cookies"] == b"kept"
    assert len(stage.launcher.browsers) == 2
    await life.stop(5)


async def test_a_changed_spec_takes_effect_with_the_next_browser(stage: Stage) -> None:
    """The browser that is made after a loss is the one that the record wants by then."""
    life = stage.life()
    await life.start()
    await stage.store.sessions.update_session(stage.session.id, locale="fr-FR")
    stage.browser.die()
    await life.run(writes("cookies", b"1"), 5)
    assert [spec.context for spec in stage.launcher.specs] == [{}, {"locale": "fr-FR"}]
    await life.stop(5)


async def test_a_command_in_flight_fails_when_its_browser_dies(stage: Stage) -> None:
    """InstanceLost, retryable; nothing of the half command is in the checkpoint."""
    life = stage.life()
    await life.start()
    await life.run(writes("cookies", b"before"), 5)

    async def dies(page: FakeBrowser) -> None:
        page.state["cookies"] = b"half"
        page.die()
        await asyncio.Event().wait()

    with pytest.raises(InstanceLost) as caught:
        await life.run(dies, 5)
    assert caught.value.retryable
    assert await life.run(writes("tabs", b"1"), 5) == "done"
    assert stage.browser.state["cookies"] == b"before"
    await life.stop(5)


async def test_a_function_past_its_deadline_costs_its_browser_only(stage: Stage) -> None:
    """CommandTimeout; the next command finds a browser made from the last checkpoint."""
    life = stage.life()
    await life.start()

    async def never(page: FakeBrowser) -> None:
        await asyncio.Event().wait()

    with pytest.raises(CommandTimeout):
        await life.run(never, 0.1)
    assert "killed" in stage.diary
    assert await life.run(writes("cookies", b"1"), 5) == "done"
    assert len(stage.launcher.browsers) == 2
    await life.stop(5)


async def test_commands_take_turns_in_order(stage: Stage) -> None:
    """Two callers never act at once, and the first to ask is the first to act."""
    life = stage.life()
    await life.start()
    order: list[str] = []

    def named(name: str) -> Callable[[Any], Any]:
        async def work(page: FakeBrowser) -> None:
            order.append(f"{name} in")
            await asyncio.sleep(0.02)
            order.append(f"{name} out")

        return work

    await asyncio.gather(*(life.run(named(n), 5) for n in ("a", "b", "c")))
    assert order == ["a in", "a out", "b in", "b out", "c in", "c out"]
    await life.stop(5)


async def test_a_stale_owner_ends_and_says_so(stage: Stage) -> None:
    """When a newer owner took over, a save is refused, the browser dies, the life is over."""
    old = stage.life("h1")
    await old.start()
    new = stage.life("h2", supersedes="h1")
    await new.start()
    with pytest.raises(LeaseLost):
        await old.run(writes("cookies", b"stale"), 5)
    await stage.eventually(lambda: bool(stage.ended))
    assert await stage.store.checkpoints.load(stage.session.id) is None
    with pytest.raises(InstanceNotReady):
        await old.run(writes("cookies", b"again"), 5)
    await new.stop(5)


async def test_a_lost_lease_is_noticed_without_any_command(stage: Stage) -> None:
    """The keeper sees by itself that somebody else holds the business, and ends the life."""
    old = stage.life("h1")
    await old.start()
    lease = await stage.store.leases.acquire("b1", Holder(id="h9"), 60, supersedes="h1")
    await stage.eventually(lambda: bool(stage.ended))
    assert "lease lost" in stage.ended[0]
    assert stage.diary[-1] == "removed"
    assert (await stage.store.leases.get("b1")) is not None
    await stage.store.leases.release(lease)


async def test_the_lease_survives_a_busy_event_loop(stage: Stage) -> None:
    """A function that blocks the loop for two lease times does not lose the business."""
    life = stage.life()
    await life.start()

    async def blocks(page: FakeBrowser) -> str:
        threading.Event().wait(4.5)  # twice the lease, without giving the loop a turn
        return "back"

    assert await life.run(blocks, 30) == "back"
    assert stage.ended == []
    await life.stop(5)


async def test_a_store_that_is_away_for_a_moment_costs_no_lease(stage: Stage) -> None:
    """The keeper opens its connection again until the lease is at its end, and keeps the lease."""
    stage.away = 3
    life = stage.life()
    await life.start()
    await asyncio.sleep(2.5)  # longer than the lease
    assert stage.away == 0
    assert stage.ended == []
    assert await life.run(writes("cookies", b"1"), 5) == "done"
    await life.stop(5)


async def test_an_owner_that_cannot_renew_ends_before_its_lease_does(stage: Stage) -> None:
    """With the store away for good, the browser is dead when somebody else may take over."""
    stage.away = 10_000
    life = stage.life()
    await life.start()
    began = asyncio.get_running_loop().time()
    await stage.eventually(lambda: "killed" in stage.diary)
    assert asyncio.get_running_loop().time() - began < stage.settings.lease_ttl
    await stage.eventually(lambda: bool(stage.ended))


async def test_a_browser_that_dies_while_it_is_read_leaves_no_half_state(stage: Stage) -> None:
    """InstanceLost, and the version before is what the next browser is made from."""
    life = stage.life()
    await life.start()
    await life.run(writes("cookies", b"whole"), 5)
    browser = stage.browser

    async def emptied(previous: Mapping[str, bytes]) -> FakeState:
        browser.die()
        return FakeState({})

    browser.collect = emptied  # type: ignore[method-assign]
    with pytest.raises(InstanceLost):
        await life.run(writes("cookies", b"never read"), 5)
    assert await life.run(_cookies, 5) == b"whole"
    await life.stop(5)


async def test_a_rebuild_waits_for_the_save_under_way(stage: Stage) -> None:
    """What is acknowledged while the browser dies is in the next browser."""
    life = stage.life()
    await life.start()
    save, browser = stage.store.checkpoints.save, stage.browser

    async def slow(*args: Any, **kwargs: Any) -> Any:
        browser.die()
        await asyncio.sleep(0.2)
        return await save(*args, **kwargs)

    stage.store.checkpoints.save = slow  # type: ignore[method-assign]
    assert await life.run(writes("cookies", b"acknowledged"), 5) == "done"
    stage.store.checkpoints.save = save  # type: ignore[method-assign]
    assert await life.run(_cookies, 5) == b"acknowledged"
    assert len(stage.launcher.browsers) == 2
    await life.stop(5)


async def test_what_ran_and_is_not_saved_is_not_to_be_run_again(stage: Stage) -> None:
    """When the store is away, the error is not retryable: the function has done its work."""
    life = stage.life()
    await life.start()

    async def away(*args: Any, **kwargs: Any) -> Any:
        raise create_error(ErrorCodes.STORAGE_UNAVAILABLE, "away")

    save = stage.store.checkpoints.save
    stage.store.checkpoints.save = away  # type: ignore[method-assign]
    with pytest.raises(RaypoolError) as caught:
        await life.run(writes("cookies", b"held"), 5)
    assert caught.value.code is ErrorCodes.STORAGE_NOT_SAVED
    assert not caught.value.retryable
    stage.store.checkpoints.save = save  # type: ignore[method-assign]
    assert (await life.checkpoint()).version == 1
    await life.stop(5)


async def test_stop_cuts_off_a_command_that_does_not_end(stage: Stage) -> None:
    """A stop ends in time, and says what was not saved."""
    life = stage.life()
    await life.start()
    running = asyncio.ensure_future(life.run(_for_ever, 60))
    await asyncio.sleep(0.05)
    result = await life.stop(0.2)
    assert not result.saved
    assert "still running" in result.why
    assert await stage.store.leases.get("b1") is None
    with pytest.raises(InstanceLost):
        await running


async def test_stop_is_idempotent(stage: Stage) -> None:
    """Two stops at once are one stop."""
    life = stage.life()
    await life.start()
    one, two = await asyncio.gather(life.stop(5), life.stop(5))
    assert one == two
    assert stage.diary.count("closed") == 1


async def _for_ever(page: FakeBrowser) -> None:
    await asyncio.Event().wait()


async def _cookies(page: FakeBrowser) -> bytes:
    return page.state["cookies"]

"""What an instance does beside its commands: it finds what nobody reports, and puts it right."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from actors.rounds import MISSES, Limits
from raypool.errors import ErrorCodes, InstanceLost
from raypool.model import Desired
from raypool.phase import Phase
from tests.integration.instance_stage import (
    FakeBrowser,
    Stage,
    cookies,
    for_ever,
    make_stage,
    writes,
)


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounds follow each other closely, and wait for little."""
    for name, seconds in {
        "ROUND_S": 0.02, "PING_EVERY_S": 0.05, "PING_TIMEOUT_S": 0.3, "PAGE_EVERY_S": 0.05,
        "PAGE_TIMEOUT_S": 0.3, "STORE_EVERY_S": 0.05, "MEMORY_EVERY_S": 0.02,
    }.items():  # fmt: skip
        monkeypatch.setattr(f"actors.rounds.{name}", seconds)


@pytest.fixture
async def stage() -> Stage:
    return await make_stage()


async def _some_rounds() -> None:
    await asyncio.sleep(0.5)


async def _replaced(stage: Stage) -> None:
    await stage.eventually(lambda: len(stage.launcher.browsers) == 2)


# -- wedged --------------------------------------------------------------------------------------


def _stop(browser: FakeBrowser) -> None:
    browser.is_stopped = True


def _hang(browser: FakeBrowser) -> None:
    browser.hangs = True


def _hang_page(browser: FakeBrowser) -> None:
    browser.page_hangs = True


@pytest.mark.parametrize("wedge", [_stop, _hang, _hang_page])
async def test_a_browser_that_does_not_work_is_rebuilt(
    stage: Stage, wedge: Callable[[FakeBrowser], None]
) -> None:
    """Stopped from outside, answering nothing, or with a page whose script does not end."""
    life = await stage.started()
    await life.run(writes("cookies", b"kept"), 5)
    wedge(stage.browser)
    await _replaced(stage)
    assert await life.run(cookies, 5) == b"kept"
    await _some_rounds()
    assert len(stage.launcher.browsers) == 2
    assert stage.ended == []
    await life.stop(5)


@pytest.mark.parametrize("wedge", [_stop, _hang])
async def test_a_command_in_a_wedged_browser_is_told_in_seconds(
    stage: Stage, wedge: Callable[[FakeBrowser], None]
) -> None:
    """Not after its own deadline: InstanceLost, retryable."""
    life = await stage.started()
    running = asyncio.ensure_future(life.run(for_ever, 60))
    await asyncio.sleep(0.05)
    wedge(stage.browser)
    with pytest.raises(InstanceLost):
        await asyncio.wait_for(running, 10)
    assert await life.run(writes("cookies", b"1"), 5) == "done"
    await life.stop(5)


async def test_a_stop_is_seen_while_a_round_waits_for_an_answer(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The browser's answer would be waited for longer than the processes are looked at."""
    monkeypatch.setattr("actors.rounds.PING_TIMEOUT_S", 60.0)
    life = await stage.started()
    asked = stage.browser.pings
    stage.browser.hangs = True
    await stage.eventually(lambda: stage.browser.pings > asked)
    stage.browser.is_stopped = True
    await _replaced(stage)
    assert await life.run(writes("cookies", b"1"), 5) == "done"
    await life.stop(5)


async def test_a_page_that_is_busy_with_a_command_is_left_alone(stage: Stage) -> None:
    """A long script of the caller's own is his: only the command's deadline ends it."""
    life = await stage.started()

    async def long(page: FakeBrowser) -> str:
        page.page_hangs = True
        await asyncio.sleep(0.6)
        page.page_hangs = False
        return "done"

    assert await life.run(long, 5) == "done"
    assert len(stage.launcher.browsers) == 1
    await life.stop(5)


async def test_what_is_wrong_for_a_moment_costs_no_browser(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It must be seen twice in a row."""
    life = await stage.started()
    seen: list[bool] = []

    def stopped() -> bool:
        seen.append(len(seen) % MISSES == 0)
        return seen[-1]

    monkeypatch.setattr(stage.browser, "stopped", stopped)
    await stage.eventually(lambda: len(seen) > 10)
    assert any(seen)
    assert len(stage.launcher.browsers) == 1
    await life.stop(5)


async def test_a_browser_that_its_own_keeper_froze_is_not_taken_for_stopped(stage: Stage) -> None:
    """It stands still for as long as the store is away, and goes on after."""
    life = await stage.started()
    await stage.off_line()
    await _some_rounds()
    await stage.on_line(life)
    await _some_rounds()
    assert len(stage.launcher.browsers) == 1
    assert await life.run(writes("cookies", b"1"), 5) == "done"
    await life.stop(5)


# -- recycling -----------------------------------------------------------------------------------


def _old(browser: FakeBrowser) -> None:
    browser.started_at -= 3601


def _fat(browser: FakeBrowser) -> None:
    browser.bytes = 501 * 2**20


def _paged(browser: FakeBrowser) -> None:
    browser.pages_opened = 1001


PASSED = [_old, _fat, _paged]
LIMITS = {"recycle_after": 3600, "recycle_memory": 500, "recycle_pages": 1000}


@pytest.mark.parametrize("passed", PASSED)
async def test_a_browser_is_recycled_between_commands(
    passed: Callable[[FakeBrowser], None],
) -> None:
    """Not while one runs; the next finds all of its state in a new browser, and no error."""
    stage = await make_stage(**LIMITS)
    life = await stage.started()

    async def work(page: FakeBrowser) -> str:
        passed(page)
        await asyncio.sleep(0.5)
        page.state["cookies"] = b"kept"
        return "done"

    assert await life.run(work, 5) == "done"
    assert len(stage.launcher.browsers) == 1
    stage.browser.state["unsaved"] = b"by the page itself"
    await _replaced(stage)
    assert await life.run(cookies, 5) == b"kept"
    assert stage.browser.state["unsaved"] == b"by the page itself"
    await _some_rounds()
    assert len(stage.launcher.browsers) == 2
    await life.stop(5)


async def test_commands_wait_for_the_new_browser(stage: Stage) -> None:
    """One that comes in the middle is only a little slower."""
    stage = await make_stage(**LIMITS)
    life = await stage.started()
    await life.run(writes("cookies", b"kept"), 5)
    launch, slow = stage.launcher.launch, asyncio.Event()

    async def slowly(*args: Any) -> Any:
        slow.set()
        await asyncio.sleep(0.2)
        return await launch(*args)

    stage.launcher.launch = slowly  # type: ignore[method-assign]
    _old(stage.browser)
    await slow.wait()
    results = await asyncio.gather(*(life.run(cookies, 5) for _ in range(3)))
    assert results == [b"kept"] * 3
    assert len(stage.launcher.browsers) == 2
    await life.stop(5)


async def test_one_that_cannot_be_saved_is_not_recycled(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it holds would be lost; it is tried again when the store is there."""
    monkeypatch.setattr("actors.workplace.COMMIT_ATTEMPTS", 1)
    stage = await make_stage(lease_ttl=60, **LIMITS)
    life = await stage.started()
    stage.away = True
    stage.browser.state["cookies"] = b"held"
    _old(stage.browser)
    await _some_rounds()
    assert len(stage.launcher.browsers) == 1
    stage.away = False
    await _replaced(stage)
    assert await life.run(cookies, 5) == b"held"
    await life.stop(5)


@pytest.mark.parametrize("passed", PASSED)
async def test_without_limits_a_browser_lives_on(
    stage: Stage, passed: Callable[[FakeBrowser], None]
) -> None:
    """0 in the settings means never."""
    stage = await make_stage(recycle_after=0, recycle_memory=0, recycle_pages=0)
    life = await stage.started()
    passed(stage.browser)
    await _some_rounds()
    assert len(stage.launcher.browsers) == 1
    await life.stop(5)


def test_a_limit_says_how_it_was_passed() -> None:
    """In the log people read why a browser was replaced."""
    limits = Limits(age=3600, memory=500 * 2**20, pages=1000)
    assert limits.passed(3600, 500 * 2**20, 1000) == ""
    assert limits.passed(3601, 0, 0) == "it is 3601 s old"
    assert limits.passed(0, 501 * 2**20, 0) == "it uses 501 MB"
    assert limits.passed(0, 0, 1001) == "it has opened 1001 pages"


# -- the record ----------------------------------------------------------------------------------


async def _is_whole(stage: Stage) -> bool:
    found = await stage.store.sessions.get_session(stage.session.id)
    saved = await stage.saved() if found else None
    return saved is not None and saved.parts == stage.browser.state


async def _whole(stage: Stage) -> None:
    async with asyncio.timeout(10):
        while not await _is_whole(stage):
            await asyncio.sleep(0.02)


async def test_a_record_that_the_server_lost_is_written_again_with_all_state(stage: Stage) -> None:
    """Without any command; the browser and its lease go on."""
    await stage.store.sessions.update_session(stage.session.id, desired=Desired.RUNNING)
    life = await stage.started()
    await life.run(writes("cookies", b"1"), 5)
    await life.run(writes("storage", b"2"), 5)
    stage.store.lose()
    await _whole(stage)
    session = await stage.store.sessions.get_active_session("b1")
    assert session is not None
    assert (session.id, session.desired) == (stage.session.id, Desired.RUNNING)
    assert len(stage.launcher.browsers) == 1
    await asyncio.sleep(1)
    assert await stage.store.leases.get("b1") is not None
    assert stage.ended == []
    assert (await life.stop(5)).saved


async def test_a_command_is_acknowledged_though_the_record_was_lost_under_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its save finds no record, writes it again, and then holds what the command changed."""
    monkeypatch.setattr("actors.rounds.STORE_EVERY_S", 60)
    stage = await make_stage(lease_ttl=60)
    life = await stage.started()
    await life.run(writes("cookies", b"1"), 5)
    stage.store.lose()
    assert await life.run(writes("storage", b"2"), 5) == "done"
    saved = await stage.saved()
    assert saved is not None
    assert saved.parts == {"cookies": b"1", "storage": b"2"}
    await life.stop(5)


async def test_a_version_that_was_lost_with_the_newest_writes_is_saved_again(stage: Stage) -> None:
    """A replica without them took over: the same state, under a number that was never given out."""
    life = await stage.started()
    await life.run(writes("cookies", b"1"), 5)
    await life.run(writes("cookies", b"2"), 5)
    records = stage.store.sessions._records.sessions
    session = records[stage.session.id]
    records[session.id] = session.model_copy(update={"checkpoint_version": 1})
    await _whole(stage)
    saved = await stage.saved()
    assert saved is not None
    assert (saved.info.version, saved.parts["cookies"]) == (3, b"2")
    await life.stop(5)


async def test_a_record_that_was_deleted_ends_the_life(stage: Stage) -> None:
    """On purpose, by somebody: nothing is written again, and nothing is left."""
    life = await stage.started()
    await life.run(writes("cookies", b"1"), 5)
    await stage.store.sessions.delete_session(stage.session.id)
    await stage.eventually(lambda: bool(stage.ended))
    assert "its session cannot be kept" in stage.ended[0]
    assert await stage.store.sessions.get_session(stage.session.id) is None
    assert await stage.store.leases.get("b1") is None
    assert stage.diary[-1] == "removed"
    assert life.phase is Phase.ABSENT


@pytest.mark.parametrize(
    "refusal", [ErrorCodes.STORAGE_UNAVAILABLE, ErrorCodes.STORAGE_ACCESS_DENIED]
)
async def test_a_store_that_cannot_be_asked_is_no_reason_to_end(
    stage: Stage, refusal: ErrorCodes
) -> None:
    """Whatever cannot be looked at is looked at later: also while a password is being changed."""
    life = await stage.started()
    stage.refusal = refusal
    stage.away = True
    await _some_rounds()
    stage.away = False
    assert stage.ended == []
    assert await life.run(writes("cookies", b"1"), 5) == "done"
    await life.stop(5)


async def test_what_it_weighs_is_told(stage: Stage) -> None:
    """The last round's weight, without weighing again."""
    life = await stage.started()
    stage.browser.bytes = 123
    await stage.eventually(lambda: life.describe()["memory_bytes"] == 123)
    assert life.describe()["off_line"] is False
    assert datetime.now(UTC) > stage.session.created_at
    await life.stop(5)

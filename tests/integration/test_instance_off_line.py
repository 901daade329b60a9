"""An owner that cannot renew its lease: frozen at its deadline, and what becomes of it then."""

import asyncio
from typing import Any

import pytest
from playwright.async_api import Error as PlaywrightError

from actors.keeper import now
from actors.session import InstanceSession
from raypool.errors import CommandTimeout, ErrorCodes, InstanceLost, InstanceNotReady, RaypoolError
from raypool.model import Holder
from raypool.phase import Phase
from tests.integration.instance_stage import FakeBrowser, Stage, cookies, make_stage, writes


@pytest.fixture
async def stage() -> Stage:
    return await make_stage()


@pytest.fixture
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A save that the store does not take fails at once instead of after a minute."""
    monkeypatch.setattr("actors.workplace.COMMIT_ATTEMPTS", 1)


@pytest.fixture
def _attentive(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounds follow each other closely, and look at the store by themselves only once."""
    monkeypatch.setattr("actors.rounds.ROUND_S", 0.02)
    monkeypatch.setattr("actors.rounds.STORE_EVERY_S", 3600)


async def _goes_on(stage: Stage, life: InstanceSession) -> None:
    """The same browser is there and works."""
    assert await life.run(writes("cookies", b"after"), 5) == "done"
    assert len(stage.launcher.browsers) == 1
    assert stage.ended == []
    assert "killed" not in stage.diary
    await life.stop(5)


# -- the deadline --------------------------------------------------------------------------------


async def test_at_its_deadline_the_browser_is_frozen_and_commands_are_refused(stage: Stage) -> None:
    """Before the lease is over for anybody else; nothing is killed, nothing has ended."""
    life = await stage.started()
    renewed_at = stage.home.deadlines[-1]
    await stage.off_line()
    assert renewed_at <= stage.home.deadlines[-1] <= now()
    assert await stage.store.leases.get("b1") is not None
    assert life.describe()["off_line"]
    with pytest.raises(InstanceNotReady, match="off line") as caught:
        await life.run(writes("cookies", b"1"), 5)
    assert caught.value.retryable
    assert (life.phase, stage.ended) == (Phase.READY, [])
    assert "killed" not in stage.diary
    await stage.on_line(life)
    await life.stop(5)


async def test_the_deadline_on_the_node_moves_with_each_renewal(stage: Stage) -> None:
    """The janitor enforces it should the owner be stopped; it never lies beyond the lease."""
    life = await stage.started()
    await asyncio.sleep(2)
    deadlines = stage.home.deadlines
    assert len(deadlines) > 2
    assert deadlines == sorted(deadlines)
    assert now() < deadlines[-1] < now() + stage.settings.lease_ttl
    await life.stop(5)


async def test_a_browser_that_cannot_be_frozen_is_killed(stage: Stage) -> None:
    """No browser acts past the deadline, whatever it takes."""
    life = await stage.started()
    stage.home.freezes = False
    stage.away = True
    await stage.eventually(lambda: "killed" in stage.diary)
    assert stage.diary.index("frozen") < stage.diary.index("killed")
    stage.home.freezes = True
    await stage.on_line(life)
    assert await life.run(writes("cookies", b"1"), 5) == "done"
    assert len(stage.launcher.browsers) == 2
    await life.stop(5)


# -- back on line --------------------------------------------------------------------------------


async def test_it_goes_on_with_the_same_browser(stage: Stage) -> None:
    """Nobody held the business in between: thawed, and the next command works."""
    life = await stage.started()
    await stage.off_line()
    await stage.on_line(life)
    assert not stage.home.frozen
    assert stage.diary.count("thawed") == 1
    assert await stage.store.leases.get("b1") is not None
    await _goes_on(stage, life)


@pytest.mark.usefixtures("_impatient", "_attentive")
async def test_what_could_not_be_saved_is_saved_without_another_command(stage: Stage) -> None:
    """The browser held it all the time; the first round on line brings it to the store."""
    life = await stage.started()
    stage.away = True
    with pytest.raises(RaypoolError) as caught:
        await life.run(writes("cookies", b"held"), 5)
    assert caught.value.code is ErrorCodes.STORAGE_NOT_SAVED
    await stage.eventually(lambda: stage.home.frozen)
    assert await stage.saved() is None
    await stage.on_line(life)

    async def saved() -> bool:
        found = await stage.saved()
        return found is not None and found.parts["cookies"] == b"held"

    async with asyncio.timeout(10):
        while not await saved():
            await asyncio.sleep(0.02)
    await _goes_on(stage, life)


async def test_a_state_that_was_read_across_the_time_off_line_is_read_again(stage: Stage) -> None:
    """Parts may be missing in what a frozen browser gave; the save is whole."""
    life = await stage.started()
    browser = stage.browser
    collect, reads = browser.collect, []

    async def interrupted(*, everything: bool) -> Any:
        reads.append(everything)
        if len(reads) == 1:
            await stage.off_line()
            await stage.on_line(life)
            browser.state["late"] = b"1"
        return await collect(everything=everything)

    browser.collect = interrupted  # type: ignore[method-assign]
    saving = asyncio.ensure_future(life.run(writes("cookies", b"1"), 5))
    assert await saving == "done"
    assert len(reads) == 2
    found = await stage.saved()
    assert found is not None
    assert found.parts == {"cookies": b"1", "late": b"1"}
    await _goes_on(stage, life)


async def test_a_stop_while_off_line_says_that_nothing_was_saved(stage: Stage) -> None:
    """It may not act, so it cannot save; it leaves nothing behind all the same."""
    life = await stage.started()
    await stage.off_line()
    result = await life.stop(5)
    assert not result.saved
    assert "off line" in result.why
    assert stage.diary[-1] == "removed"


# -- somebody else held it -------------------------------------------------------------------------


async def test_a_browser_dies_when_somebody_else_held_the_business(stage: Stage) -> None:
    """It is killed before it could act again; the life is over and says why."""
    life = await stage.started()
    await stage.off_line()
    lease = await stage.store.leases.acquire("b1", Holder(id="h9"), 60, supersedes="h1")
    stage.away = False
    await stage.eventually(lambda: bool(stage.ended))
    assert "somebody else held it" in stage.ended[0]
    assert "thawed" not in stage.diary
    assert stage.diary[-1] == "removed"
    with pytest.raises(InstanceNotReady):
        await life.run(writes("cookies", b"1"), 5)
    held = await stage.store.leases.get("b1")
    assert held is not None
    assert held.token == lease.token


async def test_also_when_the_other_one_is_gone_again(stage: Stage) -> None:
    """It did something meanwhile: a browser from before must not go on."""
    await stage.started()
    await stage.off_line()
    lease = await stage.store.leases.acquire("b1", Holder(id="h9"), 60, supersedes="h1")
    await stage.store.leases.release(lease)
    stage.away = False
    await stage.eventually(lambda: bool(stage.ended))
    assert "thawed" not in stage.diary


# -- commands that span it -------------------------------------------------------------------------


async def _spans(stage: Stage, life: InstanceSession, seconds: float) -> None:
    await stage.off_line()
    await asyncio.sleep(seconds)
    await stage.on_line(life)


async def test_a_command_goes_on_where_it_was_and_its_time_off_line_does_not_count(
    stage: Stage,
) -> None:
    """It takes longer than it may by the clock on the wall, and succeeds."""
    life = await stage.started()
    began = now()

    async def long(page: FakeBrowser) -> str:
        await _spans(stage, life, 4)
        await page.acts()
        page.state["cookies"] = b"long"
        return "done"

    assert await life.run(long, 4) == "done"
    assert now() - began > 4
    assert await life.run(cookies, 5) == b"long"
    await _goes_on(stage, life)


async def test_its_time_on_line_counts_as_ever(stage: Stage) -> None:
    """One that never ends is cut off some time after it is back."""
    life = await stage.started()

    async def never(page: FakeBrowser) -> None:
        await _spans(stage, life, 1)
        await asyncio.Event().wait()

    with pytest.raises(CommandTimeout):
        await life.run(never, 3)
    assert await life.run(writes("cookies", b"1"), 5) == "done"
    assert len(stage.launcher.browsers) == 2
    await life.stop(5)


async def test_what_playwright_says_of_a_frozen_browser_is_not_the_caller_s_fault(
    stage: Stage,
) -> None:
    """Its own timeouts count by the clock on the wall: such a command is retryable."""
    life = await stage.started()

    async def times_out(page: FakeBrowser) -> None:
        await _spans(stage, life, 0)
        raise PlaywrightError("Timeout 30000ms exceeded")

    with pytest.raises(InstanceLost, match="off line meanwhile") as caught:
        await life.run(times_out, 5)
    assert caught.value.retryable
    await _goes_on(stage, life)


async def test_the_function_s_own_errors_stay_its_own(stage: Stage) -> None:
    """Off line or not, and what it left behind is saved."""
    life = await stage.started()

    async def raises(page: FakeBrowser) -> None:
        await _spans(stage, life, 0)
        page.state["cookies"] = b"half"
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await life.run(raises, 5)
    found = await stage.saved()
    assert found is not None
    assert found.parts["cookies"] == b"half"
    await _goes_on(stage, life)


# -- a browser that dies while the store is away ---------------------------------------------------


async def test_it_is_rebuilt_when_the_store_is_back(stage: Stage) -> None:
    """Nobody can say from which state before; the life goes on all the time."""
    life = await stage.started()
    await life.run(writes("cookies", b"kept"), 5)
    await stage.off_line()
    stage.browser.die()
    await asyncio.sleep(0.7)
    assert (life.phase, len(stage.launcher.browsers)) == (Phase.RECOVERING, 1)
    await stage.on_line(life)
    assert await life.run(cookies, 5) == b"kept"
    assert len(stage.launcher.browsers) == 2
    assert stage.ended == []
    await life.stop(5)


async def test_a_life_that_ended_meanwhile_brings_up_no_browser(stage: Stage) -> None:
    """Told to stop while it waited for the store, it stays stopped."""
    life = await stage.started()
    stage.away = True
    stage.browser.die()
    await asyncio.sleep(0.1)
    result = await life.stop(0.1)
    assert not result.saved
    stage.away = False
    await asyncio.sleep(1)
    assert len(stage.launcher.browsers) == 1
    assert life.phase is Phase.ABSENT

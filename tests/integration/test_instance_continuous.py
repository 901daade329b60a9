"""What a browser changes by itself is saved as it changes, and no version is spent on it."""

import asyncio
from typing import Any

import pytest

from raypool.model import Checkpoint
from raypool.phase import Phase
from tests.integration.instance_stage import Stage, cookies, make_stage, writes


@pytest.fixture
async def stage() -> Stage:
    return await make_stage()


def _changes(stage: Stage, value: bytes) -> None:
    stage.browser.state["cookies"] = value
    stage.browser.tell()


async def _saved(stage: Stage, value: bytes) -> Checkpoint:
    async with asyncio.timeout(10):
        while not (found := await stage.saved()) or found.parts.get("cookies") != value:
            await asyncio.sleep(0.01)
    return found


async def test_what_changes_by_itself_is_saved(stage: Stage) -> None:
    """Nobody runs or asks for anything."""
    life = await stage.started()
    _changes(stage, b"own")
    assert (await _saved(stage, b"own")).info.reasons == ("changed",)
    await life.stop(5)


async def test_what_changes_while_a_command_runs_is_saved(stage: Stage) -> None:
    """A command may take hours; a crash in the middle of it does not cost them."""
    life = await stage.started()
    over = asyncio.Event()

    async def long(page: Any) -> None:
        _changes(stage, b"meanwhile")
        await over.wait()

    running = asyncio.ensure_future(life.run(long, 60))
    await _saved(stage, b"meanwhile")
    assert not running.done()
    over.set()
    await running
    await life.stop(5)


async def test_passing_versions_leave_those_of_commands_alone(stage: Stage) -> None:
    """However often something changes, the versions that people go back to are kept."""
    life = await stage.started()
    for number in range(3):
        await life.run(writes("cookies", b"command %d" % number), 5)
        for change in range(3):
            _changes(stage, b"%d %d" % (number, change))
            await _saved(stage, b"%d %d" % (number, change))
    await life.checkpoint()
    versions = await stage.store.checkpoints.list(stage.session.id)
    found = [await stage.store.checkpoints.load(stage.session.id, v.version) for v in versions]
    kept = sorted(f.parts["cookies"] for f in found if f)
    assert kept == [b"2 2", b"command 0", b"command 1", b"command 2"]
    await life.stop(5)


async def test_nothing_is_written_when_nothing_changed(stage: Stage) -> None:
    """A look at a quiet browser costs the store nothing."""
    life = await stage.started()
    await life.run(writes("cookies", b"1"), 5)
    written: list[Any] = []
    save = stage.store.checkpoints.save

    async def counted(*args: Any, **kwargs: Any) -> Any:
        written.append(args)
        return await save(*args, **kwargs)

    stage.store.checkpoints.save = counted  # type: ignore[method-assign]
    for _ in range(5):
        stage.browser.changed.set()
        await asyncio.sleep(0.2)
    assert written == []
    _changes(stage, b"2")
    await _saved(stage, b"2")
    assert len(written) == 1
    await life.stop(5)


async def test_what_the_store_did_not_take_is_saved_when_it_is_back(stage: Stage) -> None:
    """The browser holds it meanwhile."""
    life = await stage.started()
    stage.away = True
    _changes(stage, b"held")
    await stage.eventually(lambda: stage.refused > 0)
    stage.away = False
    await _saved(stage, b"held")
    assert life.phase is Phase.READY
    await life.stop(5)


async def test_the_browser_that_takes_its_place_is_followed_at_once(stage: Stage) -> None:
    """Not only after the look at the dead one has timed out."""
    life = await stage.started()
    await life.run(writes("cookies", b"1"), 5)
    stage.browser.die()
    assert await life.run(cookies, 5) == b"1"
    _changes(stage, b"2")
    async with asyncio.timeout(0.7):
        await _saved(stage, b"2")
    await life.stop(5)


async def test_an_owner_that_lost_the_lease_writes_nothing_more(stage: Stage) -> None:
    """The next owner's state stands; this life ends when it notices."""
    life = await stage.started()
    await life.run(writes("cookies", b"mine"), 5)
    await stage.store.leases.unlock("b1", by="test", reason="test")
    _changes(stage, b"too late")
    await stage.eventually(lambda: bool(stage.ended))
    found = await stage.saved()
    assert found is not None
    assert found.parts["cookies"] == b"mine"


async def test_what_is_left_while_it_closes_is_not_taken_for_its_state(stage: Stage) -> None:
    """Tabs go one by one when a browser closes: the state is what it was before."""
    life = await stage.started()
    await life.run(writes("cookies", b"whole"), 5)
    browser, told = stage.browser, []

    async def closing() -> None:
        browser.state.clear()
        browser.tell()
        await asyncio.sleep(0.5)
        told.append(browser.changed.is_set())

    browser.close = closing  # type: ignore[method-assign]
    assert (await life.stop(5)).saved
    assert told
    found = await stage.saved()
    assert found is not None
    assert found.parts == {"cookies": b"whole"}

"""An instance rests when nobody uses it; whoever waits when it stops is sent away unharmed."""

import asyncio
from typing import Any

import pytest

from actors.session import InstanceSession
from raypool.errors import ErrorCodes, InstanceNotReady, RateLimitError, RaypoolError
from raypool.phase import Phase
from tests.integration.instance_stage import FakeBrowser, Stage, make_stage, writes


@pytest.fixture
async def stage() -> Stage:
    return await make_stage()


async def _lives_on(stage: Stage, life: InstanceSession) -> None:
    assert life.phase is Phase.READY
    assert "closed" not in stage.diary
    assert await life.run(writes("cookies", b"after"), 5) == "done"
    await life.stop(5)


async def test_an_idle_instance_rests_with_its_state_saved(stage: Stage) -> None:
    """What the page did by itself, too; browser, directory and lease are gone."""
    life = await stage.started()
    await life.run(writes("cookies", b"1"), 5)
    stage.browser.state["tabs"] = b"by the page itself"
    result = await life.hibernate(0, 5)
    assert result is not None
    assert result.saved
    saved = await stage.saved()
    assert saved is not None
    assert saved.parts == {"cookies": b"1", "tabs": b"by the page itself"}
    assert saved.info.version == result.checkpoint_version
    assert stage.diary[-1] == "removed"
    assert await stage.store.leases.get("b1") is None


async def test_one_that_was_just_used_does_not_rest(stage: Stage) -> None:
    """Used by a command, or by somebody who said that he is there."""
    life = await stage.started()
    assert await life.hibernate(60, 5) is None
    await asyncio.sleep(0.3)
    life.touch()
    assert await life.hibernate(0.3, 5) is None
    await life.run(writes("cookies", b"1"), 5)
    assert await life.hibernate(0.3, 5) is None
    await _lives_on(stage, life)


async def test_one_that_is_busy_does_not_rest(stage: Stage) -> None:
    """Its command goes on undisturbed."""
    life = await stage.started()
    go_on = asyncio.Event()

    async def long(page: FakeBrowser) -> str:
        await go_on.wait()
        return "done"

    running = asyncio.ensure_future(life.run(long, 5))
    await asyncio.sleep(0.05)
    assert await life.hibernate(0, 5) is None
    go_on.set()
    assert await running == "done"
    await _lives_on(stage, life)


async def test_one_with_somebody_attached_does_not_rest(stage: Stage) -> None:
    """Though he sends no command; once he has left, it does."""
    life = await stage.started()
    await life.attach("ticket", "127.0.0.1")
    assert await life.hibernate(0, 5) is None
    await life.detach("ticket")
    assert await life.hibernate(0, 5) is not None


async def test_a_command_that_comes_in_the_last_moment_is_served(stage: Stage) -> None:
    """It waits behind the save before the rest, and the rest is called off."""
    life = await stage.started()
    save, saving = stage.store.checkpoints.save, asyncio.Event()

    async def slowly(*args: Any, **kwargs: Any) -> Any:
        saving.set()
        await asyncio.sleep(0.1)
        return await save(*args, **kwargs)

    stage.store.checkpoints.save = slowly  # type: ignore[method-assign]
    resting = asyncio.ensure_future(life.hibernate(0, 5))
    await saving.wait()
    assert await life.run(writes("cookies", b"1"), 5) == "done"
    assert await resting is None
    await _lives_on(stage, life)


async def test_one_that_is_off_line_does_not_rest(stage: Stage) -> None:
    """It could not save, and its browser may hold what nobody else does."""
    life = await stage.started()
    await stage.off_line()
    assert await life.hibernate(0, 5) is None
    assert stage.ended == []
    await stage.on_line(life)
    await _lives_on(stage, life)


async def test_one_that_cannot_be_saved_does_not_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error says so; it goes on, and may rest when the store is there."""
    monkeypatch.setattr("actors.workplace.COMMIT_ATTEMPTS", 1)
    stage = await make_stage(lease_ttl=60)
    life = await stage.started()
    stage.away = True
    stage.browser.state["cookies"] = b"held"
    with pytest.raises(RaypoolError) as caught:
        await life.hibernate(0, 5)
    assert caught.value.code is ErrorCodes.STORAGE_NOT_SAVED
    assert (life.phase, "closed" in stage.diary) == (Phase.READY, False)
    stage.away = False
    result = await life.hibernate(0, 5)
    assert result is not None
    assert result.saved
    saved = await stage.saved()
    assert saved is not None
    assert saved.parts["cookies"] == b"held"


async def test_who_waits_when_it_stops_is_sent_away(stage: Stage) -> None:
    """What runs is saved; of the others none has begun: they may be sent again, at once."""
    life = await stage.started()
    go_on, began = asyncio.Event(), []

    async def long(page: FakeBrowser) -> str:
        began.append("first")
        await go_on.wait()
        page.state["cookies"] = b"first"
        return "done"

    async def other(page: FakeBrowser) -> None:
        began.append("other")

    running = asyncio.ensure_future(life.run(long, 5))
    await asyncio.sleep(0.05)
    waiting = [asyncio.ensure_future(life.run(other, 5)) for _ in range(3)]
    await asyncio.sleep(0.05)
    stopping = asyncio.ensure_future(life.stop(5))
    for task in waiting:
        with pytest.raises(InstanceNotReady) as caught:
            await asyncio.wait_for(task, 1)
        assert caught.value.retryable
        assert caught.value.retry_after
    assert not running.done()
    go_on.set()
    assert await running == "done"
    assert (await stopping).saved
    assert began == ["first"]
    saved = await stage.saved()
    assert saved is not None
    assert saved.parts["cookies"] == b"first"


async def test_no_more_wait_than_the_settings_allow() -> None:
    """One more is refused at once, and disturbs nobody."""
    stage = await make_stage(max_queued=2)
    life = await stage.started()
    go_on = asyncio.Event()

    async def long(page: FakeBrowser) -> str:
        await go_on.wait()
        return "done"

    running = []
    for _ in range(3):
        running.append(asyncio.ensure_future(life.run(long, 5)))
        await asyncio.sleep(0.05)
    with pytest.raises(RateLimitError, match="2 commands are waiting already"):
        await life.run(long, 5)
    go_on.set()
    assert await asyncio.gather(*running) == ["done"] * 3
    await life.stop(5)

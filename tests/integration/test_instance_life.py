"""One incarnation: lease first and last, acknowledged before answered, stale owners harmless."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

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
from raypool.model import Holder
from raypool.phase import Phase
from tests.integration.instance_stage import (
    FakeBrowser,
    FakeState,
    Stage,
    block,
    cookies,
    for_ever,
    make_stage,
    writes,
)


@pytest.fixture
async def stage() -> Stage:
    return await make_stage()


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
    saved = await stage.saved()
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
    saved = await stage.saved()
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
    assert await stage.saved() is None
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
        block(4.5)  # twice the lease, without giving the loop a turn
        return "back"

    assert await life.run(blocks, 30) == "back"
    assert stage.ended == []
    await life.stop(5)


async def test_a_store_that_is_away_for_a_moment_costs_no_lease(stage: Stage) -> None:
    """The keeper opens its connection again until the lease is at its end, and keeps the lease."""
    stage.broken_connections = 3
    life = stage.life()
    await life.start()
    await asyncio.sleep(2.5)  # longer than the lease
    assert stage.broken_connections == 0
    assert stage.ended == []
    assert await life.run(writes("cookies", b"1"), 5) == "done"
    await life.stop(5)


async def test_a_browser_that_dies_while_it_is_read_leaves_no_half_state(stage: Stage) -> None:
    """InstanceLost, and the version before is what the next browser is made from."""
    life = stage.life()
    await life.start()
    await life.run(writes("cookies", b"whole"), 5)
    browser = stage.browser

    async def emptied(*, everything: bool) -> FakeState:
        browser.die()
        return FakeState({})

    browser.collect = emptied  # type: ignore[method-assign]
    with pytest.raises(InstanceLost):
        await life.run(writes("cookies", b"never read"), 5)
    assert await life.run(cookies, 5) == b"whole"
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
    assert await life.run(cookies, 5) == b"acknowledged"
    assert len(stage.launcher.browsers) == 2
    await life.stop(5)


async def test_what_ran_and_is_not_saved_is_not_to_be_run_again(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the store is away, the error is not retryable: the function has done its work."""
    monkeypatch.setattr("actors.workplace.COMMIT_ATTEMPTS", 2)
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
    await life.checkpoint()
    found = await stage.saved()
    assert found is not None
    assert found.parts == {"cookies": b"held"}
    await life.stop(5)


async def test_stop_cuts_off_a_command_that_does_not_end(stage: Stage) -> None:
    """A stop ends in time, and says what was not saved."""
    life = stage.life()
    await life.start()
    running = asyncio.ensure_future(life.run(for_ever, 60))
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

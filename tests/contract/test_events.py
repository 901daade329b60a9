"""Followers hear of every change once, notice what they may have missed, and cost nothing meanwhile."""

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import pytest_asyncio
from redis import Redis

from raypool.model import CheckpointMeta, Observed
from raypool.store.base import Follower
from raypool.store.following import Changes
from tests.contract.conftest import Fleet, Stores, new_fleet
from tests.contract.servers import program, running

NOTHING = Changes()
QUIET = 0.3


@pytest_asyncio.fixture
async def follower(stores: Stores) -> AsyncIterator[Follower]:
    """A follower that has had its first answer."""
    assert stores.events is not None
    async with stores.events.follow() as found:
        assert (await found.changes(5)).resync
        yield found


async def heard(follower: Follower, within: float = 5.0) -> set[str]:
    """Return the business ids of all that comes until it is quiet; nothing may be missed."""
    found: set[str] = set()
    wait = within
    while (changes := await follower.changes(wait)) != NOTHING:
        assert not changes.resync
        found |= changes.business_ids
        wait = QUIET
    return found


async def test_the_first_answer_is_to_read_everything(stores: Stores) -> None:
    """What was before the follower is not told; from then on each change is."""
    await stores.sessions.create_session("before")
    assert stores.events is not None
    async with stores.events.follow() as follower:
        assert await follower.changes(5) == Changes(resync=True)
        assert await follower.changes(0.05) == NOTHING
        await stores.sessions.create_session("after")
        assert await heard(follower) == {"after"}


async def test_what_changes_a_record_or_frees_a_lease_is_heard(
    stores: Stores, follower: Follower
) -> None:
    """Created, updated, deleted, released."""
    made = await stores.sessions.create_session("b")
    assert await heard(follower) == {"b"}
    await stores.sessions.update_session(made.id, email="a@example.com")
    assert await heard(follower) == {"b"}
    lease = await stores.lease("b")
    assert await heard(follower, QUIET) == set()
    await stores.leases.release(lease)
    assert await heard(follower) == {"b"}
    await stores.sessions.delete_session(made.id)
    assert await heard(follower) == {"b"}


async def test_activity_reports_and_checkpoints_are_not_heard(
    stores: Stores, follower: Follower
) -> None:
    """They change nothing that should run, and there are many."""
    made = await stores.sessions.create_session("b")
    lease = await stores.lease("b")
    await heard(follower)
    await stores.sessions.touch(made.id)
    await stores.sessions.report(made.id, lease.token, Observed())
    await stores.checkpoints.save(made.id, lease.token, {"cookies": b"1"}, CheckpointMeta())
    assert await heard(follower, QUIET) == set()


async def test_many_changes_are_heard_in_all_partitions(stores: Stores, follower: Follower) -> None:
    """More businesses than one read brings; each is named once."""
    businesses = {f"business-{n}" for n in range(150)}
    for _ in range(4):
        await asyncio.gather(*(stores.sessions.ensure_active(b, desired=d)
                               for b in businesses for d in ("running", "stopped")))  # fmt: skip
    assert await heard(follower) == businesses


async def test_a_change_is_heard_at_once(stores: Stores, follower: Follower) -> None:
    """The follower waits for it instead of asking now and then."""
    waiting = asyncio.create_task(follower.changes(10))
    await asyncio.sleep(0.1)
    await stores.sessions.create_session("b")
    begun = time.monotonic()
    assert (await waiting).business_ids == {"b"}
    assert time.monotonic() - begun < 2


async def test_two_followers_hear_the_same(stores: Stores, follower: Follower) -> None:
    """One does not take from the other."""
    assert stores.events is not None
    async with stores.events.follow() as other:
        assert (await other.changes(5)).resync
        await stores.sessions.create_session("b")
        assert await heard(other) == {"b"}
    assert await heard(follower) == {"b"}


async def test_waiting_costs_next_to_nothing(stores: Stores, follower: Follower) -> None:
    """Under 2 % of a core, whatever the number of partitions."""
    await follower.changes(0.3)
    begun, spent = time.monotonic(), time.process_time()
    assert await follower.changes(3) == NOTHING
    assert time.process_time() - spent < 0.02 * (time.monotonic() - begun)


def stream(fleet: Fleet) -> str:
    """Return the key of the fleet's stream."""
    return f"{fleet.prefix}{{0}}:events"


async def test_a_stream_that_was_cut_is_noticed(fleet: Fleet) -> None:
    """The follower slept while more happened than the stream keeps."""
    manager = await fleet.manager().open()
    async with manager.events.follow() as follower:
        await follower.changes(5)
        await manager.create_session("a")
        assert await heard(follower) == {"a"}
        pipe = fleet.admin.pipeline()  # in one go: the follower reads before or after all of it
        for n in range(3):
            pipe.xadd(stream(fleet), {"business": f"b{n}", "kind": "updated"})
        pipe.xtrim(stream(fleet), maxlen=1, approximate=False)
        await pipe.execute()
        assert (await follower.changes(5)).resync
        await manager.create_session("c")
        assert await heard(follower) == {"c"}


@pytest.mark.parametrize("refilled", [False, True])
async def test_a_server_that_came_back_empty_is_noticed(fleet: Fleet, refilled: bool) -> None:
    """Whether or not somebody wrote to it meanwhile; no connection broke."""
    manager = await fleet.manager().open()
    async with manager.events.follow() as follower:
        await follower.changes(5)
        await manager.create_session("a")
        assert await heard(follower) == {"a"}
        await fleet.admin.delete(stream(fleet))
        if refilled:
            await manager.create_session("b")
        assert (await follower.changes(10)).resync
        await manager.create_session("c")
        assert await heard(follower) == {"c"}


async def test_entries_of_strangers_do_no_harm(fleet: Fleet) -> None:
    """Whatever somebody puts into the stream."""
    manager = await fleet.manager().open()
    async with manager.events.follow() as follower:
        await follower.changes(5)
        await fleet.admin.xadd(stream(fleet), {b"\xff": b"\xff", "kind": b"\xff"})
        await manager.create_session("b")
        assert await heard(follower) == {"b"}


async def test_a_cut_connection_means_resync(fleet: Fleet) -> None:
    """Something may have happened before the next one was there."""
    manager = await fleet.manager().open()
    async with manager.events.follow() as follower:
        await follower.changes(5)
        (mine,) = [c for c in await fleet.admin.client_list() if c["name"] == "raypool-events"]
        assert await fleet.admin.client_kill_filter(_id=mine["id"]) == 1
        assert (await follower.changes(5)).resync
        await manager.create_session("b")
        assert await heard(follower) == {"b"}


@pytest.fixture
def directory() -> Iterator[Path]:
    """A short path: sockets have at most 107 characters."""
    with tempfile.TemporaryDirectory(prefix="rp-") as path:
        yield Path(path)


async def test_an_outage_is_survived_without_haste(directory: Path) -> None:
    """No call fails, the server is asked a few times a second at most, and then comes a resync."""
    server = program("valkey")
    assert server is not None
    with running(server, directory) as url:
        fleet = new_fleet(url).fleet
        manager = await fleet.manager().open()
        follow = manager.events.follow()
        follower = await follow.__aenter__()
        await follower.changes(5)
    spent = time.process_time()
    assert await follower.changes(2) == NOTHING
    assert time.process_time() - spent < 0.3
    with running(server, directory):
        assert (await follower.changes(15)).resync
        await manager.create_session("b")
        assert await heard(follower) == {"b"}
        await follow.__aexit__(None, None, None)
        await manager.close()
        await fleet.admin.aclose()


async def test_a_follower_begins_before_its_server(directory: Path) -> None:
    """The first answer says to read everything, and so does the one after the server came."""
    server = program("valkey")
    assert server is not None
    with running(server, directory) as url:
        pass
    fleet = new_fleet(url).fleet
    manager = fleet.manager()
    async with manager.events.follow() as follower:
        assert await follower.changes(0.2) == Changes(resync=True)
        assert await follower.changes(0.2) == NOTHING
        with running(server, directory):
            assert await follower.changes(15) == Changes(resync=True)
    await fleet.admin.aclose()


@contextmanager
def _connections(url: str) -> Iterator[Callable[[], int]]:
    with Redis.from_url(url) as admin:
        yield lambda: len([c for c in admin.client_list() if c["name"] == "raypool-events"])


async def test_one_connection_a_partition_and_none_after(fleet: Fleet) -> None:
    """Leaving the block while a read is under way leaves nothing behind."""
    manager = await fleet.manager().open()
    with _connections(fleet.url) as count:
        async with manager.events.follow() as follower:
            await follower.changes(5)
            assert count() == 1
        deadline = time.monotonic() + 5
        while count():
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)

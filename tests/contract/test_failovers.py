"""What holds on a real server at a failover, without memory, and among many records."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from raypool.errors import LeaseLost, SessionLocked, StoreUnavailable
from raypool.model import CheckpointMeta, Desired, Supervision
from raypool.store.sessions import RedisSessionManager
from tests.contract.conftest import Fleet, holder, new_fleet
from tests.contract.servers import PASSWORD, free_port, program, running

PARTS = {"cookies": b"1"}
META = CheckpointMeta()


@pytest.mark.parametrize("known", [None, "of the owner before"])
async def test_a_replica_that_missed_the_owner_learns_of_it(
    fleet: Fleet, manager: RedisSessionManager, known: str | None
) -> None:
    """It has no lease and an older counter: the owner goes on, and the counter is put right."""
    made = await manager.create_session("b")
    before = await manager.leases.acquire("b", holder(), 20)
    lease = await manager.leases.acquire("b", holder(), 20, supersedes=before.holder.id)
    tag = f"{fleet.prefix}{{0}}"
    await fleet.admin.delete(f"{tag}:lease:b", f"{tag}:token:b")
    if known:
        await fleet.admin.set(f"{tag}:token:b", before.token)
    assert await manager.leases.renew(lease)
    assert int(await fleet.admin.get(f"{tag}:token:b") or 0) == lease.token
    assert await fleet.admin.pttl(f"{tag}:token:b") > 80 * 86_400_000
    assert not await manager.leases.renew(before)
    with pytest.raises(LeaseLost):
        await manager.checkpoints.save(made.id, before.token, PARTS, META)


@pytest_asyncio.fixture
async def pair(
    servers: Callable[[str], str], directory: Path
) -> AsyncIterator[tuple[Fleet, Redis, str]]:
    """A fleet on a primary, its replica, and the replica's URL."""
    servers("redis")  # skipped or failed where there is none
    server = program("redis")
    assert server is not None
    homes, ports = [directory / name for name in "pr"], [str(free_port()), str(free_port())]
    options = ["--bind", "127.0.0.1", "--masterauth", PASSWORD, "--repl-diskless-sync-delay", "0"]
    for home in homes:
        home.mkdir()
    with (
        running(server, homes[0], "--port", ports[0], *options) as primary,
        running(server, homes[1], "--port", ports[1], *options) as url,
    ):
        async with new_fleet(primary) as fleet, Redis.from_url(url) as replica:
            await replica.replicaof("127.0.0.1", ports[0])
            yield fleet, replica, url


async def test_an_owner_goes_on_at_a_replica_that_lost_its_tail(
    pair: tuple[Fleet, Redis, str],
) -> None:
    """A real failover: the replica missed the lease and two versions; nothing is given out twice."""
    fleet, replica, url = pair
    manager, later = await fleet.manager().open(), fleet.manager(url=url)
    made = await manager.create_session("b")
    first = await manager.leases.acquire("b", holder(), 20)
    await manager.checkpoints.save(made.id, first.token, PARTS, META)
    await manager.leases.release(first)
    assert await fleet.admin.wait(1, 10_000) == 1
    await replica.replicaof("NO", "ONE")
    lease = await manager.leases.acquire("b", holder(), 20)
    for content in (b"2", b"3"):
        saved = await manager.checkpoints.save(made.id, lease.token, {"cookies": content}, META)
    assert await later.leases.get("b") is None
    assert await later.leases.renew(lease)
    assert not await later.leases.renew(first)
    assert (await later.rewrite_lost(made, lease.token)).checkpoint_version == 1
    info = await later.checkpoints.save(
        made.id, lease.token, {"cookies": b"3"}, META, after=saved.version
    )
    assert (saved.version, info.version) == (3, 4)
    with pytest.raises(SessionLocked):
        await later.leases.acquire("b", holder(), 20)


async def test_a_smaller_token_of_the_present_owner_counts(
    fleet: Fleet, manager: RedisSessionManager
) -> None:
    """A server that lost its data, with a clock that is behind: the larger token is stale there."""
    made = await manager.create_session("b")
    old = await manager.leases.acquire("b", holder(), 20)
    new = await manager.leases.acquire("b", holder(), 20, supersedes=old.holder.id)
    tag, behind = f"{fleet.prefix}{{0}}", old.token - 1_000_000
    await fleet.admin.hset(f"{tag}:lease:b", "token", behind)
    await fleet.admin.set(f"{tag}:token:b", behind)
    assert not await manager.leases.renew(old)
    for token in (old.token, new.token):
        with pytest.raises(LeaseLost):
            await manager.checkpoints.save(made.id, token, PARTS, META)
    assert (await manager.checkpoints.save(made.id, behind, PARTS, META)).version == 1


async def test_a_counter_lives_as_long_as_its_owner(
    fleet: Fleet, manager: RedisSessionManager
) -> None:
    """An owner that lives for months renews it together with its lease."""
    lease = await manager.leases.acquire("b", holder(), 20)
    counter = f"{fleet.prefix}{{0}}:token:b"
    await fleet.admin.pexpire(counter, 5000)
    assert await manager.leases.renew(lease)
    assert await fleet.admin.pttl(counter) > 80 * 86_400_000


async def test_leases_work_on_a_full_server(lone: Fleet) -> None:
    """Owners keep, get back and give up what they have, though nothing can be saved."""
    manager = await lone.manager().open()
    made = await manager.create_session("b")
    lease = await manager.leases.acquire("b", holder(), 20)
    await lone.admin.config_set("maxmemory", 1)
    with pytest.raises(StoreUnavailable):
        await manager.checkpoints.save(made.id, lease.token, PARTS, META)
    with pytest.raises(StoreUnavailable):
        await manager.supervise(made.id, Supervision(failures=1))
    assert await manager.leases.renew(lease)
    await lone.admin.delete(f"{lone.prefix}{{0}}:lease:b")
    assert await manager.leases.renew(lease)
    assert await manager.leases.release(lease)
    assert not await manager.leases.renew(lease)
    await manager.leases.acquire("b", holder(), 20)
    assert await manager.leases.unlock("b", by="ann", reason="it is full") is not None
    assert len(await manager.audit_log()) == 1


async def test_what_runs_is_found_among_many_that_do_not(
    fleet: Fleet, manager: RedisSessionManager
) -> None:
    """Only what runs is read, however many are hibernated."""

    async def make(name: str, wish: Desired) -> Any:
        return await manager.ensure_active(name, desired=wish)

    running = [await make(f"r{n}", Desired.RUNNING) for n in range(3)]
    await asyncio.gather(*(make(f"h{n}", Desired.HIBERNATED) for n in range(200)))
    await fleet.admin.config_resetstat()
    found = await manager.list_sessions(desired=Desired.RUNNING)
    assert {s.id for s in found} == {s.id for s in running}
    used = await fleet.admin.info("commandstats")
    assert used["cmdstat_hgetall"]["calls"] == len(running)

"""A primary that dies or is replaced: errors can be retried, and what was acknowledged is there."""

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import pytest_asyncio
from redis import Redis

from raypool.errors import ErrorCodes, StoreUnavailable
from raypool.model import CheckpointInfo, CheckpointMeta, Lease, Session
from raypool.store.sessions import RedisSessionManager
from tests.contract.conftest import FleetContext, holder
from tests.contract.servers import (
    PASSWORD,
    Member,
    members,
    program,
    replicated,
    wait_in_step,
    watched,
)


@pytest.fixture
def directory() -> Iterator[Path]:
    """A short path: sockets have at most 107 characters."""
    with tempfile.TemporaryDirectory(prefix="rp-") as path:
        yield Path(path)


@dataclass
class Owner:
    """Renews its lease and saves, again and again, as the owner of an instance does."""

    manager: RedisSessionManager
    session: Session
    lease: Lease
    acknowledged: list[CheckpointInfo] = field(default_factory=list)
    errors: list[StoreUnavailable] = field(default_factory=list)
    renewed: int = 0

    async def work(self) -> None:
        """Go on until cancelled; only errors that may pass are survived."""
        number = 0
        while True:
            number += 1
            await self._attempt(self._save(number))
            await self._attempt(self._renew())
            await asyncio.sleep(0.05)

    async def _attempt(self, call: object) -> None:
        try:
            await call  # type: ignore[misc]
        except StoreUnavailable as error:
            self.errors.append(error)

    async def _save(self, number: int) -> None:
        parts = {"cookies": str(number).encode()}
        info = await self.manager.checkpoints.save(
            self.session.id, self.lease.token, parts, CheckpointMeta(reasons=(str(number),))
        )
        self.acknowledged.append(info)

    async def _renew(self) -> None:
        assert await self.manager.leases.renew(self.lease)
        self.renewed += 1

    async def until_saved_again(self) -> None:
        """Wait until a save and a renewal that begin from now on were acknowledged."""
        saved, renewed, deadline = len(self.acknowledged) + 1, self.renewed + 1, _deadline()
        while len(self.acknowledged) <= saved or self.renewed <= renewed:
            assert time.monotonic() < deadline, self.errors[-3:]
            await asyncio.sleep(0.05)


def _deadline() -> float:
    return time.monotonic() + 40


@dataclass
class Group:
    """A primary and a replica under three Sentinels, and an owner that works."""

    url: str
    primary: Member
    replica: Member
    owner: Owner
    stack: ExitStack

    def primary_port(self) -> int:
        """Return who is the primary by the Sentinels' word."""
        host = self.url.partition("@")[2].partition(",")[0]
        with Redis(port=int(host.rpartition(":")[2])) as admin:
            return int(admin.sentinel_get_master_addr_by_name("mine")[1])


@pytest_asyncio.fixture(params=["redis", "valkey"])
async def group(request: pytest.FixtureRequest, directory: Path) -> AsyncIterator[Group]:
    """Each kind of server, with acknowledged writes on the replica."""
    server = program(request.param)
    assert server is not None
    primary, replica = members(server, directory)
    with ExitStack() as stack:
        stack.enter_context(primary.running())
        wait_in_step(stack.enter_context(replica.running()))
        url = stack.enter_context(watched(server, directory, primary.port))
        context = FleetContext(url, admin=f"redis://:{PASSWORD}@127.0.0.1:{primary.port}")
        async with context as fleet:
            manager = await fleet.manager(durability="replica").open()
            session = await manager.create_session("b")
            lease = await manager.leases.acquire("b", holder(), 60)
            yield Group(url, primary, replica, Owner(manager, session, lease), stack)


async def everything_is_there(owner: Owner) -> None:
    """Check that nothing acknowledged was lost: newest, contents, and the right to write."""
    kept = {info.version: info for info in await owner.manager.checkpoints.list(owner.session.id)}
    newest = owner.acknowledged[-1]
    assert max(kept) >= newest.version
    for info in owner.acknowledged[-10:]:
        assert kept[info.version].reasons == info.reasons
        found = await owner.manager.checkpoints.load(owner.session.id, info.version)
        assert found is not None
        assert found.parts["cookies"] == info.reasons[0].encode()
    lease = await owner.manager.leases.get("b")
    assert lease is not None
    assert lease.token == owner.lease.token
    versions = [info.version for info in owner.acknowledged]
    assert versions == sorted(set(versions))


async def test_an_owner_outlives_the_death_of_the_primary(group: Group) -> None:
    """It renews and saves through the failover; the dead primary comes back as a replica."""
    owner = group.owner
    async with owner.manager.events.follow() as follower:
        await follower.changes(5)
        working = asyncio.create_task(owner.work())
        await owner.until_saved_again()
        group.primary.kill()
        deadline = _deadline()
        while group.primary_port() == group.primary.port:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.1)
        before = len(owner.acknowledged)
        await asyncio.sleep(1)
        assert len(owner.acknowledged) == before  # there is no replica: nothing is promised
        group.stack.enter_context(group.primary.running())
        await owner.until_saved_again()
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
        assert (await follower.changes(20)).resync
    assert owner.errors
    assert all(error.retryable for error in owner.errors)
    await everything_is_there(owner)


@pytest.mark.parametrize("group", ["redis"], indirect=True)
async def test_an_owner_outlives_a_planned_failover(group: Group) -> None:
    """The old primary lives on as a replica: whoever is still connected to it finds the new one."""
    owner = group.owner
    working = asyncio.create_task(owner.work())
    await owner.until_saved_again()
    host = group.url.partition("@")[2].partition(",")[0]
    with Redis(port=int(host.rpartition(":")[2])) as sentinel:
        sentinel.sentinel_failover("mine")
    deadline = _deadline()
    while group.primary_port() == group.primary.port:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)
    await owner.until_saved_again()
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)
    await everything_is_there(owner)


@pytest.mark.parametrize("level", ["server", "replica"])
async def test_an_address_that_moves_is_followed(directory: Path, level: str) -> None:
    """Managed services move a name to the new primary; open connections lead to the old one."""
    server = program("valkey")
    assert server is not None
    address = directory / "address"
    with replicated(server, directory) as (old, new):
        address.symlink_to(directory / "1" / "s")
        async with FleetContext(f"unix://:{PASSWORD}@{address}") as fleet:
            manager = await fleet.manager().open()
            session = await manager.create_session("b")
            await asyncio.gather(*(manager.get_session(session.id) for _ in range(30)))
            writer = fleet.manager(durability=level)
            await writer.touch(session.id)
            with Redis.from_url(old) as first, Redis.from_url(new) as second:
                second.replicaof("NO", "ONE")
                _move(address, directory / "2" / "s")
                port = second.config_get("port")["port"]
                first.replicaof("127.0.0.1", port)
            wait_in_step(old)
            for n in range(20):
                changed = await writer.update_session(session.id, email=f"{n}@example.com")
                assert changed.email == f"{n}@example.com"


async def test_a_primary_that_became_a_replica_is_told_apart(directory: Path) -> None:
    """Nobody moved the address: the error is retryable and says what is the matter."""
    server = program("valkey")
    assert server is not None
    with replicated(server, directory) as (old, new):
        async with FleetContext(old) as fleet:
            manager = await fleet.manager(durability="replica").open()
            session = await manager.create_session("b")
            with Redis.from_url(old) as first, Redis.from_url(new) as second:
                second.replicaof("NO", "ONE")
                first.replicaof("127.0.0.1", second.config_get("port")["port"])
                with pytest.raises(StoreUnavailable) as caught:
                    await manager.touch(session.id)
                assert caught.value.code is ErrorCodes.STORAGE_READ_ONLY
                assert caught.value.retryable
                first.replicaof("NO", "ONE")
                second.replicaof("127.0.0.1", first.config_get("port")["port"])
            wait_in_step(new)
            assert (await manager.touch(session.id)).id == session.id


def _move(link: Path, target: Path) -> None:
    fresh = link.with_name("fresh")
    fresh.symlink_to(target)
    fresh.replace(link)

"""The stores that keep the contract: the twin in memory, and real servers."""

import asyncio
import os
import tempfile
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from raypool.config import Settings
from raypool.model import Holder, Lease
from raypool.store.base import CheckpointStore, EventStore, LeaseStore, SessionStore
from raypool.store.crypto import Keyring
from raypool.store.memory import MemoryStore
from raypool.store.scripts import source
from raypool.store.sessions import RedisSessionManager
from tests.contract.proxy import LossyProxy
from tests.contract.servers import PASSWORD, clustered, free_port, program, running

from pydantic import SecretStr  # isort: skip


@dataclass
class Stores:
    """One store under test."""

    sessions: SessionStore
    leases: LeaseStore
    checkpoints: CheckpointStore
    wait: Callable[[float], Any]
    """Let seconds pass: moves the twin's clock, sleeps beside a real server."""
    lose: Callable[[], Any]
    """Lose all data, as a server that comes back empty."""
    events: EventStore | None = None

    async def lease(self, business_id: str, ttl: float = 30.0, **more: Any) -> Lease:
        """Take a lease as a new holder."""
        return await self.leases.acquire(business_id, holder(), ttl, **more)


@dataclass
class Fleet:
    """A store on a real server, with a way to look behind it."""

    url: str
    prefix: str
    keys: str
    admin: Redis
    opened: list[RedisSessionManager] = field(default_factory=list)

    def manager(self, **changes: Any) -> RedisSessionManager:
        """Return another manager on the same data, as another process would have one."""
        given = {"url": self.url, "prefix": self.prefix, **changes}
        keys = given.pop("keys", self.keys)
        settings = Settings(
            redis_url=given.pop("url"),
            redis_prefix=given.pop("prefix"),
            session_ttl=60,
            lease_ttl=2,
            **given,
        )
        manager = RedisSessionManager(settings, Keyring.parse(SecretStr(keys)))
        self.opened.append(manager)
        return manager

    async def lose(self) -> None:
        """Lose all that the fleet has in the server."""
        async for key in self.admin.scan_iter(f"{self.prefix}*", count=1000):
            await self.admin.unlink(key)

    async def names(self) -> set[str]:
        """Return every key of the fleet, without the prefix."""
        found = {key async for key in self.admin.scan_iter(f"{self.prefix}*", count=1000)}
        return {key.decode().removeprefix(self.prefix) for key in found}


def holder(kind: str = "instance", **more: Any) -> Holder:
    """Return a holder that never was before."""
    return Holder(id=uuid.uuid4().hex, kind=kind, **more)


class Clock:
    """A clock that tests move."""

    def __init__(self) -> None:
        self.now = datetime(2030, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    async def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.now += timedelta(seconds=seconds)


@pytest.fixture(scope="session")
def servers() -> Iterator[Callable[[str], str]]:
    """Start each kind of server when a test first asks for it."""
    urls: dict[str, str] = {}
    with ExitStack() as stack:

        def start(kind: str) -> str:
            if kind not in urls:
                directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rp-")))
                server = program("redis" if kind == "redis" else "valkey")
                if server is None:
                    message = f"there is no {kind} server on this machine"
                    _ = pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
                    raise AssertionError
                urls[kind] = stack.enter_context(
                    clustered(server, directory, free_port())
                    if kind == "cluster"
                    else running(server, directory)
                )
            return urls[kind]

        yield start


@pytest_asyncio.fixture(params=["valkey", "redis"])
async def fleet(
    request: pytest.FixtureRequest, servers: Callable[[str], str]
) -> AsyncIterator[Fleet]:
    """A fleet of its own on each kind of real server."""
    async with new_fleet(servers(request.param)) as found:
        yield found


def new_fleet(url: str) -> "FleetContext":
    """Return a context with a fleet on *url*."""
    return FleetContext(url)


class FleetContext:
    """Opens a fleet under a random prefix, closes what was opened on it."""

    def __init__(self, url: str, admin: str = "") -> None:
        plain = admin or url.replace("redis+cluster", "redis")
        prefix = f"t{uuid.uuid4().hex[:12]}:"
        self.fleet = Fleet(url, prefix, Keyring.generate(), Redis.from_url(plain))

    async def __aenter__(self) -> Fleet:
        return self.fleet

    async def __aexit__(self, *_: object) -> None:
        for manager in self.fleet.opened:
            await manager.close()
        await self.fleet.admin.aclose()


@pytest_asyncio.fixture
async def manager(fleet: Fleet) -> RedisSessionManager:
    """A manager on a real server, opened."""
    return await fleet.manager().open()


@pytest_asyncio.fixture(params=["memory", "valkey", "redis", "cluster"])
async def stores(
    request: pytest.FixtureRequest, servers: Callable[[str], str]
) -> AsyncIterator[Stores]:
    """Each store that keeps the contract."""
    if request.param == "memory":
        clock = Clock()
        twin = MemoryStore(clock, session_ttl=60, lease_ttl=2)

        async def lose() -> None:
            twin.lose()
            await clock.wait(0.001)

        yield Stores(twin.sessions, twin.leases, twin.checkpoints, clock.wait, lose, twin.events)
        return
    async with new_fleet(servers(request.param)) as found:
        real = await found.manager().open()
        yield Stores(real, real.leases, real.checkpoints, asyncio.sleep, found.lose, real.events)


@pytest.fixture
def directory() -> Iterator[Path]:
    """A short path: sockets have at most 107 characters."""
    with tempfile.TemporaryDirectory(prefix="rp-") as path:
        yield Path(path)


@pytest_asyncio.fixture
async def lossy(fleet: Fleet, directory: Path) -> AsyncIterator[LossyProxy]:
    """A proxy in front of the fleet's server, which knows all scripts already."""
    for file in (files("raypool.store") / "lua").iterdir():
        await fleet.admin.script_load(source(file.name.removesuffix(".lua")))
    async with LossyProxy(directory / "p", Path(urlsplit(fleet.url).path)) as proxy:
        yield proxy


@pytest_asyncio.fixture
async def behind(
    fleet: Fleet, lossy: LossyProxy, directory: Path
) -> AsyncIterator[RedisSessionManager]:
    """A manager that reaches the server through the proxy."""
    async with fleet.manager(url=f"unix://:{PASSWORD}@{directory / 'p'}") as manager:
        yield manager


@pytest_asyncio.fixture(params=["valkey", "redis"])
async def lone(
    request: pytest.FixtureRequest, servers: Callable[[str], str], directory: Path
) -> AsyncIterator[Fleet]:
    """A fleet on a server of its own, whose settings a test may spoil."""
    servers(request.param)  # skipped or failed where there is none
    server = program(request.param)
    assert server is not None
    with running(server, directory) as url:
        async with new_fleet(url) as fleet:
            yield fleet

"""What is acknowledged is on the replicas too, when that was asked for; nothing else is."""

import asyncio
import os
import re
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import pytest_asyncio

from raypool.errors import ErrorCodes, StorageError, StoreUnavailable
from raypool.model import CheckpointInfo, CheckpointMeta, Lease, Session, Supervision
from raypool.store import durability
from raypool.store.scripts import READING, source
from raypool.store.sessions import RedisSessionManager
from tests.contract.conftest import Fleet, holder, new_fleet
from tests.contract.proxy import LossyProxy
from tests.contract.servers import (
    PASSWORD,
    clustered_with_replica,
    paused,
    program,
    replicated,
)
from tests.contract.test_acl import log_in

KINDS = {
    "redis": ("redis", replicated, "replica"),
    "valkey": ("valkey", replicated, "replica"),
    "valkey on disk": ("valkey", replicated, "replica_fsync"),
    "cluster": ("valkey", clustered_with_replica, "replica"),
    "cluster on disk": ("valkey", clustered_with_replica, "replica_fsync"),
}


@pytest.fixture
def directory() -> Iterator[Path]:
    """A short path: sockets have at most 107 characters."""
    with tempfile.TemporaryDirectory(prefix="rp-") as path:
        yield Path(path)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that is refused has waited 0.75 s, a lease 0.3 s, instead of 3 and 1.2."""
    monkeypatch.setattr(durability, "_SHARE_OF_TIMEOUT", 0.15)


@dataclass
class Pair:
    """A fleet on a primary with one replica, and what a test needs to write to it."""

    fleet: Fleet
    replica: str
    level: str
    manager: RedisSessionManager
    session: Session
    lease: Lease

    async def save(
        self, text: str, manager: RedisSessionManager | None = None, operation: str = ""
    ) -> CheckpointInfo:
        """Save a checkpoint; its content is also its operation unless that is given."""
        return await (manager or self.manager).checkpoints.save(
            self.session.id, self.lease.token, {"cookies": text.encode()}, CheckpointMeta(),
            op_id=operation or text,
        )  # fmt: skip

    async def saved_at_last(
        self, text: str, manager: RedisSessionManager | None = None
    ) -> CheckpointInfo:
        """Save until it is acknowledged: the replica may need a moment to catch up."""
        deadline = time.monotonic() + 20
        while True:
            try:
                return await self.save(text, manager)
            except StoreUnavailable:
                assert time.monotonic() < deadline


@pytest_asyncio.fixture(params=KINDS)
async def pair(request: pytest.FixtureRequest, directory: Path) -> AsyncIterator[Pair]:
    """Each kind of server that has a replica, with each level of durability that it can keep."""
    kind, start, level = KINDS[request.param]
    server = program(kind)
    assert server is not None
    with start(server, directory) as (url, replica):
        async with new_fleet(url) as fleet:
            first = await fleet.manager().open()
            session = await first.create_session("b")
            lease = await first.leases.acquire("b", holder(), 60)
            manager = fleet.manager(durability=level)
            pair = Pair(fleet, replica, level, manager, session, lease)
            await pair.saved_at_last("before")
            yield pair


def refused(error: StoreUnavailable) -> bool:
    """Tell whether it says that the replica is missing, and that trying again may help."""
    return error.code is ErrorCodes.STORAGE_NOT_REPLICATED and error.retryable


async def test_saves_are_refused_until_the_replica_is_back(pair: Pair) -> None:
    """Again and again, on old and new connections; then the same operation is one version."""
    with paused(pair.replica):
        others = [pair.fleet.manager(durability=pair.level) for _ in range(2)]
        for manager in (pair.manager, *others, pair.manager):
            with pytest.raises(StoreUnavailable) as caught:
                await pair.save("meanwhile", manager)
            assert refused(caught.value)
    assert (await pair.saved_at_last("meanwhile")).version == 2
    assert (await pair.saved_at_last("after")).version == 3


@pytest.mark.parametrize("pair", ["redis", "cluster"], indirect=True)
async def test_every_write_is_refused_meanwhile(pair: Pair) -> None:
    """Records, leases and reports: whoever acts for a business is known on the replica too."""
    manager, lease = pair.manager, pair.lease
    other = await pair.fleet.manager().create_session("other")
    with paused(pair.replica):
        for call in (
            manager.create_session("c"),
            manager.update_session(pair.session.id, email="a@example.com"),
            manager.leases.acquire("c", holder(), 60),
            manager.leases.renew(lease),
            manager.leases.unlock("nobody", by="ann", reason="stuck"),
            manager.supervise(pair.session.id, Supervision(failures=1)),
            manager.delete_session(other.id),
        ):
            with pytest.raises(StoreUnavailable) as caught:
                await call
            assert refused(caught.value)


@pytest.mark.parametrize("pair", ["redis", "valkey on disk"], indirect=True)
async def test_reads_do_not_wait(pair: Pair) -> None:
    """However many writes wait for the replica."""
    with paused(pair.replica):
        saves = [asyncio.create_task(pair.save(f"{n}")) for n in range(40)]
        await asyncio.sleep(0.3)
        begun = time.monotonic()
        for _ in range(20):
            assert await pair.manager.get_session(pair.session.id) is not None
            assert await pair.manager.leases.get("b") is not None
        assert time.monotonic() - begun < 1.5
        for save in saves:
            save.cancel()
        await asyncio.gather(*saves, return_exceptions=True)


@pytest.mark.parametrize("pair", ["redis", "valkey on disk"], indirect=True)
async def test_flushed_scripts_are_loaded_again(pair: Pair) -> None:
    """What is repeated then is still waited for."""
    await pair.fleet.admin.script_flush()
    assert (await pair.saved_at_last("one")).version == 2
    with paused(pair.replica):
        await pair.fleet.admin.script_flush()
        with pytest.raises(StoreUnavailable) as caught:
            await pair.save("two")
        assert refused(caught.value)


@pytest.mark.parametrize("pair", ["valkey", "valkey on disk"], indirect=True)
async def test_a_lost_reply_is_no_acknowledgement(pair: Pair, directory: Path) -> None:
    """The repeated script finds its work done; on the new connection nothing else was written."""
    for file in (files("raypool.store") / "lua").iterdir():
        await pair.fleet.admin.script_load(source(file.name.removesuffix(".lua")))
    upstream = Path(urlsplit(pair.fleet.url).path)
    async with LossyProxy(directory / "p", upstream) as proxy:
        url = f"unix://:{PASSWORD}@{directory / 'p'}"
        async with pair.fleet.manager(url=url, durability=pair.level) as manager:
            await pair.saved_at_last("one", manager)
            large = os.urandom(2 * 2**20).hex()  # more than what goes with the commit
            for lost, (script, text) in enumerate((("commit", "one"), ("put_parts", large)), 1):
                proxy.lose_reply_to(script)
                with paused(pair.replica):
                    with pytest.raises(StoreUnavailable) as caught:
                        await pair.save(text, manager, f"operation {lost}")
                    assert refused(caught.value)
                assert proxy.lost == lost


@pytest.mark.parametrize("pair", ["redis", "valkey on disk"], indirect=True)
async def test_the_user_needs_the_right_to_wait(pair: Pair) -> None:
    """It is in the document, and the error without it says that it is a matter of rights."""
    url, word = (
        await log_in(pair.fleet, "raypool"),
        "wait" if pair.level == "replica" else "waitaof",
    )
    manager = pair.fleet.manager(url=url, durability=pair.level)
    with pytest.raises(StorageError) as caught:
        await pair.save("one", manager)
    assert caught.value.code is ErrorCodes.STORAGE_ACCESS_DENIED
    await pair.fleet.admin.execute_command("ACL", "SETUSER", "raypool", f"+{word}")
    assert (await pair.saved_at_last("one", manager)).version == 2


@pytest.mark.parametrize("pair", ["valkey"], indirect=True)
async def test_more_replicas_than_there_are_is_refused(pair: Pair) -> None:
    """With how many there are and how many were wanted."""
    manager = pair.fleet.manager(durability="replica", replicas=2)
    with pytest.raises(StoreUnavailable, match="1 of 2") as caught:
        await pair.save("one", manager)
    assert refused(caught.value)


@pytest.mark.parametrize("pair", ["redis", "valkey"], indirect=True)
async def test_a_server_that_cannot_keep_the_promise_is_refused_at_the_start(pair: Pair) -> None:
    """No WAITAOF, or no append-only file."""
    await pair.fleet.admin.config_set("appendonly", "no")
    with pytest.raises(StorageError, match="replica_fsync") as caught:
        await pair.fleet.manager(durability="replica_fsync").open()
    assert caught.value.code is ErrorCodes.STORAGE_UNSUPPORTED


async def test_the_servers_own_word_is_enough_by_default(
    fleet: Fleet, manager: RedisSessionManager
) -> None:
    """Nobody waits for replicas that nobody asked for."""
    await fleet.admin.config_resetstat()
    await manager.create_session("b")
    used = await fleet.admin.info("commandstats")
    assert not {"cmdstat_wait", "cmdstat_waitaof"} & set(used)


WRITES = re.compile(
    r"redis\.call\('(SET|DEL|UNLINK|H(SET|DEL|INCRBY)|Z(ADD|REM)|P?EXPIRE|XADD)|\b(put|announce)\("
)


def test_which_scripts_write_is_declared() -> None:
    """A script that is said to read writes nothing; all others are waited for."""
    lua = files("raypool.store") / "lua"
    names = {file.name.removesuffix(".lua") for file in lua.iterdir()} - {"shared"}
    writing = {name for name in names if WRITES.search((lua / f"{name}.lua").read_text())}
    assert names - writing == READING

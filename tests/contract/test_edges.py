"""What holds at the edges of a real server: many at once, lost keys, an empty server, Sentinel."""

import asyncio
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from pydantic import SecretStr
from redis import Redis as PlainRedis
from redis.exceptions import RedisError

from raypool.config import Settings
from raypool.errors import (
    CheckpointCorrupt,
    ConfigurationError,
    ErrorCodes,
    LeaseLost,
    StorageError,
)
from raypool.model import CheckpointMeta, Desired, Observed, SessionStatus
from raypool.store.crypto import Keyring
from raypool.store.embedded import EmbeddedServer
from raypool.store.memory import MemoryStore
from raypool.store.sessions import RedisSessionManager
from tests.contract.conftest import Fleet, Stores, holder, new_fleet
from tests.contract.proxy import LossyProxy
from tests.contract.servers import PASSWORD, free_port, program, running


async def test_twenty_at_once_leave_one_active(stores: Stores) -> None:
    """However many are created at the same time, all are made and one is active."""
    await asyncio.gather(*(stores.sessions.create_session("b") for _ in range(20)))
    found = await stores.sessions.get_sessions_by_business("b")
    assert len(found) == 20
    assert [s.status for s in found].count(SessionStatus.ACTIVE) == 1


async def test_a_session_is_made_without_state(stores: Stores) -> None:
    """Cookies for a session that is not there yet are refused, not forgotten."""
    for call in (
        stores.sessions.create_session("b", cookies_json="[]"),
        stores.sessions.ensure_active("b", storage_json="{}"),
    ):
        with pytest.raises(ConfigurationError, match="_json"):
            await call
    assert await stores.sessions.list_sessions() == []


async def test_a_lock_that_was_lost_at_the_last_moment_says_so(stores: Stores) -> None:
    """Also when it was not renewed since."""
    locked = stores.sessions.lock("b")
    await locked.__aenter__()
    mine = await stores.leases.get("b")
    assert mine is not None
    taken = await stores.lease("b", supersedes=mine.holder.id)
    with pytest.raises(LeaseLost):
        await locked.__aexit__(None, None, None)
    found = await stores.leases.get("b")
    assert found is not None
    assert found.token == taken.token


async def test_an_error_in_a_locked_block_is_not_hidden(directory: Path) -> None:
    """When the server goes away meanwhile, the block's own error is what its caller sees."""
    server = program("valkey")
    assert server is not None
    with running(server, directory) as url:
        async with new_fleet(url) as fleet:
            manager = await fleet.manager().open()
            with pytest.raises(RuntimeError, match="of the block"):
                await _fail_while_locked(manager, url)


async def _fail_while_locked(manager: RedisSessionManager, url: str) -> None:
    async with manager.lock("b"):
        with PlainRedis.from_url(url) as admin:
            admin.shutdown(nosave=True)
        raise RuntimeError("of the block")


async def test_the_stores_open_themselves(fleet: Fleet, manager: RedisSessionManager) -> None:
    """Each call works on a manager that nobody opened."""
    made = await manager.create_session("b", "a@example.com")
    lease = await fleet.manager().leases.acquire("b", holder(), 20)
    saved = await fleet.manager().checkpoints.save(
        made.id, lease.token, {"cookies": b"1"}, CheckpointMeta()
    )
    assert saved.version == 1
    assert await fleet.manager().get_sessions_by_email("a@example.com") != []
    assert (await fleet.manager().stats())["sessions"] == 1


async def test_a_lost_counter_does_not_let_the_old_owner_back(
    fleet: Fleet, manager: RedisSessionManager
) -> None:
    """The lease remembers the token too; nothing of the stale owner is written."""
    made = await manager.create_session("b")
    old = await manager.leases.acquire("b", holder(), 20)
    await manager.checkpoints.save(made.id, old.token, {"cookies": b"1"}, CheckpointMeta())
    new = await manager.leases.acquire("b", holder(), 20, supersedes=old.holder.id)
    await fleet.admin.delete(f"{fleet.prefix}{{0}}:token:b")
    before = await fleet.admin.hgetall(f"{fleet.prefix}{{0}}:parts:{made.id}")
    for call in (
        manager.checkpoints.save(made.id, old.token, {"cookies": b"2"}, CheckpointMeta()),
        manager.report(made.id, old.token, Observed()),
    ):
        with pytest.raises(LeaseLost):
            await call
    assert await fleet.admin.hgetall(f"{fleet.prefix}{{0}}:parts:{made.id}") == before
    assert len(await manager.checkpoints.list(made.id)) == 1
    await manager.leases.release(new)
    again = await manager.leases.acquire("b", holder(), 20)
    assert again.token > new.token


async def test_a_save_does_not_bring_a_retired_session_back(
    fleet: Fleet, manager: RedisSessionManager
) -> None:
    """When a session is retired while its owner saves, no index calls it active or wanted."""
    made = await manager.ensure_active("b", desired=Desired.RUNNING)
    lease = await manager.leases.acquire("b", holder(), 20)
    commit = manager.checkpoints._saver._commit

    async def retired_meanwhile(*args: object) -> object:
        await manager.create_session("b")
        return await commit(*args)  # type: ignore[arg-type]

    manager.checkpoints._saver._commit = retired_meanwhile  # type: ignore[assignment]
    await manager.checkpoints.save(made.id, lease.token, {"cookies": b"1"}, CheckpointMeta())
    assert await manager.list_sessions(desired=Desired.RUNNING) == []
    for name in ("desired:running", "status:active"):
        index = f"{fleet.prefix}{{0}}:index:{name}"
        assert await fleet.admin.zscore(index, made.id) is None


async def test_one_broken_record_does_not_hide_the_others(
    fleet: Fleet, manager: RedisSessionManager
) -> None:
    """A list leaves it out; who asks for it, or for its business, is told what is wrong."""
    broken = await manager.create_session("b")
    whole = await manager.create_session("c")
    await fleet.admin.hset(f"{fleet.prefix}{{0}}:session:{broken.id}", "status", "odd")
    assert await manager.list_sessions() == [whole]
    for call in (manager.get_session(broken.id), manager.ensure_active("b")):
        with pytest.raises(CheckpointCorrupt, match=broken.id):
            await call


async def test_a_server_that_came_back_empty_is_filled_again(
    fleet: Fleet, manager: RedisSessionManager
) -> None:
    """What living processes write is found by those that start later, by address too."""
    await manager.create_session("b", "a@example.com")
    await fleet.admin.delete(*[f"{fleet.prefix}{name}" for name in await fleet.names()])
    made = await manager.ensure_active("b", email="a@example.com")
    later = await fleet.manager().open()
    assert await later.get_sessions_by_email("A@example.com") == [made]
    assert await manager.get_sessions_by_email("a@example.com") == [made]


async def test_a_full_server_makes_no_session(directory: Path) -> None:
    """Not even the first of a business."""
    server = program("redis") or program("valkey")
    assert server is not None
    with running(server, directory) as url:
        async with new_fleet(url) as fleet:
            manager = await fleet.manager().open()
            await fleet.admin.config_set("maxmemory", 1)
            with pytest.raises(StorageError) as caught:
                await manager.create_session("b")
            assert caught.value.code is ErrorCodes.STORAGE_FULL
            assert await fleet.names() == {"meta"}


async def test_rights_that_are_missing_are_named(fleet: Fleet) -> None:
    """Also those that a script needs. Trying again would not help."""
    await fleet.manager().open()
    await fleet.admin.execute_command(
        "ACL", "SETUSER", "halfway", "reset", "on", f">{PASSWORD}", "~*", "+@all", "-hset"
    )
    url = fleet.url.replace("://:", "://halfway:")
    with pytest.raises(StorageError, match=r"hset|executing the script") as caught:
        await fleet.manager(url=url).create_session("b")
    assert caught.value.code is ErrorCodes.STORAGE_ACCESS_DENIED
    assert "docs/redis-schema.md" in caught.value.recovery


async def test_expected_version_counts_for_cookies_too(stores: Stores) -> None:
    """Nothing is imported over something that the caller has not read."""
    made = await stores.sessions.create_session("b")
    with pytest.raises(Exception, match="not 7"):
        await stores.sessions.update_session(made.id, expected_version=7, cookies_json="[]")
    assert await stores.checkpoints.list(made.id) == []
    changed = await stores.sessions.update_session(
        made.id, expected_version=1, cookies_json="[]", locale="fr-FR"
    )
    assert (changed.version, changed.checkpoint_version) == (2, 1)


async def test_a_cancelled_call_does_not_answer_the_next(
    fleet: Fleet, manager: RedisSessionManager, directory: Path
) -> None:
    """The late reply goes nowhere: no caller ever sees another's session."""
    one, other = await manager.create_session("b"), await manager.create_session("c")
    async with (
        LossyProxy(directory / "p", Path(urlsplit(fleet.url).path)) as proxy,
        fleet.manager(url=f"unix://:{PASSWORD}@{directory / 'p'}") as behind,
    ):
        proxy.delay_reply_to("read_record", 0.3)
        late = asyncio.create_task(behind.get_session(one.id))
        await asyncio.sleep(0.1)
        assert proxy.delayed
        late.cancel()
        assert await behind.get_session(other.id) == other
        assert await behind.get_session(one.id) == one
        assert late.cancelled()


async def test_the_twin_is_opened_like_a_server() -> None:
    """Whoever opens and closes its stores needs no exception for it."""
    twin = MemoryStore()
    made = await (await twin.sessions.open()).create_session("b")
    await twin.sessions.close()
    assert await twin.sessions.get_session(made.id) == made


async def test_a_restarted_embedded_server_is_found_again(directory: Path) -> None:
    """The address stays, connections are made anew, and what was acknowledged is there."""
    server = EmbeddedServer(directory / "data")
    async with new_fleet(server.start()) as fleet:
        try:
            manager = await fleet.manager().open()
            made = await manager.create_session("b")
            lease = await manager.leases.acquire("b", holder(), 20)
            server.stop()
            server.start()
            saved = await manager.checkpoints.save(
                made.id, lease.token, {"cookies": b"1"}, CheckpointMeta()
            )
            assert saved.version == 1
            assert await manager.leases.renew(lease)
            assert (await manager.touch(made.id)).checkpoint_version == 1
        finally:
            server.stop()


@pytest.mark.parametrize("password", ["wrong", "sla/sh", "a@t", "ha#sh", "brack[et"])
async def test_a_server_that_does_not_let_us_in_says_so_at_once(
    fleet: Fleet, directory: Path, password: str
) -> None:
    """In less than 5 s, and nowhere in the error is the password, whatever it holds."""
    socket = urlsplit(fleet.url).path
    for url, code in (
        (f"unix://:{password}@{socket}", ErrorCodes.STORAGE_ACCESS_DENIED),
        (f"unix://{socket}", ErrorCodes.STORAGE_ACCESS_DENIED),
        (f"unix://:{password}@{directory}/none", ErrorCodes.STORAGE_UNAVAILABLE),
        (f"redis://me:{password}@127.0.0.1:1/0", ErrorCodes.STORAGE_UNAVAILABLE),
    ):
        begun = time.monotonic()
        with pytest.raises(StorageError) as caught:
            await fleet.manager(url=url).open()
        assert time.monotonic() - begun < 5
        error = caught.value
        assert error.code is code
        shown = f"{error} {error!r} {error.context} {error.recovery} {error.to_dict()}"
        assert not re.search(rf"(?<!\w){re.escape(password)}(?!\w)", shown)


@pytest.fixture
def sentinel(directory: Path) -> Iterator[tuple[str, PlainRedis]]:
    """A primary with one Sentinel: the URL, and a client to the Sentinel."""
    server = program("redis")
    if server is None:
        pytest.skip("there is no redis server on this machine")
    primary, port = free_port(), free_port()
    config = directory / "sentinel.conf"
    config.write_text(
        f"port {port}\nbind 127.0.0.1\nsentinel monitor mine 127.0.0.1 {primary} 1\n"
        f"sentinel auth-pass mine {PASSWORD}\n"
    )
    with running(server, directory, "--port", str(primary), "--bind", "127.0.0.1"):
        process = subprocess.Popen([server, config, "--sentinel"], stdout=subprocess.DEVNULL)
        try:
            with PlainRedis(port=port) as admin:
                _until(admin.ping)
                yield f"redis+sentinel://:{PASSWORD}@127.0.0.1:{port}/mine", admin
        finally:
            process.kill()
            process.wait()


def _until(check: Callable[[], object], timeout: float = 10) -> None:
    deadline = time.monotonic() + timeout
    while True:
        try:
            if check():
                return
        except RedisError:
            pass
        assert time.monotonic() < deadline
        time.sleep(0.02)


async def test_sentinel_names_the_primary(sentinel: tuple[str, PlainRedis]) -> None:
    """Everything works through it, and closing leaves no connection to the Sentinel either."""
    url, admin = sentinel
    manager = RedisSessionManager(
        Settings(redis_url=SecretStr(url)), Keyring.parse(SecretStr(Keyring.generate()))
    )
    async with manager:
        made = await manager.create_session("b")
        async with manager.lock("b") as token:
            await manager.checkpoints.save(made.id, token, {"cookies": b"1"}, CheckpointMeta())
        async with manager.events.follow() as follower:
            assert (await follower.changes(5)).resync
            await manager.create_session("c")
            assert (await follower.changes(5)).business_ids == {"c"}
        assert len(admin.client_list()) > 1
    _until(lambda: len(admin.client_list()) == 1)


async def test_what_may_hold_a_password_is_sealed(fleet: Fleet) -> None:
    """Proxy and HTTP credentials come back as given, and stand nowhere in Redis or in a repr."""
    options = {
        "proxy": {"server": "http://proxy:8080", "username": "u", "password": "canary-proxy"},
        "http_credentials": {"username": "u", "password": "canary-http"},
        "extra_http_headers": {"Authorization": "canary-header"},
        "locale": "de-DE",
    }
    manager = fleet.manager()
    made = await manager.create_session("b1", **options)
    assert made.spec.context == options
    await manager.update_session(made.id, locale="fr-FR")
    again = await fleet.manager().get_session(made.id)
    assert again is not None
    assert again.spec.context == {**options, "locale": "fr-FR"}
    assert "canary" not in repr(again)
    (name,) = [key for key in await fleet.names() if f"session:{made.id}" in key]
    raw = await fleet.admin.hgetall(f"{fleet.prefix}{name}")
    assert b"fr-FR" in raw[b"spec"]
    assert b"canary" not in b"".join(raw.values())

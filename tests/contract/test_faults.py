"""What holds on a real server when things go wrong: clear errors, nothing applied twice or half."""

import asyncio
import os
import time
from pathlib import Path

import pytest

from raypool.errors import ErrorCodes, RaypoolError, SessionLocked, StorageError, StoreUnavailable
from raypool.model import CheckpointMeta
from raypool.store.crypto import Keyring
from raypool.store.sessions import RedisSessionManager
from tests.contract.conftest import Fleet, holder
from tests.contract.proxy import LossyProxy
from tests.contract.servers import PASSWORD, program, running


async def test_a_lost_reply_creates_one_session(
    fleet: Fleet, lossy: LossyProxy, behind: RedisSessionManager
) -> None:
    """The record was made; asking again does not make another."""
    lossy.lose_reply_to("write_record")
    made = await behind.create_session("b")
    assert lossy.lost == 1
    assert [s.id for s in await behind.get_sessions_by_business("b")] == [made.id]
    assert (made.version, await fleet.admin.xlen(f"{fleet.prefix}{{0}}:events")) == (1, 1)


async def test_a_lost_reply_updates_once(lossy: LossyProxy, behind: RedisSessionManager) -> None:
    """The version grows by one, and it is no conflict with oneself."""
    made = await behind.create_session("b")
    lossy.lose_reply_to("write_record")
    changed = await behind.update_session(made.id, expected_version=1, email="a@example.com")
    assert (lossy.lost, changed.version) == (1, 2)


async def test_what_others_wrote_meanwhile_does_not_make_it_happen_twice(
    manager: RedisSessionManager,
) -> None:
    """The reply is lost, others change the record, and then the change is asked for again."""
    made = await manager.create_session("b")
    before = await manager._indexes.existing(made.id)
    after = made.model_copy(update={"email": "first@x.example"})
    await manager._writer.write(before, after, "the-first", "updated")
    for number in range(10):
        await manager.update_session(made.id, email=f"{number}@x.example")
    again = await manager._writer.write(before, after, "the-first", "updated")
    assert (again.version, again.email) == (made.version + 11, "9@x.example")


async def test_a_lost_reply_strands_no_lease(
    lossy: LossyProxy, behind: RedisSessionManager
) -> None:
    """The holder that asks again has it, and others are refused."""
    lossy.lose_reply_to("acquire_lease")
    owner = holder()
    lease = await behind.leases.acquire("b", owner, 20)
    assert lossy.lost == 1
    with pytest.raises(SessionLocked):
        await behind.leases.acquire("b", holder(), 20)
    assert (await behind.leases.acquire("b", owner, 20)).token == lease.token


async def test_a_lost_reply_saves_one_version(
    lossy: LossyProxy, behind: RedisSessionManager
) -> None:
    """Whether the reply to the parts or to the commit is lost."""
    made = await behind.create_session("b")
    lease = await behind.leases.acquire("b", holder(), 20)
    for version, script in enumerate(("put_parts", "commit"), start=1):
        lossy.lose_reply_to(script)
        parts = {"cookies": os.urandom(2 * 2**20)}  # more than what goes with the commit
        info = await behind.checkpoints.save(made.id, lease.token, parts, CheckpointMeta())
        assert (lossy.lost, info.version) == (version, version)
    infos = await behind.checkpoints.list(made.id)
    assert [info.version for info in infos] == [2, 1]


async def test_a_lost_reply_deletes_without_complaint(
    lossy: LossyProxy, behind: RedisSessionManager
) -> None:
    """The session was there and is gone: that is what was asked for."""
    made = await behind.create_session("b")
    lossy.lose_reply_to("delete_record")
    await behind.delete_session(made.id)
    assert lossy.lost == 1
    assert await behind.get_session(made.id) is None


async def test_a_lost_reply_releases_without_complaint(
    lossy: LossyProxy, behind: RedisSessionManager
) -> None:
    """The lease is free."""
    lease = await behind.leases.acquire("b", holder(), 20)
    lossy.lose_reply_to("release_lease")
    await behind.leases.release(lease)
    assert lossy.lost == 1
    assert await behind.leases.get("b") is None


async def test_flushed_scripts_are_loaded_again(fleet: Fleet, manager: RedisSessionManager) -> None:
    """A restart, a failover or an administrator may empty the script cache at any time."""
    made = await manager.create_session("b")
    await fleet.admin.script_flush()
    async with manager.lock("b") as token:
        await fleet.admin.script_flush()
        await manager.checkpoints.save(made.id, token, {"cookies": b"1"}, CheckpointMeta())
        await fleet.admin.script_flush()
    await manager.touch(made.id)
    await fleet.admin.script_flush()
    await manager.delete_session(made.id)


async def test_a_hundred_calls_at_once_are_all_answered(manager: RedisSessionManager) -> None:
    """More calls than connections wait for their turn."""
    made = await manager.create_session("b")
    found = await asyncio.gather(*(manager.get_session(made.id) for _ in range(150)))
    assert all(found)


def _hides(error: RaypoolError, *secrets: str) -> bool:
    shown = f"{error} {error!r} {error.context} {error.to_dict()}"
    return not any(secret in shown for secret in secrets)


async def test_an_unreachable_server_is_unavailable(fleet: Fleet, directory: Path) -> None:
    """Retryable, names the address, hides the password."""
    for url in (f"unix://:{PASSWORD}@{directory}/none", f"redis://me:{PASSWORD}@127.0.0.1:1/0"):
        with pytest.raises(StoreUnavailable) as caught:
            await fleet.manager(url=url).open()
        assert caught.value.code is ErrorCodes.STORAGE_UNAVAILABLE
        assert caught.value.retryable
        assert url.split("@")[1].split("/0")[0] in str(caught.value)
        assert _hides(caught.value, PASSWORD)


async def test_a_wrong_password_is_access_denied(fleet: Fleet) -> None:
    """Not retryable: it would not get better."""
    wrong = fleet.url.replace(PASSWORD, "not-the-password")
    for url in (wrong, fleet.url.replace(f":{PASSWORD}@", "")):
        with pytest.raises(StorageError) as caught:
            await fleet.manager(url=url).open()
        assert caught.value.code is ErrorCodes.STORAGE_ACCESS_DENIED
        assert not caught.value.retryable
        assert _hides(caught.value, "not-the-password", PASSWORD)


async def test_a_user_without_rights_is_access_denied(
    fleet: Fleet, manager: RedisSessionManager
) -> None:
    """The server may let somebody in and refuse the commands."""
    await fleet.admin.acl_setuser(
        "guest", enabled=True, passwords=[f"+{PASSWORD}"], keys=["*"],
        commands=["+ping", "+info", "+hgetall", "+multi", "+exec", "+hello", "+client"],
    )  # fmt: skip
    await manager.create_session("b")
    guest = fleet.manager(url=fleet.url.replace("://:", "://guest:"))
    with pytest.raises(StorageError) as caught:
        await guest.create_session("b")
    assert caught.value.code is ErrorCodes.STORAGE_ACCESS_DENIED


async def test_a_replica_is_read_only(lone: Fleet) -> None:
    """Met while running, and met at the start; nothing was acknowledged."""
    manager = await lone.manager().open()
    made = await manager.create_session("b")
    await lone.admin.replicaof("127.0.0.1", 1)
    for call in (manager.touch(made.id), lone.manager().open()):
        with pytest.raises(StoreUnavailable) as caught:
            await call
        assert caught.value.code is ErrorCodes.STORAGE_READ_ONLY
    assert await manager.get_session(made.id) == made


async def test_a_full_server_says_so(lone: Fleet) -> None:
    """Nothing is half written; what was there can still be read and deleted."""
    manager = await lone.manager().open()
    made = await manager.create_session("b")
    lease = await manager.leases.acquire("b", holder(), 20)
    await lone.admin.config_set("maxmemory", 1)
    with pytest.raises(StoreUnavailable) as caught:
        await manager.checkpoints.save(made.id, lease.token, {"cookies": b"1"}, CheckpointMeta())
    assert caught.value.code is ErrorCodes.STORAGE_FULL
    with pytest.raises(StoreUnavailable):
        await manager.create_session("b")
    assert await manager.get_session(made.id) is not None
    await lone.admin.config_set("maxmemory", 0)
    assert len(await manager.get_sessions_by_business("b")) == 1
    saved = await manager.checkpoints.save(made.id, lease.token, {"tabs": b"1"}, CheckpointMeta())
    assert saved.version == 1


@pytest.mark.parametrize("kind", ["valkey", "redis"])
async def test_a_restarted_server_is_found_again(directory: Path, fleet: Fleet, kind: str) -> None:
    """Connections that broke are made anew, what was acknowledged is there, an owner goes on."""
    server = program(kind)
    assert server is not None
    with running(server, directory, "--appendfsync", "always") as url:
        manager = await fleet.manager(url=url).open()
        made = await manager.create_session("b")
        lease = await manager.leases.acquire("b", holder(), 60)
    for call in (manager.get_session(made.id), manager.leases.renew(lease)):
        with pytest.raises(StoreUnavailable) as caught:
            await call
        assert caught.value.retryable
    with running(server, directory):
        assert await manager.get_session(made.id) == made
        assert await manager.leases.renew(lease)
        saved = await manager.checkpoints.save(made.id, lease.token, {}, CheckpointMeta())
        assert saved.version == 1


async def test_cut_connections_lose_and_double_nothing(
    fleet: Fleet, manager: RedisSessionManager
) -> None:
    """An administrator or a proxy may close all connections, also in the middle of a call."""
    made = await manager.create_session("b")
    updates = [asyncio.create_task(manager.touch(made.id)) for _ in range(10)]
    updates += [
        asyncio.create_task(manager.update_session(made.id, email=f"{n}@example.com"))
        for n in range(10)
    ]
    killed = 0
    for _ in range(3):
        await asyncio.sleep(0.02)
        for client in await fleet.admin.client_list():
            if client["name"].endswith("-data"):
                killed += await fleet.admin.client_kill_filter(_id=client["id"])
    await asyncio.gather(*updates)
    assert killed > 3
    found = await manager.get_session(made.id)
    assert found is not None
    assert found.version == made.version + 10


async def test_a_server_that_pauses_is_waited_for(
    fleet: Fleet, manager: RedisSessionManager
) -> None:
    """As one does that forks, swaps or is handed over; calls are late, not refused or doubled."""
    made = await manager.create_session("b")
    await manager.leases.acquire("b", holder(), 60)
    await fleet.admin.client_pause(1000, all=False)
    begun = time.monotonic()
    assert await manager.get_session(made.id) == made
    changed = await manager.update_session(made.id, email="a@example.com")
    assert time.monotonic() - begun > 0.5
    assert changed.version == made.version + 1


async def test_a_wrong_key_is_found_at_the_start(
    fleet: Fleet, manager: RedisSessionManager
) -> None:
    """One sentence that names the key; nothing is written."""
    before = {key: await fleet.admin.hgetall(f"{fleet.prefix}{key}") for key in ["meta"]}
    stranger = fleet.manager(keys=Keyring.generate())
    with pytest.raises(StorageError) as caught:
        await stranger.create_session("b")
    assert caught.value.code is ErrorCodes.STORAGE_KEY_UNKNOWN
    assert "RAYPOOL_ENCRYPTION_KEYS" in str(caught.value)
    assert await fleet.names() == {"meta"}
    assert await fleet.admin.hgetall(f"{fleet.prefix}meta") == before["meta"]


async def test_a_new_key_reads_what_an_old_one_wrote(
    fleet: Fleet, manager: RedisSessionManager
) -> None:
    """As long as the old one is still in the list."""
    made = await manager.create_session("b", "a@example.com")
    async with manager.lock("b") as token:
        await manager.checkpoints.save(made.id, token, {"cookies": b"1"}, CheckpointMeta())
    rotated = await fleet.manager(keys=f"{Keyring.generate()},{fleet.keys}").open()
    found = await rotated.checkpoints.load(made.id)
    assert found is not None
    assert found.parts["cookies"] == b"1"
    assert await rotated.get_sessions_by_email("a@example.com") == [
        await manager.get_session(made.id)
    ]


async def test_other_data_under_the_prefix_is_refused(
    fleet: Fleet, manager: RedisSessionManager
) -> None:
    """Another schema or another number of partitions would be misread."""
    for name, value in (("schema", "9"), ("partitions", "16")):
        kept = await fleet.admin.hget(f"{fleet.prefix}meta", name)
        await fleet.admin.hset(f"{fleet.prefix}meta", name, value)
        with pytest.raises(StorageError, match=name) as caught:
            await fleet.manager().open()
        assert caught.value.code is ErrorCodes.STORAGE_UNSUPPORTED
        await fleet.admin.hset(f"{fleet.prefix}meta", name, kept)


async def test_processes_that_open_at_once_agree(fleet: Fleet) -> None:
    """On one index key: what one wrote by e-mail address, the other finds."""
    managers = [fleet.manager() for _ in range(4)]
    await asyncio.gather(*(manager.open() for manager in managers))
    made = await managers[0].create_session("b", "a@example.com")
    for manager in managers:
        assert await manager.get_sessions_by_email("a@example.com") == [made]

"""What holds on a real server around an outage: lost replies, and servers that come back empty."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from raypool.errors import SessionLocked, SessionNotFound
from raypool.model import CheckpointMeta, Desired, Supervision
from raypool.store.sessions import RedisSessionManager
from tests.contract.conftest import Fleet, holder
from tests.contract.proxy import LossyProxy

PARTS = {"cookies": b"1"}
META = CheckpointMeta()


async def kinds(fleet: Fleet) -> list[str]:
    """Return the kinds of all events."""
    entries = await fleet.admin.xrange(f"{fleet.prefix}{{0}}:events")
    return [fields[b"kind"].decode() for _, fields in entries]


async def forget_all(fleet: Fleet) -> None:
    """Empty a server that is the fleet's own, scripts included."""
    await fleet.admin.flushall()
    await fleet.admin.script_flush()


# -- lost replies ----------------------------------------------------------------------------


async def test_a_lost_reply_renews(
    fleet: Fleet, lossy: LossyProxy, behind: RedisSessionManager
) -> None:
    """A lease that ran out is got back once."""
    lease = await behind.leases.acquire("b", holder(), 20)
    await fleet.admin.delete(f"{fleet.prefix}{{0}}:lease:b")
    lossy.lose_reply_to("renew_lease")
    assert await behind.leases.renew(lease)
    assert lossy.lost == 1
    assert await kinds(fleet) == ["acquired", "acquired"]
    with pytest.raises(SessionLocked):
        await behind.leases.acquire("b", holder(), 20)


async def test_a_lost_reply_brings_a_record_back_once(
    fleet: Fleet, lossy: LossyProxy, behind: RedisSessionManager
) -> None:
    """The version grows by one, and the blank session is retired by one."""
    was = await behind.ensure_active("b", desired=Desired.RUNNING)
    lease = await behind.leases.acquire("b", holder(), 20)
    await fleet.lose()
    blank = await fleet.manager().ensure_active("b")
    lossy.lose_reply_to("write_record")
    back = await behind.rewrite_lost(was, lease.token)
    assert (lossy.lost, back.id, back.version) == (1, was.id, was.version + 1)
    retired = await behind.get_session(blank.id)
    assert retired is not None
    assert retired.version == blank.version + 1
    assert await kinds(fleet) == ["created", "updated", "created"]


async def test_a_lost_reply_unlocks_once(
    fleet: Fleet, lossy: LossyProxy, behind: RedisSessionManager
) -> None:
    """One entry in the audit, and the owner that it was taken from is told all the same."""
    lease = await behind.leases.acquire("b", holder(), 20)
    lossy.lose_reply_to("unlock_lease")
    broken = await behind.leases.unlock("b", by="ann", reason="it hangs")
    assert lossy.lost == 1
    assert broken is not None
    assert (broken.token, broken.holder) == (lease.token, lease.holder)
    assert len(await behind.audit_log()) == 1
    assert await kinds(fleet) == ["acquired", "unlocked"]


async def test_a_repeated_unlock_spares_the_next_owner(
    fleet: Fleet, manager: RedisSessionManager
) -> None:
    """Its first reply was lost, and somebody got the lease before it was repeated."""
    await manager.leases.acquire("b", holder(), 20)
    keys = [f"{fleet.prefix}{{0}}:{name}" for name in ("lease:b", "token:b", "events", "audit")]
    args = ["b", "ann", "it hangs", 1000, "operation-1"]
    answer = await manager._connection.script("unlock_lease", keys, args)
    late = await manager.leases.acquire("b", holder(), 20)
    for n in range(20):
        await manager.leases.unlock("c", by="bob", reason=str(n))
    assert await manager._connection.script("unlock_lease", keys, args) == answer
    assert await manager.leases.renew(late)


async def test_a_lost_reply_lets_the_supervisor_write(
    lossy: LossyProxy, behind: RedisSessionManager
) -> None:
    """What it wrote is there."""
    made = await behind.create_session("b")
    lossy.lose_reply_to("supervise")
    await behind.supervise(made.id, Supervision(failures=3))
    assert lossy.lost == 1
    found = await behind.get_session(made.id)
    assert found is not None
    assert (found.supervision, found.version) == (Supervision(failures=3), 1)


async def test_a_lost_reply_numbers_one_version(
    lossy: LossyProxy, behind: RedisSessionManager
) -> None:
    """Also when it skips those that were given out before."""
    made = await behind.create_session("b")
    lease = await behind.leases.acquire("b", holder(), 20)
    lossy.lose_reply_to("commit")
    info = await behind.checkpoints.save(made.id, lease.token, PARTS, META, after=6)
    assert (lossy.lost, info.version) == (1, 7)
    assert [i.version for i in await behind.checkpoints.list(made.id)] == [7]


# -- an emptied server -----------------------------------------------------------------------


async def test_an_owner_gets_through_an_emptied_server(lone: Fleet) -> None:
    """Whatever is lost between which of its steps: in the end all is there again."""
    manager = await lone.manager().open()
    was = await manager.ensure_active("b", email="a@example.com", desired=Desired.RUNNING)
    lease = await manager.leases.acquire("b", holder(), 20)
    acknowledged = (await manager.checkpoints.save(was.id, lease.token, PARTS, META)).version

    async def renew() -> None:
        assert await manager.leases.renew(lease)

    async def rewrite() -> None:
        await manager.rewrite_lost(was, lease.token)

    async def save() -> None:
        nonlocal acknowledged
        parts = {"cookies": str(acknowledged).encode()}
        info = await manager.checkpoints.save(was.id, lease.token, parts, META, after=acknowledged)
        assert info.version == acknowledged + 1
        acknowledged = info.version

    steps: list[Callable[[], Awaitable[None]]] = [renew, rewrite, save]
    for cut in range(len(steps) + 1):
        for number, step in enumerate(steps):
            if number == cut:
                await forget_all(lone)
            await lone.admin.script_flush()
            if step is save and number == cut:
                with pytest.raises(SessionNotFound):
                    await save()
                await rewrite()
            await step()
        found = await lone.manager().checkpoints.load(was.id)
        assert found is not None
        assert found.info.version == acknowledged
    assert await manager.leases.renew(lease)


async def test_an_emptied_server_is_noticed_whoever_fills_it_first(
    fleet: Fleet, manager: RedisSessionManager
) -> None:
    """Another process made the meta record again, an old one or a new one: it has another identity."""
    for starts_anew in (True, False):
        was = await manager.ensure_active("b", email="a@example.com")
        lease = await manager.leases.acquire("b", holder(), 20)
        other = fleet.manager()
        if not starts_anew:
            await other.open()
        before = await fleet.admin.hgetall(f"{fleet.prefix}meta")
        await fleet.lose()
        await other.create_session("c")
        after = await fleet.admin.hgetall(f"{fleet.prefix}meta")
        assert before[b"store_id"] != after[b"store_id"]
        await manager.rewrite_lost(was, lease.token)
        assert await fleet.admin.hgetall(f"{fleet.prefix}meta") == after
        for reader in (other, fleet.manager()):
            found = await reader.get_sessions_by_email("a@example.com")
            assert [s.id for s in found] == [was.id]
        await manager.leases.release(lease)


async def test_a_loss_in_the_moment_of_looking_is_a_loss(
    fleet: Fleet, manager: RedisSessionManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when the meta record was still there and the session was not any more."""
    was = await manager.create_session("b")
    lease = await manager.leases.acquire("b", holder(), 20)
    look, times = manager._indexes.record, 0

    async def emptied_meanwhile(session_id: str) -> Any:
        nonlocal times
        times += 1
        if times == 1:
            await fleet.lose()
        return await look(session_id)

    monkeypatch.setattr(manager._indexes, "record", emptied_meanwhile)
    assert (await manager.rewrite_lost(was, lease.token)).id == was.id
    assert times > 1


async def test_who_opens_after_the_loss_does_not_bring_back(
    fleet: Fleet, manager: RedisSessionManager
) -> None:
    """For a process that started later, what is missing was never there."""
    was = await manager.create_session("b")
    lease = await manager.leases.acquire("b", holder(), 20)
    await fleet.lose()
    with pytest.raises(SessionNotFound):
        await fleet.manager().rewrite_lost(was, lease.token)


async def test_data_of_an_older_raypool_get_an_identity(
    fleet: Fleet, manager: RedisSessionManager
) -> None:
    """When they are opened: all processes see the same, and nothing else of them changes."""
    was = await manager.create_session("b", "a@example.com")
    await fleet.admin.hdel(f"{fleet.prefix}meta", "store_id")
    before = await fleet.admin.hgetall(f"{fleet.prefix}meta")
    managers = [fleet.manager() for _ in range(4)]
    await asyncio.gather(*(each.open() for each in managers))
    meta = await fleet.admin.hgetall(f"{fleet.prefix}meta")
    assert {k: v for k, v in meta.items() if k != b"store_id"} == before
    assert {each._connection.first_identity.encode() for each in managers} == {meta[b"store_id"]}
    assert await managers[0].get_sessions_by_email("a@example.com") == [was]
    lease = await managers[1].leases.acquire("b", holder(), 20)
    await fleet.lose()
    assert (await managers[1].rewrite_lost(was, lease.token)).id == was.id


async def test_a_record_of_an_older_raypool_is_read(
    fleet: Fleet, manager: RedisSessionManager
) -> None:
    """It has no supervision and no assigned cluster."""
    made = await manager.create_session("b")
    key = f"{fleet.prefix}{{0}}:session:{made.id}"
    await fleet.admin.hdel(key, "supervision", "assigned_cluster")
    assert await manager.get_session(made.id) == made

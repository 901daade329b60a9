"""What is to be seen in the server itself: names, lifetimes, secrets, events."""

import asyncio

import pytest

from raypool.config import Settings
from raypool.errors import ConfigurationError, ErrorCodes
from raypool.model import CheckpointMeta, Desired, Observed, SessionStatus, Supervision
from raypool.store.sessions import RedisSessionManager
from tests.contract.conftest import Fleet, holder

LASTING = {"meta", "{0}:events", "{0}:audit"}
"""What outlives every session, besides the counters of fencing tokens."""
COUNTERS = {"{0}:token:b-1", "{0}:token:b-2"}


async def _busy(manager: RedisSessionManager, ttl: float) -> str:
    """Do everything that leaves traces; return the session's id."""
    made = await manager.create_session("b-1", "owner@example.com", ttl=ttl)
    await manager.update_session(made.id, desired="running", locale="de-DE")
    lease = await manager.leases.acquire("b-1", holder(), 0.2)
    for content in (b"topsecret-1", b"topsecret-2"):
        await manager.checkpoints.save(
            made.id, lease.token, {"cookies": content}, CheckpointMeta(reasons=("run",))
        )
    await manager.report(made.id, lease.token, Observed())
    await manager.supervise(made.id, Supervision(failures=1))
    await manager.leases.unlock("b-2", by="ann", reason="a drill")
    return made.id


async def test_a_deleted_session_leaves_nothing(fleet: Fleet, manager: RedisSessionManager) -> None:
    """No record, part, version, index entry or data key."""
    sid = await _busy(manager, 60)
    await manager.delete_session(sid)
    await asyncio.sleep(0.25)  # the lease
    assert await fleet.names() == LASTING | COUNTERS


async def test_an_expired_session_leaves_nothing(
    fleet: Fleet, manager: RedisSessionManager
) -> None:
    """Without anybody cleaning up after it."""
    await _busy(manager, 0.3)
    await asyncio.sleep(0.4)
    assert await fleet.names() == LASTING | COUNTERS


async def test_indexes_trim_what_expired(fleet: Fleet, manager: RedisSessionManager) -> None:
    """The next write to an index takes out what expired, so it cannot grow for ever."""
    for n in range(3):
        await manager.create_session("b", "a@example.com", SessionStatus.INACTIVE, ttl=0.1 + n / 99)
    await asyncio.sleep(0.2)
    kept = await manager.create_session("b", "a@example.com", SessionStatus.INACTIVE)
    indexes = {name for name in await fleet.names() if ":index:" in name}
    assert len(indexes) == 5
    for name in indexes:
        found = await fleet.admin.zrange(fleet.prefix + name, 0, -1)
        assert found == [kept.id.encode()]


@pytest.mark.parametrize("wish", Desired)
async def test_a_retired_session_is_in_no_index_of_what_it_was(
    fleet: Fleet, manager: RedisSessionManager, wish: Desired
) -> None:
    """Each is in the index of its status and of its wish, and in no other."""
    retired = await manager.ensure_active("b", desired=wish)
    active = await manager.create_session("b")
    await manager.update_session(active.id, desired=wish)
    places = {"status:active": active, f"desired:{wish}": active, "status:inactive": retired}
    expected = [(name, session.id) for name, session in places.items()]
    expected.append(("desired:stopped", retired.id))
    found = []
    for name in (*(f"status:{s}" for s in SessionStatus), *(f"desired:{d}" for d in Desired)):
        members = await fleet.admin.zrange(f"{fleet.prefix}{{0}}:index:{name}", 0, -1)
        found += [(name, member.decode()) for member in members]
    assert sorted(found) == sorted(expected)


async def test_an_index_entry_without_a_record_is_taken_out(
    fleet: Fleet, manager: RedisSessionManager
) -> None:
    """A server may evict a record, or a person delete it."""
    made = await manager.create_session("b")
    await fleet.admin.delete(f"{fleet.prefix}{{0}}:session:{made.id}")
    assert await manager.get_sessions_by_business("b") == []
    assert await manager.list_sessions() == []
    left = {name for name in await fleet.names() if ":index:business" in name}
    assert left == set()
    assert (await manager.ensure_active("b")).id != made.id


async def test_everything_but_the_lasting_keys_expires(
    fleet: Fleet, manager: RedisSessionManager
) -> None:
    """Each key has a TTL."""
    await _busy(manager, 60)
    for name in await fleet.names() - LASTING:
        assert await fleet.admin.pttl(fleet.prefix + name) > 0


async def test_no_key_tells_an_address_and_no_value_a_state(
    fleet: Fleet, manager: RedisSessionManager
) -> None:
    """Addresses are keyed hashes in key names; states, origins and reasons are sealed."""
    sid = await _busy(manager, 60)
    assert not any("owner" in name or "example" in name for name in await fleet.names())
    for kind in ("parts", "checkpoints", "session"):
        fields = await fleet.admin.hgetall(f"{fleet.prefix}{{0}}:{kind}:{sid}")
        assert fields
        assert not any(b"topsecret" in v or b"reasons" in v for v in fields.values())


async def test_two_fleets_do_not_see_each_other(fleet: Fleet, manager: RedisSessionManager) -> None:
    """On one server, under different prefixes."""
    await manager.create_session("b", "a@example.com")
    other = await fleet.manager(prefix=f"{fleet.prefix}other:").open()
    assert await other.list_sessions() == []
    assert await other.get_sessions_by_email("a@example.com") == []


async def test_each_change_is_an_event(fleet: Fleet, manager: RedisSessionManager) -> None:
    """In order, with what changed, and never with what it changed to."""
    made = await manager.create_session("b")
    await manager.update_session(made.id, email="a@example.com")
    async with manager.lock("b") as token:
        await manager.checkpoints.save(made.id, token, {"cookies": b"1"}, CheckpointMeta())
        await manager.report(made.id, token, Observed())
    await manager.supervise(made.id, Supervision())
    await manager.leases.unlock("b", by="ann", reason="a drill")
    newer = await manager.create_session("b")
    await manager.delete_session(newer.id)
    entries = await fleet.admin.xrange(f"{fleet.prefix}{{0}}:events")
    found = [{k.decode(): v.decode() for k, v in fields.items()} for _, fields in entries]
    assert [(e["sid"], e["kind"]) for e in found] == [
        (made.id, "created"), (made.id, "updated"), ("", "acquired"), (made.id, "saved"),
        (made.id, "reported"), ("", "released"), (made.id, "supervised"), ("", "unlocked"),
        (made.id, "updated"), (newer.id, "created"),
        (newer.id, "deleted"),
    ]  # fmt: skip
    assert {e["business"] for e in found} == {"b"}


async def test_without_a_server_the_manager_says_what_to_do() -> None:
    """REDIS_URL, or a fleet that brings its own server."""
    with pytest.raises(ConfigurationError, match="REDIS_URL") as caught:
        RedisSessionManager.get_instance()
    assert caught.value.code is ErrorCodes.CONFIG_INVALID
    assert "raypool.connect()" in caught.value.recovery


async def test_the_process_has_one_manager(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Made from the environment; it connects when it is first used."""
    monkeypatch.setenv("REDIS_URL", fleet.url)
    monkeypatch.setenv("REDIS_PREFIX", fleet.prefix)
    with pytest.raises(ConfigurationError) as caught:
        RedisSessionManager.get_instance()
    assert caught.value.code is ErrorCodes.CONFIG_ENCRYPTION_KEY
    monkeypatch.setenv("RAYPOOL_ENCRYPTION_KEYS", fleet.keys)
    monkeypatch.setattr(RedisSessionManager, "_instance", None)
    manager = RedisSessionManager.get_instance()
    assert manager is RedisSessionManager.get_instance()
    fleet.opened.append(manager)
    made = await manager.ensure_active("b", desired=Desired.RUNNING)
    assert made.ttl == Settings().session_ttl
    assert await manager.list_sessions(desired=Desired.RUNNING) == [made]

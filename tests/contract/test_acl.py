"""The users of docs/redis-schema.md can do what they need, and nothing beside it."""

import os
import re
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.exceptions import NoPermissionError

from raypool.errors import ErrorCodes, SessionNotFound, StorageError
from raypool.model import CheckpointMeta, Observed, Supervision
from raypool.store.base import VERSIONS_KEPT
from raypool.store.circuit import BreakerState
from raypool.store.sessions import RedisSessionManager
from tests.contract.conftest import Fleet, holder

DOCS = Path(__file__).parents[2] / "docs" / "redis-schema.md"
PASSWORD = "of-the-user"
RARE = {"hello", "auth", "client|setname", "eval", "config|get"}
"""For connecting, for a script that is flushed between loading and running, and for the check."""


def rules(user: str) -> list[str]:
    """Return the rules that the document gives a user."""
    (line,) = re.findall(rf"^ACL SETUSER {user} (.*)$", DOCS.read_text(), re.MULTILINE)
    return str(line).split()


async def log_in(fleet: Fleet, user: str) -> str:
    """Make the user as the document says, for this fleet's prefix; return its URL."""
    given = [
        rule.replace("social-genius:", fleet.prefix).replace(">PASSWORD", f">{PASSWORD}")
        for rule in rules(user)
    ]
    await fleet.admin.execute_command("ACL", "SETUSER", user, *given)
    return re.sub(r"//.*?@", f"//{user}:{PASSWORD}@", fleet.url)


async def everything(manager: RedisSessionManager) -> None:
    """Call all that the store can do."""
    async with manager.events.follow() as follower:
        await follower.changes(5)
        first = await manager.create_session("b", "a@example.com")
        assert (await follower.changes(5)).business_ids == {"b"}
    await manager.ensure_active("b", desired="running")
    await manager.create_session("b", "a@example.com")
    await manager.update_session(first.id, status="active", email=None, cookies_json="[]")
    lease = await manager.leases.acquire("b", holder(), 20)
    for n in range(VERSIONS_KEPT + 2):
        parts = {"cookies": str(n).encode()}
        await manager.checkpoints.save(first.id, lease.token, parts, CheckpointMeta())
    await manager.report(first.id, lease.token, Observed())
    await manager.supervise(first.id, Supervision(failures=1))
    assert await manager.leases.renew(lease)
    assert await manager.leases.get("b") is not None
    assert await manager.leases.release(lease)
    assert (await manager.checkpoints.load_usable(first.id))[0] is not None
    assert len(await manager.checkpoints.list(first.id)) == VERSIONS_KEPT
    rotation = manager.key_rotation
    assert (await rotation.rotate(await rotation.sessions())).failures == ()
    assert (await manager.stats())["sessions"] == 2
    assert len(await manager.get_sessions_by_email("a@example.com")) == 1
    for _ in range(5):
        await manager.breakers.report("site.example", ok=False)
    assert (await manager.breakers.ask("site.example")).state is BreakerState.OPEN
    assert len(await manager.breakers.list()) == 1
    await manager.touch(first.id)
    async with manager.lock("b"):
        await manager.delete_session(first.id)
    lease = await manager.leases.acquire("b", holder(), 20)
    with pytest.raises(SessionNotFound):
        await manager.rewrite_lost(first, lease.token)
    assert await manager.leases.unlock("b", by="ann", reason="it hangs") is not None
    assert (await manager.audit_log())[0].by == "ann"


async def test_the_user_of_raypool_can_do_everything(fleet: Fleet) -> None:
    """With the rights in the document, no more; and each of them is needed."""
    url = await log_in(fleet, "raypool")
    await fleet.admin.script_flush()  # or an earlier test has loaded what this one has to load
    await fleet.admin.config_resetstat()
    async with fleet.manager(url=url) as manager:
        await everything(manager)
    used = await fleet.admin.info("commandstats")
    asked = {rule[1:] for rule in rules("raypool") if rule.startswith("+")}
    assert {name for name in asked - RARE if f"cmdstat_{name}" not in used} == set()


async def test_a_server_may_hide_its_settings(fleet: Fleet) -> None:
    """Managed services refuse CONFIG: what it would have told is not checked, all else works."""
    url = await log_in(fleet, "raypool")
    async with fleet.manager(url=url) as manager:
        assert any("appendfsync" in problem.message for problem in manager.warnings)
    await fleet.admin.execute_command("ACL", "SETUSER", "raypool", "-config")
    async with fleet.manager(url=url) as manager:
        await everything(manager)
        assert manager.warnings == ()


async def test_the_user_of_raypool_stays_under_its_prefix(fleet: Fleet) -> None:
    """Another fleet's data is out of reach, and the error says that it is a matter of rights."""
    url = await log_in(fleet, "raypool")
    with pytest.raises(StorageError) as caught:
        await fleet.manager(url=url, prefix=f"x{fleet.prefix}").open()
    assert caught.value.code is ErrorCodes.STORAGE_ACCESS_DENIED
    assert PASSWORD not in f"{caught.value!r}{caught.value.to_dict()}"


async def test_the_reader_reads_records_and_writes_nothing(
    fleet: Fleet, manager: RedisSessionManager
) -> None:
    """As another service does it: by an index, then the record, and by the stream."""
    made = await manager.create_session("b", locale="fr-FR")
    tag = f"{fleet.prefix}{{0}}"
    async with Redis.from_url(await log_in(fleet, "reader")) as reader:
        found = await reader.zrange(f"{tag}:index:business:b", 0, "+inf", byscore=True)
        assert found == [made.id.encode()]
        record = await reader.hgetall(f"{tag}:session:{made.id}")
        assert (record[b"status"], record[b"version"]) == (b"active", b"1")
        assert await reader.xread({f"{tag}:events": "0"})
        for change in (
            reader.hset(f"{tag}:session:{made.id}", "status", "error"),
            reader.eval("return 1", 0),
            reader.hgetall("another-fleet:meta"),
        ):
            with pytest.raises(NoPermissionError):
                await change


async def test_the_record_has_the_documented_fields(
    fleet: Fleet, manager: RedisSessionManager
) -> None:
    """All of them, and no other."""
    made = await manager.create_session("b", "a@example.com")
    async with manager.lock("b") as token:
        large = {"cookies": os.urandom(2 * 2**20)}  # staged before it is committed
        await manager.checkpoints.save(made.id, token, large, CheckpointMeta())
        await manager.report(made.id, token, Observed())
    await manager.supervise(made.id, Supervision())
    record = await fleet.admin.hgetall(f"{fleet.prefix}{{0}}:session:{made.id}")
    table = DOCS.read_text().split("## The record")[1].split("\n## ")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    documented = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert documented == {name.decode() for name in record}

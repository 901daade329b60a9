"""What holds when a person breaks a lease: the owner is out for good, and it is known who did it."""

import pytest

from raypool.errors import ConfigurationError, LeaseLost
from raypool.model import CheckpointMeta
from tests.contract.conftest import Stores, holder


async def test_a_broken_lease_is_free(stores: Stores) -> None:
    """Whoever breaks it learns from whom; the next owner gets a larger token."""
    owner = holder(cluster="paris", node_id="node-1", pid=42)
    lease = await stores.leases.acquire("b", owner, 20)
    broken = await stores.leases.unlock("b", by="ann", reason="its node burns")
    assert broken is not None
    assert (broken.holder, broken.token, broken.since) == (owner, lease.token, lease.since)
    assert 18 < broken.ttl <= 20
    assert await stores.leases.get("b") is None
    assert (await stores.lease("b")).token > lease.token


@pytest.mark.parametrize("ttl", [0.1, 20])
async def test_the_owner_is_out_for_good(stores: Stores, ttl: float) -> None:
    """It can neither renew nor write, also if its lease had run out and it might have come back."""
    made = await stores.sessions.create_session("b")
    lease = await stores.lease("b", ttl)
    await stores.checkpoints.save(made.id, lease.token, {"a": b"1"}, CheckpointMeta())
    await stores.wait(0.15)
    broken = await stores.leases.unlock("b", by="ann", reason="it hangs")
    assert (broken is not None) is (ttl > 1)
    assert not await stores.leases.renew(lease)
    assert not await stores.leases.release(lease)
    with pytest.raises(LeaseLost):
        await stores.checkpoints.save(made.id, lease.token, {"a": b"2"}, CheckpointMeta())
    assert await stores.leases.get("b") is None


async def test_an_owner_is_out_also_where_the_server_forgot_it(stores: Stores) -> None:
    """On a server that came back empty, before the owner did."""
    lease = await stores.lease("b")
    await stores.lose()
    await stores.wait(0.002)
    assert await stores.leases.unlock("b", by="ann", reason="it hangs") is None
    assert not await stores.leases.renew(lease)


async def test_the_audit_tells_who_and_why(stores: Stores) -> None:
    """Newest first, with the owner that lost it; nothing but what people did is in it."""
    assert await stores.sessions.audit_log() == []
    owner = holder(cluster="paris", node_id="node-1", pid=42)
    lease = await stores.leases.acquire("b", owner, 20)
    await stores.leases.unlock("b", by="ann", reason="its node burns")
    await stores.wait(0.01)
    await stores.leases.unlock("c", by="bob", reason="to be sure")
    second, first = await stores.sessions.audit_log()
    assert (first.action, first.business_id, first.by, first.reason) == (
        "unlock", "b", "ann", "its node burns",
    )  # fmt: skip
    assert first.detail["id"] == owner.id
    assert (first.detail["cluster"], first.detail["pid"]) == ("paris", 42)
    assert (first.detail["token"], first.detail["since"]) == (lease.token, lease.since.isoformat())
    assert (second.business_id, second.by, second.detail) == ("c", "bob", {})
    assert second.at > first.at
    assert await stores.sessions.audit_log(1) == [second]


async def test_nothing_typed_moves_a_cursor(stores: Stores) -> None:
    """The audit holds one line of plain text, whatever was typed."""
    await stores.leases.unlock("b", by=" ann\x00\n", reason="a\x1b[2Jb\u202e c\r\n\td\ud800 é€")
    (entry,) = await stores.sessions.audit_log()
    assert (entry.by, entry.reason) == ("ann", "a [2Jb c d é€")


@pytest.mark.parametrize("wrong", ["", " \n\x00", "x" * 501, None])
async def test_an_unlock_without_a_name_or_a_reason_is_refused(stores: Stores, wrong: str) -> None:
    """Then the lease stays, and so it does for a business id that is none."""
    lease = await stores.lease("b")
    for name, reason in ((wrong, "it hangs"), ("ann", wrong)):
        with pytest.raises(ConfigurationError, match="by=|reason="):
            await stores.leases.unlock("b", by=name, reason=reason)
    with pytest.raises(ConfigurationError, match="business id"):
        await stores.leases.unlock("a{b}", by="ann", reason="it hangs")
    assert await stores.leases.renew(lease)
    assert await stores.sessions.audit_log() == []


@pytest.mark.parametrize("limit", [0, -1, 10_001, True, "5"])
async def test_a_limit_that_does_not_fit_is_refused(stores: Stores, limit: int) -> None:
    """Nobody reads the whole stream by mistake."""
    with pytest.raises(ConfigurationError, match="limit="):
        await stores.sessions.audit_log(limit)

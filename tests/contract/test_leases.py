"""What every lease store promises: one holder, a token that grows, nothing stranded."""

import asyncio

import pytest

from raypool.errors import ErrorCodes, LeaseLost, SessionLocked
from raypool.model import CheckpointMeta, Lease
from tests.contract.conftest import Stores, holder


async def test_a_held_lease_names_its_holder(stores: Stores) -> None:
    """Whoever is refused learns who has it, where, since when, and how long it may last."""
    owner = holder(cluster="paris", node_id="node-1", pid=42)
    lease = await stores.leases.acquire("b", owner, 20)
    with pytest.raises(SessionLocked) as caught:
        await stores.lease("b")
    error = caught.value
    assert error.code is ErrorCodes.SESSION_LOCKED
    assert error.context["holder"] == owner.id
    assert (error.context["cluster"], error.context["node_id"], error.context["pid"]) == (
        "paris",
        "node-1",
        42,
    )
    assert (error.context["kind"], error.context["since"]) == ("instance", lease.since.isoformat())
    assert 18 < (error.retry_after or 0) <= 20
    assert "paris" in error.message


async def test_the_same_holder_may_ask_again(stores: Stores) -> None:
    """It gets the same token: a lost reply cannot strand a lease."""
    owner = holder()
    first = await stores.leases.acquire("b", owner, 20)
    again = await stores.leases.acquire("b", owner, 20)
    assert (again.token, again.since) == (first.token, first.since)


async def test_one_of_many_gets_it(stores: Stores) -> None:
    """However many ask at once."""
    found = await asyncio.gather(*(stores.lease("b") for _ in range(8)), return_exceptions=True)
    assert sum(isinstance(error, SessionLocked) for error in found) == 7


async def test_businesses_do_not_share_a_lease(stores: Stores) -> None:
    """Each has its own."""
    one, other = await stores.lease("a"), await stores.lease("b")
    found = await stores.leases.get("a")
    assert found is not None
    assert found.holder == one.holder
    assert other.holder != one.holder


async def test_the_token_grows(stores: Stores) -> None:
    """With each new holder, however the lease before it ended."""
    tokens = []
    for end in ("released", "expired", "superseded", "held"):
        lease = await stores.lease("b", 0.1 if end == "expired" else 30)
        tokens.append(lease.token)
        if end == "released":
            await stores.leases.release(lease)
        elif end == "expired":
            await stores.wait(0.15)
        elif end == "superseded":
            later = await stores.lease("b", supersedes=lease.holder.id)
            tokens.append(later.token)
            await stores.leases.release(later)
    assert tokens == sorted(set(tokens))


async def test_only_the_holder_that_is_named_is_superseded(stores: Stores) -> None:
    """A supervisor that is behind cannot throw out the next owner."""
    dead = await stores.lease("b")
    with pytest.raises(SessionLocked):
        await stores.lease("b", supersedes="somebody else")
    living = await stores.lease("b", supersedes=dead.holder.id)
    with pytest.raises(SessionLocked):
        await stores.lease("b", supersedes=dead.holder.id)
    found = await stores.leases.get("b")
    assert found is not None
    assert (found.holder, found.token) == (living.holder, living.token)


async def test_a_renewed_lease_lasts(stores: Stores) -> None:
    """Its ttl again, counted from the renewal."""
    lease = await stores.lease("b", 0.6)
    for _ in range(2):
        await stores.wait(0.4)
        assert await stores.leases.renew(lease)
    assert await stores.leases.get("b") is not None


async def test_an_owner_that_was_cut_off_goes_on(stores: Stores) -> None:
    """With the same token, when its lease ran out and nobody held the business in between."""
    lease = await stores.lease("b", 0.1)
    await stores.wait(0.15)
    assert await stores.leases.get("b") is None
    lasting = lease.model_copy(update={"ttl": 20.0})
    assert await stores.leases.renew(lasting)
    found = await stores.leases.get("b")
    assert found is not None
    assert (found.token, found.holder, found.since) == (lease.token, lease.holder, lease.since)
    assert 18 < found.ttl <= 20
    with pytest.raises(SessionLocked):
        await stores.lease("b")


@pytest.mark.parametrize("end", ["held", "run out", "released", "unlocked"])
async def test_an_owner_that_somebody_followed_is_out(stores: Stores, end: str) -> None:
    """However the lease in between ended: False for ever, and its writes are refused."""
    made = await stores.sessions.create_session("b")
    old = await stores.lease("b", 0.1)
    await stores.wait(0.15)
    new = await stores.lease("b", 0.1 if end == "run out" else 20)
    if end == "run out":
        await stores.wait(0.15)
    elif end == "released":
        assert await stores.leases.release(new)
    elif end == "unlocked":
        assert await stores.leases.unlock("b", by="ann", reason="it hangs") is not None
    for _ in range(2):
        assert not await stores.leases.renew(old)
    with pytest.raises(LeaseLost):
        await stores.checkpoints.save(made.id, old.token, {"a": b"stale"}, CheckpointMeta())
    found = await stores.leases.get("b")
    assert (found.token if found else None) == (new.token if end == "held" else None)


async def test_a_lease_that_ran_out_is_not_kept_from_its_holder(stores: Stores) -> None:
    """It may also ask anew; then the token grows, and the lease before is over."""
    lease = await stores.lease("b", 0.1)
    await stores.wait(0.15)
    again = await stores.leases.acquire("b", lease.holder, 10)
    assert again.token > lease.token
    assert not await stores.leases.renew(lease)


async def test_of_two_after_an_outage_one_goes_on(stores: Stores) -> None:
    """The old owner comes back while others reach for the business: one has it in the end."""
    for _ in range(8):
        old = await stores.lease("b", 0.02)
        await stores.wait(0.03)
        lasting = old.model_copy(update={"ttl": 20.0})
        back, *others = await asyncio.gather(
            stores.leases.renew(lasting),
            *(stores.lease("b") for _ in range(3)),
            return_exceptions=True,
        )
        winners = [lease for lease in others if isinstance(lease, Lease)]
        assert (back is True) + len(winners) == 1
        found = await stores.leases.get("b")
        assert found is not None
        assert found.token == (winners[0].token if winners else old.token)
        await stores.leases.release(found)


async def test_a_lost_lease_can_neither_be_renewed_nor_released(stores: Stores) -> None:
    """The next owner keeps it."""
    old = await stores.lease("b")
    new = await stores.lease("b", supersedes=old.holder.id)
    assert not await stores.leases.renew(old)
    assert not await stores.leases.release(old)
    found = await stores.leases.get("b")
    assert found is not None
    assert found.token == new.token


async def test_a_released_lease_is_free(stores: Stores) -> None:
    """At once; releasing it again changes nothing."""
    lease = await stores.lease("b")
    assert await stores.leases.release(lease)
    assert await stores.leases.get("b") is None
    assert not await stores.leases.release(lease)
    await stores.lease("b")


@pytest.mark.parametrize("ttl", [0.1, 20])
async def test_what_was_let_go_does_not_come_back(stores: Stores, ttl: float) -> None:
    """A renewal or a write that arrives after the release, also of a lease that had run out."""
    made = await stores.sessions.create_session("b")
    lease = await stores.lease("b", ttl)
    await stores.wait(0.15)
    assert await stores.leases.release(lease) is (ttl > 1)
    assert not await stores.leases.renew(lease)
    with pytest.raises(LeaseLost):
        await stores.checkpoints.save(made.id, lease.token, {"a": b"late"}, CheckpointMeta())
    assert await stores.leases.get("b") is None
    assert (await stores.lease("b")).token > lease.token


async def test_a_lock_is_a_lease_for_a_block(stores: Stores) -> None:
    """It gives the fencing token, refuses others, and is free afterwards, also after an error."""
    async with stores.sessions.lock("b") as token:
        found = await stores.leases.get("b")
        assert found is not None
        assert (found.token, found.holder.kind) == (token, "lock")
        with pytest.raises(SessionLocked):
            async with stores.sessions.lock("b"):
                pass
    with pytest.raises(RuntimeError, match="inside"):
        async with stores.sessions.lock("b"):
            raise RuntimeError("inside")
    assert await stores.leases.get("b") is None


async def test_a_lock_waits_for_its_turn(stores: Stores) -> None:
    """Up to the time given."""
    first = await stores.lease("b")
    waiting = asyncio.create_task(_locked(stores))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    await stores.leases.release(first)
    assert await waiting > first.token


async def _locked(stores: Stores) -> int:
    async with stores.sessions.lock("b", timeout=5) as token:
        return token


async def test_a_lock_that_was_lost_says_so(stores: Stores) -> None:
    """At the end of the block at the latest; the next holder keeps the lease."""
    with pytest.raises(LeaseLost):
        await _robbed(stores)
    found = await stores.leases.get("b")
    assert found is not None
    assert found.holder.kind == "instance"


async def _robbed(stores: Stores) -> None:
    async with stores.sessions.lock("b"):
        mine = await stores.leases.get("b")
        assert mine is not None
        await stores.lease("b", supersedes=mine.holder.id)
        await asyncio.sleep(0.75)  # a third of the lease, when it is renewed

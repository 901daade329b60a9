"""What holds when the server comes back empty: owners go on, records come back, one writer remains."""

import asyncio
from datetime import timedelta

import pytest

from raypool.errors import LeaseLost, SessionLocked, SessionNotFound
from raypool.model import CheckpointMeta, Desired, Lease, Session, SessionStatus
from tests.contract.conftest import Stores, holder

PARTS = {"cookies": b'[{"name":"sid"}]', "tabs": b'{"tabs":[]}'}
META = CheckpointMeta(reasons=("run",))


async def owned(stores: Stores, ttl: float = 30.0) -> tuple[Session, Lease, int]:
    """Return a session as its owner knows it, the owner's lease, and what was acknowledged last."""
    made = await stores.sessions.ensure_active(
        "b", email="a@example.com", desired=Desired.RUNNING, locale="fr-FR"
    )
    made = await stores.sessions.update_session(
        made.id, assigned_cluster="paris", ttl=50, proxy={"server": "p:1", "password": "x"}
    )
    lease = await stores.lease("b", ttl)
    for n in range(3):
        parts = {**PARTS, "n": str(n).encode()}
        info = await stores.checkpoints.save(made.id, lease.token, parts, META)
    found = await stores.sessions.get_session(made.id)
    assert found is not None
    return found, lease, info.version


async def test_an_emptied_server_takes_its_owner_back(stores: Stores) -> None:
    """Lease, record and state are there again; token, id and wishes are those from before."""
    was, lease, acknowledged = await owned(stores)
    await stores.wait(0.02)
    await stores.lose()
    assert await stores.leases.renew(lease)
    back = await stores.sessions.rewrite_lost(was, lease.token)
    same = ("id", "business_id", "email", "status", "desired", "spec", "ttl", "assigned_cluster",
            "created_at", "fencing_token")  # fmt: skip
    assert {n: getattr(back, n) for n in same} == {n: getattr(was, n) for n in same}
    assert (back.version, back.checkpoint_version) == (was.version + 1, 0)
    assert back.expires_at - back.last_activity == timedelta(seconds=50)
    saved = await stores.checkpoints.save(back.id, lease.token, PARTS, META, after=acknowledged)
    assert saved.version == acknowledged + 1
    found = await stores.checkpoints.load(back.id)
    assert found is not None
    assert (dict(found.parts), found.info) == (PARTS, saved)
    assert [s.id for s in await stores.sessions.get_sessions_by_email("a@example.com")] == [was.id]
    assert [s.id for s in await stores.sessions.list_sessions(desired=Desired.RUNNING)] == [was.id]
    held = await stores.leases.get("b")
    assert held is not None
    assert (held.token, held.holder, held.since) == (lease.token, lease.holder, lease.since)


async def test_a_record_comes_back_before_its_lease(stores: Stores) -> None:
    """Whichever of the two the owner brings first; the next owner's token is larger all the same."""
    was, lease, acknowledged = await owned(stores)
    await stores.lose()
    back = await stores.sessions.rewrite_lost(was, lease.token)
    saved = await stores.checkpoints.save(back.id, lease.token, PARTS, META, after=acknowledged)
    assert saved.fencing_token == lease.token
    assert await stores.leases.renew(lease)
    await stores.leases.release(lease)
    assert (await stores.lease("b")).token > lease.token


async def test_a_server_that_is_emptied_twice_is_filled_twice(stores: Stores) -> None:
    """Nor is anything given out twice when it happens again."""
    was, lease, acknowledged = await owned(stores)
    versions = [acknowledged]
    for _ in range(2):
        await stores.lose()
        assert await stores.leases.renew(lease)
        was = await stores.sessions.rewrite_lost(was, lease.token)
        for content in (b"1", b"2"):
            info = await stores.checkpoints.save(
                was.id, lease.token, {"cookies": content}, META, after=versions[-1]
            )
            versions.append(info.version)
    assert versions == [3, 4, 5, 6, 7]


async def test_what_was_deleted_does_not_come_back(stores: Stores) -> None:
    """The server never lost its data: whoever deleted the session meant it."""
    was, lease, _ = await owned(stores)
    await stores.sessions.delete_session(was.id)
    for _ in range(2):
        with pytest.raises(SessionNotFound):
            await stores.sessions.rewrite_lost(was, lease.token)
    assert await stores.sessions.list_sessions() == []


async def test_what_came_back_can_be_deleted(stores: Stores) -> None:
    """Once it was written again, or was found again, missing means deleted."""
    was, lease, _ = await owned(stores)
    await stores.lose()
    back = await stores.sessions.rewrite_lost(was, lease.token)
    await stores.sessions.delete_session(back.id)
    for known in (was, back):
        with pytest.raises(SessionNotFound):
            await stores.sessions.rewrite_lost(known, lease.token)
    made = await stores.sessions.create_session("c")
    await stores.sessions.delete_session(made.id)
    with pytest.raises(SessionNotFound):
        await stores.sessions.rewrite_lost(made, (await stores.lease("c")).token)


async def test_what_expired_does_not_come_back(stores: Stores) -> None:
    """An expired session is missing, not lost."""
    made = await stores.sessions.create_session("b", ttl=0.1)
    lease = await stores.lease("b")
    await stores.wait(0.15)
    with pytest.raises(SessionNotFound):
        await stores.sessions.rewrite_lost(made, lease.token)


async def test_what_is_there_stays_as_it_is(stores: Stores) -> None:
    """The record, its state and its version, on a server that lost something or nothing."""
    was, lease, acknowledged = await owned(stores)
    assert await stores.sessions.rewrite_lost(was, lease.token) == was
    await stores.lose()
    back = await stores.sessions.rewrite_lost(was, lease.token)
    await stores.checkpoints.save(was.id, lease.token, PARTS, META, after=acknowledged)
    changed = await stores.sessions.update_session(back.id, locale="de-DE")
    assert await stores.sessions.rewrite_lost(was, lease.token) == changed
    assert changed.checkpoint_version == acknowledged + 1


@pytest.mark.parametrize("wish", Desired)
async def test_the_owner_takes_the_place_of_a_blank_one(stores: Stores, wish: Desired) -> None:
    """A driver found nothing on the empty server and made a session: it is retired."""
    was, lease, _ = await owned(stores)
    await stores.lose()
    blank = await stores.sessions.ensure_active("b", email="a@example.com", desired=wish)
    assert blank.id != was.id
    back = await stores.sessions.rewrite_lost(was, lease.token)
    retired = await stores.sessions.get_session(blank.id)
    assert retired is not None
    assert (retired.status, retired.desired) == (SessionStatus.INACTIVE, Desired.STOPPED)
    assert retired.version == blank.version + 1
    assert await stores.sessions.get_active_session("b") == back
    assert await stores.sessions.list_sessions(desired=Desired.RUNNING) == [back]
    assert await stores.sessions.list_sessions(desired=Desired.HIBERNATED) == []
    assert await stores.sessions.list_sessions(status=SessionStatus.ACTIVE) == [back]
    assert (await stores.sessions.ensure_active("b")).id == was.id


async def test_drivers_and_the_owner_at_once_agree(stores: Stores) -> None:
    """However they meet on the empty server, the owner's session is the active one in the end."""
    was, lease, _ = await owned(stores)
    for _ in range(5):
        await stores.lose()
        drivers = [stores.sessions.ensure_active("b", desired="running") for _ in range(4)]
        back, *_ = await asyncio.gather(stores.sessions.rewrite_lost(was, lease.token), *drivers)
        assert back.id == was.id
        active = await stores.sessions.list_sessions(status=SessionStatus.ACTIVE)
        running = await stores.sessions.list_sessions(desired=Desired.RUNNING)
        assert [s.id for s in active] == [s.id for s in running] == [was.id]


async def test_a_retired_session_comes_back_retired(stores: Stores) -> None:
    """It takes nobody's place."""
    old = await stores.sessions.create_session("b", status=SessionStatus.INACTIVE)
    lease = await stores.lease("b")
    await stores.lose()
    active = await stores.sessions.create_session("b")
    back = await stores.sessions.rewrite_lost(old, lease.token)
    assert back.status is SessionStatus.INACTIVE
    assert await stores.sessions.get_active_session("b") == active


@pytest.mark.parametrize("still", [True, False])
async def test_a_stale_owner_brings_nothing_back(stores: Stores, still: bool) -> None:
    """Somebody else got the business on the empty server, and has it or let it go."""
    was, lease, _ = await owned(stores)
    await stores.lose()
    await stores.wait(0.002)
    other = await stores.lease("b")
    if not still:
        await stores.leases.release(other)
    assert not await stores.leases.renew(lease)
    with pytest.raises(LeaseLost):
        await stores.sessions.rewrite_lost(was, lease.token)
    assert await stores.sessions.list_sessions() == []


async def test_an_owner_that_read_of_its_successor_brings_nothing_back(stores: Stores) -> None:
    """The record that it holds tells of a newer owner, though the server forgot that one."""
    made, old, _ = await owned(stores)
    new = await stores.lease("b", supersedes=old.holder.id)
    await stores.checkpoints.save(made.id, new.token, {}, META)
    newest = await stores.sessions.get_session(made.id)
    assert newest is not None
    await stores.lose()
    with pytest.raises(LeaseLost):
        await stores.sessions.rewrite_lost(newest, old.token)
    assert (await stores.sessions.rewrite_lost(newest, new.token)).id == made.id
    with pytest.raises(LeaseLost):
        await stores.checkpoints.save(made.id, old.token, PARTS, META)


async def test_of_two_owners_on_an_empty_server_one_goes_on(stores: Stores) -> None:
    """An old one that was thought dead and its successor: whoever comes first has it for good."""
    for first in (0, 1):
        was, old, _ = await owned(stores)
        owners = [old, await stores.lease("b", supersedes=old.holder.id)]
        await stores.lose()
        told = {n: await stores.leases.renew(owners[n]) for n in (first, 1 - first)}
        assert told == {first: True, 1 - first: False}
        with pytest.raises(LeaseLost):
            await stores.sessions.rewrite_lost(was, owners[1 - first].token)
        await stores.sessions.rewrite_lost(was, owners[first].token)
        await stores.leases.release(owners[first])
        await stores.sessions.delete_session(was.id)


async def test_of_many_on_an_empty_server_one_goes_on(stores: Stores) -> None:
    """The owner renews while others reach for the business, all at once."""
    for _ in range(8):
        old = await stores.lease("b")
        await stores.lose()
        back, *others = await asyncio.gather(
            stores.leases.renew(old),
            *(stores.leases.acquire("b", holder(), 20) for _ in range(3)),
            return_exceptions=True,
        )
        refused = [error for error in others if isinstance(error, SessionLocked)]
        assert (back is True) + (len(others) - len(refused)) == 1
        found = await stores.leases.get("b")
        assert found is not None
        assert (found.token == old.token) is (back is True)
        assert await stores.leases.release(found)


async def test_a_server_that_is_behind_gives_out_no_version_twice(stores: Stores) -> None:
    """After a failover that lost its tail, also when the state is what the server has anyway."""
    made = await stores.sessions.create_session("b")
    lease = await stores.lease("b")
    await stores.checkpoints.save(made.id, lease.token, PARTS, META)
    for parts in (PARTS, {"cookies": b"2"}):
        first = await stores.checkpoints.save(made.id, lease.token, parts, META, after=7)
        again = await stores.checkpoints.save(
            made.id, lease.token, parts, META, after=first.version
        )
        assert again == first
    assert [i.version for i in await stores.checkpoints.list(made.id)] == [9, 8, 1]
    found = await stores.sessions.get_session(made.id)
    assert found is not None
    assert (found.checkpoint_version, found.last_good_version) == (9, 9)
    older = await stores.checkpoints.save(made.id, lease.token, {}, META, after=2)
    assert older.version == 10

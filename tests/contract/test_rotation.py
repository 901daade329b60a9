"""What holds when master keys are rotated in place: nothing is lost, everything that fails is named."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import pytest
import pytest_asyncio
from pydantic import SecretStr

from raypool.errors import CheckpointCorrupt, ErrorCodes, StorageError, StoreUnavailable
from raypool.model import CheckpointMeta, Session
from raypool.store.crypto import Keyring, wrapped_with
from raypool.store.rotation import INDEX_KEY, Rotation
from raypool.store.sessions import RedisSessionManager
from tests.contract.conftest import Fleet, holder, new_fleet
from tests.contract.proxy import LossyProxy

META = CheckpointMeta()
PROXY = {"server": "http://proxy.example:3128", "username": "u", "password": "p"}


class Old:
    """A fleet with data under its first key, and a second key to come."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet, self.old, self.new = fleet, fleet.keys, Keyring.generate()
        self.both = f"{self.new},{self.old}"

    async def session(self, business_id: str, keys: str | None = None) -> Session:
        """Make a session with a state, an address and a sealed option."""
        manager = await self.fleet.manager(keys=keys or self.old).open()
        made = await manager.create_session(business_id, f"{business_id}@x.example", proxy=PROXY)
        async with manager.lock(business_id) as token:
            await manager.checkpoints.save(made.id, token, {"cookies": b"[1]"}, META)
        return made

    async def rotate(self, keys: str | None = None) -> Rotation:
        """Rotate, as a process with *keys* (new, old) does it."""
        manager = await self.fleet.manager(keys=keys or self.both).open()
        sessions = await manager.key_rotation.sessions()
        return await manager.key_rotation.rotate(sessions)

    async def reads(self, keys: str, session: Session) -> None:
        """Make sure that a process with *keys* alone has all of a session."""
        manager = await self.fleet.manager(keys=keys).open()
        found = await manager.get_session(session.id)
        assert found is not None
        assert found.spec.context["proxy"] == PROXY
        assert session.id in [s.id for s in await manager.get_sessions_by_email(session.email)]
        state = await manager.checkpoints.load(session.id)
        assert state is not None
        assert state.parts == {"cookies": b"[1]"}

    def key(self, session: Session) -> str:
        """Return the key of a session's record."""
        return f"{self.fleet.prefix}{{0}}:session:{session.id}"

    async def field(self, session: Session, name: str = "data_key") -> str:
        """Return a field of a session's record."""
        found: Any = await self.fleet.admin.hget(self.key(session), name)
        return str(found.decode())


@pytest_asyncio.fixture
async def old(fleet: Fleet) -> Old:
    """A fleet whose key is about to change."""
    return Old(fleet)


def ids(*keys: str) -> list[str]:
    """Return the ids of keys."""
    return [Keyring.parse(SecretStr(key)).ids[0] for key in keys]


async def test_afterwards_the_new_key_alone_is_enough(old: Old) -> None:
    """For states, for options with passwords, for finding sessions by address, for new sessions."""
    made = [await old.session(f"b{n}") for n in range(20)]
    done = await old.rotate()
    new_id, old_id = ids(old.new, old.old)
    assert (done.rotated, done.skipped, done.failures) == (21, 0, ())
    assert (done.key_id, done.retired) == (new_id, (old_id,))
    for session in made:
        await old.reads(old.new, session)
    await old.reads(old.new, await old.session("later", old.new))
    with pytest.raises(StorageError) as caught:
        await old.fleet.manager(keys=old.old).open()
    assert caught.value.code is ErrorCodes.STORAGE_KEY_UNKNOWN


async def test_nothing_but_the_wrapping_moves(old: Old) -> None:
    """Version, expiry, state and events are as they were: no one's change is refused for it."""
    made = await old.session("b")
    before = await old.fleet.admin.hgetall(old.key(made))
    await old.rotate()
    after = await old.fleet.admin.hgetall(old.key(made))
    assert before.pop(b"data_key") != after.pop(b"data_key")
    assert before == after


async def test_again_there_is_nothing_to_do(old: Old) -> None:
    """What is done is skipped, byte for byte."""
    made = await old.session("b")
    await old.rotate()
    wrapped = await old.field(made)
    again = await old.rotate()
    assert (again.rotated, again.skipped, again.failures) == (0, 2, ())
    assert await old.field(made) == wrapped


async def test_one_that_was_broken_off_goes_on(old: Old) -> None:
    """Whatever was done stays done, whatever was not is done now."""
    made = [await old.session(f"b{n}") for n in range(20)]
    manager = await old.fleet.manager(keys=old.both).open()
    sessions = await manager.key_rotation.sessions()

    def pull_the_plug() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await manager.key_rotation.rotate(sessions, pull_the_plug)
    for session in made:
        await old.reads(old.both, session)
    done = await old.rotate()
    assert done.failures == ()
    assert 0 < done.rotated < 21
    assert done.rotated + done.skipped == 21
    for session in made:
        await old.reads(old.new, session)


async def test_an_owner_that_goes_on_undoes_nothing(old: Old) -> None:
    """It read the record before, and changes it and saves after; both keep the new wrapping."""
    made = await old.session("b")
    owner = await old.fleet.manager(keys=old.both).open()
    lease = await owner.leases.acquire("b", holder(), 20)
    reread = owner._indexes.existing
    stale = await reread(made.id)
    assert (await old.rotate()).rotated == 2
    wrapped = await old.field(made)
    assert wrapped_with(wrapped) == ids(old.new)[0]
    after = stale.session.model_copy(update={"email": "new@x.example"})
    await owner._writer.write(stale, after, "op", "updated")
    await owner.touch(made.id)
    await owner.checkpoints.save(made.id, lease.token, {"cookies": b"[1]", "tabs": b"{}"}, META)
    await owner.update_session(made.id, desired="hibernated")
    assert await old.field(made) == wrapped
    state = await (await old.fleet.manager(keys=old.new).open()).checkpoints.load(made.id)
    assert state is not None
    assert set(state.parts) == {"cookies", "tabs"}


async def test_a_live_owner_without_the_new_key_is_spared_and_named(old: Old) -> None:
    """It could not save any more: its business and the index key wait until it is replaced."""
    made, other = await old.session("b"), await old.session("c")
    owner = await old.fleet.manager().open()
    lease = await owner.leases.acquire("b", holder(cluster="paris"), 20)
    done = await old.rotate()
    (failure,) = done.failures
    assert (done.rotated, done.retired) == (1, ())
    assert (failure.cause, failure.session_id, failure.business_id) == ("owner", made.id, "b")
    assert "of cluster paris" in failure.why
    assert ids(old.new)[0] in failure.why
    assert failure.key_id == ids(old.old)[0]
    await owner.checkpoints.save(made.id, lease.token, {"cookies": b"[2]"}, META)
    assert await owner.leases.release(lease)
    done = await old.rotate()
    assert (done.rotated, done.failures, done.retired) == (2, (), (ids(old.old)[0],))
    await old.reads(old.new, other)


async def test_what_needs_a_key_that_is_gone_is_named(old: Old) -> None:
    """With the id of the key; the others are rotated; the key that still is needed is not retired."""
    third = Keyring.generate()
    kept = await old.session("kept")
    lost = await old.session("lost", f"{third},{old.old}")
    done = await old.rotate()
    (failure,) = done.failures
    assert (failure.cause, failure.session_id, failure.business_id) == (
        "unknown_key", lost.id, "lost",
    )  # fmt: skip
    assert failure.key_id == ids(third)[0]
    assert ids(third)[0] in failure.why
    assert done.retired == (ids(old.old)[0],)
    await old.reads(old.new, kept)
    done = await old.rotate(f"{old.both},{third}")
    assert (done.rotated, done.failures) == (1, ())
    await old.reads(old.new, lost)


@pytest.mark.parametrize("damage", ["flipped", "rubbish", "another's"])
async def test_what_was_tampered_with_is_named(old: Old, damage: str) -> None:
    """It is left as it is, for whoever has to look at it; the others are rotated."""
    bad, good = await old.session("bad"), await old.session("good")
    wrapped = await old.field(bad)
    changed = {
        "flipped": wrapped[:-6] + ("A" if wrapped[-6] != "A" else "B") + wrapped[-5:],
        "rubbish": "!",
        "another's": await old.field(good),
    }[damage]
    await old.fleet.admin.hset(old.key(bad), "data_key", changed)
    done = await old.rotate()
    (failure,) = done.failures
    assert (failure.cause, failure.session_id) == ("damaged", bad.id)
    assert bad.id in failure.what
    assert await old.field(bad) == changed
    assert done.rotated == 2
    assert done.retired == ()
    await old.reads(old.new, good)


async def test_a_damaged_index_key_is_named(old: Old) -> None:
    """It is nobody's session, and yet needs a key."""
    await old.session("b")
    manager = await old.fleet.manager(keys=old.both).open()
    sessions = await manager.key_rotation.sessions()
    await old.fleet.admin.hset(f"{old.fleet.prefix}meta", "index_key", "!")
    done = await manager.key_rotation.rotate(sessions)
    assert [failure.what for failure in done.failures] == [INDEX_KEY]
    assert done.rotated == 1


async def test_sessions_that_come_and_go_meanwhile(old: Old) -> None:
    """Those of a process that still writes with the old key are found before the end."""
    gone, stays = await old.session("gone"), await old.session("stays")
    manager = await old.fleet.manager(keys=old.both).open()
    sessions = await manager.key_rotation.sessions()
    await manager.delete_session(gone.id)
    late = await old.session("late")
    done = await manager.key_rotation.rotate(sessions)
    assert (done.rotated, done.skipped, done.failures) == (3, 1, ())
    for session in (stays, late):
        await old.reads(old.new, session)
    assert not await old.fleet.admin.exists(old.key(gone))


async def test_two_at_once_agree(old: Old) -> None:
    """Each key is wrapped anew once; none is lost."""
    made = [await old.session(f"b{n}") for n in range(10)]
    done = await asyncio.gather(old.rotate(), old.rotate())
    assert sum(d.rotated for d in done) == 11
    assert all(d.failures == () for d in done)
    for session in made:
        await old.reads(old.new, session)


async def test_a_lost_reply_leaves_a_key_that_opens(
    old: Old, lossy: LossyProxy, behind: RedisSessionManager
) -> None:
    """The wrapping is there or it is not; a second run finds out."""
    made = await old.session("b")
    url = behind._settings.redis_url
    assert url is not None
    manager = await old.fleet.manager(url=url.get_secret_value(), keys=old.both).open()
    sessions = await manager.key_rotation.sessions()
    lossy.lose_reply_to("rewrap_key")
    with contextlib.suppress(StoreUnavailable):
        await manager.key_rotation.rotate(sessions)
    assert lossy.lost == 1
    await old.reads(old.both, made)
    assert (await old.rotate()).failures == ()
    await old.reads(old.new, made)


async def test_a_deleted_session_cannot_be_read_from_a_copy(old: Old, fleet: Fleet) -> None:
    """Deleting it destroys its data key: parts and manifests of a backup are noise, for every key."""
    made = await old.session("b")
    copies = {
        kind: await fleet.admin.dump(f"{fleet.prefix}{{0}}:{kind}:{made.id}")
        for kind in ("parts", "checkpoints")
    }
    manager = await fleet.manager(keys=old.both).open()
    await manager.delete_session(made.id)
    assert not [name for name in await fleet.names() if made.id in name]
    another = await manager.create_session("b")  # all that is left is put back under its record
    for kind, copy in copies.items():
        await fleet.admin.restore(f"{fleet.prefix}{{0}}:{kind}:{another.id}", 0, copy)
    await fleet.admin.hset(old.key(another), "checkpoint_version", "1")
    assert len(await fleet.admin.hgetall(f"{fleet.prefix}{{0}}:parts:{another.id}")) == 1
    with pytest.raises(CheckpointCorrupt):
        await manager.checkpoints.load(another.id)
    assert await manager.checkpoints.list(another.id) == []
    assert (await manager.checkpoints.load_usable(another.id))[0] is None


async def test_on_a_cluster_it_reaches_every_partition(servers: Callable[[str], str]) -> None:
    """And a record that claims to be another business's is named instead of followed."""
    async with new_fleet(servers("cluster")) as fleet:
        old = Old(fleet)
        made = [await old.session(f"b{n}") for n in range(8)]
        assert len({session.id[:2] for session in made}) > 2
        liar, *honest = made
        keys = (await fleet.manager().open())._connection.keys
        name = next(f"x{n}" for n in range(99) if keys.partition_of(f"x{n}") != int(liar.id[:2]))
        await fleet.admin.hset(keys.session(liar.id), "business_id", name)
        done = await old.rotate()
        assert [failure.session_id for failure in done.failures] == [liar.id]
        assert done.rotated == 8
        for session in honest:
            await old.reads(old.new, session)

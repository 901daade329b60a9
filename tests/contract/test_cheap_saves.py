"""What holds of large states: a save costs what changed, and never trusts what it remembers."""

import os
import tracemalloc
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio

from raypool.errors import ErrorCodes, LeaseLost, StoreUnavailable, create_error
from raypool.model import CheckpointMeta, Lease, Session, SignIn
from raypool.store import saving
from raypool.store.base import VERSIONS_KEPT
from raypool.store.pieces import PIECE_BYTES
from raypool.store.remembered import SESSIONS_REMEMBERED
from raypool.store.sessions import RedisSessionManager
from tests.contract.conftest import Fleet, holder
from tests.contract.recorder import Recorder

META = CheckpointMeta(sign_in=SignIn.SIGNED_IN)
SIGNED_OUT = CheckpointMeta(sign_in=SignIn.SIGNED_OUT)
MB = 2**20

State = dict[str, bytes]


def many(count: int, size: int = 40) -> State:
    """Return a state of so many parts that do not compress."""
    return {f"local:https://a.example/#{n}/1024": os.urandom(size) for n in range(count)}


def changed(state: State, *numbers: int) -> State:
    """Return the state with the parts of these numbers changed; the other objects stay."""
    names = list(state)
    return {**state, **{names[n]: os.urandom(len(state[names[n]])) for n in numbers}}


@dataclass
class Owner:
    """A session with an owner that saves, and what it asks of the server."""

    fleet: Fleet
    manager: RedisSessionManager
    session: Session
    lease: Lease
    recorder: Recorder

    @property
    def id(self) -> str:
        """The session's."""
        return self.session.id

    async def save(
        self, state: Mapping[str, bytes], meta: CheckpointMeta = META, **more: Any
    ) -> int:
        """Save a state, forgetting what was asked before; return its version."""
        self.recorder.clear()
        save = self.manager.checkpoints.save
        return (await save(self.id, self.lease.token, state, meta, **more)).version

    def key(self, kind: str) -> str:
        """Return the key of one of the session's hashes."""
        return f"{self.fleet.prefix}{{0}}:{kind}:{self.id}"

    async def fields(self, kind: str) -> set[bytes]:
        """Return the fields of one of the session's hashes."""
        return set(await self.fleet.admin.hkeys(self.key(kind)))

    async def sizes(self) -> dict[bytes, int]:
        """Return the sizes of the stored parts; lists are larger than the parts of :func:`many`."""
        found = await self.fleet.admin.hgetall(self.key("parts"))
        return {field: len(data) for field, data in found.items()}

    async def has(self, state: State, version: int | None = None) -> bool:
        """Tell whether a reader that knows nothing finds this state."""
        found = await self.fleet.manager().checkpoints.load(self.id, version)
        return found is not None and dict(found.parts) == state


@pytest_asyncio.fixture
async def owner(fleet: Fleet, manager: RedisSessionManager) -> Owner:
    """A session with an owner."""
    session = await manager.create_session("b", "a@example.com")
    lease = await manager.leases.acquire("b", holder(), 60)
    return Owner(fleet, manager, session, lease, Recorder(manager))


async def test_one_changed_part_is_one_round_trip(owner: Owner) -> None:
    """Nothing is read, one part, one list and one manifest are sent: under 3 % of the whole state."""
    state = many(1000, 1000)
    full = await _bytes_of(owner, state)
    state = changed(state, 500)
    one = await _bytes_of(owner, state)
    assert owner.recorder.asked == ["commit"]
    assert one < full * 0.03
    assert one < 8_000
    assert await owner.has(state)


async def _bytes_of(owner: Owner, state: State) -> int:
    """Return the bytes that the server gets for a save."""
    before = (await owner.fleet.admin.info("stats"))["total_net_input_bytes"]
    await owner.save(state)
    after = (await owner.fleet.admin.info("stats"))["total_net_input_bytes"]
    return int(after - before)


async def test_what_the_server_does_follows_the_change(owner: Owner) -> None:
    """One changed part runs as many commands in a state of 100 parts as in one of 3,000."""
    ran = []
    for count in (100, 3000):
        state = many(count)
        await owner.save(state)
        await owner.save(changed(state, 0))
        await owner.fleet.admin.config_resetstat()
        await owner.save(changed(state, 7))
        stats = await owner.fleet.admin.info("commandstats")
        ran.append({name: found["calls"] for name, found in stats.items()})
        assert owner.recorder.answers == ["commit:OK"]
    assert ran[0] == ran[1]


async def test_an_unchanged_state_sends_nothing(owner: Owner) -> None:
    """Equal contents in other objects count as unchanged too."""
    state = many(200)
    assert await owner.save(state) == 1
    assert await owner.save({name: bytes(bytearray(part)) for name, part in state.items()}) == 1
    assert owner.recorder.asked == ["commit"]


async def test_every_kept_version_of_a_large_state_is_whole(owner: Owner) -> None:
    """Whatever came, went or grew, over the size from which on a state has lists, and back."""
    states = [many(60), many(70), {}, many(65)]
    for n in range(VERSIONS_KEPT):
        before = states[-1]
        state = changed(before, n % 60)
        state = {**state, f"new {n}": b"x" * n} if n % 3 else dict(list(state.items())[1:])
        states.append(state)
    for state in states:
        await owner.save(state)
    newest = len(states)
    for version in range(newest - VERSIONS_KEPT + 1, newest + 1):
        assert await owner.has(states[version - 1], version)
    assert len(await owner.manager.checkpoints.list(owner.id)) == VERSIONS_KEPT


async def test_what_no_version_names_is_gone(owner: Owner) -> None:
    """However often a large state changed, what is stored is what another process would keep."""
    state = many(80)
    for n in range(VERSIONS_KEPT + 6):
        state = changed(state, n, n + 1)
        await owner.save(state)
    before = await owner.fields("parts")
    later = owner.fleet.manager()
    await later.checkpoints.save(owner.id, owner.lease.token, state, SIGNED_OUT)
    assert before >= await owner.fields("parts")
    assert len(before) < 80 + 64 + 4 * VERSIONS_KEPT + 4


async def test_a_state_that_changes_whole_is_cleaned_in_steps(
    owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No script drops more than its share, and nothing piles up."""
    monkeypatch.setattr(saving, "BATCH_ITEMS", 10)
    dropped = 0
    for _ in range(VERSIONS_KEPT + 5):
        await owner.save(many(30))
        dropped += owner.recorder.answers.count("drop_parts:OK")
    assert dropped >= 5
    assert len(await owner.fields("parts")) <= (VERSIONS_KEPT + 2) * 30


async def test_a_large_part_is_sent_and_read_in_pieces(owner: Owner) -> None:
    """No value is larger than a piece; changing its middle sends one."""
    part = bytearray(os.urandom(5 * MB + 17))
    await owner.save({"a": bytes(part), "b": b""})
    assert owner.recorder.answers.count("put_parts:OK") >= 4
    part[2 * MB + 5] ^= 1
    before = await owner.fields("parts")
    await owner.save({"a": bytes(part), "b": b""})
    (field,) = await owner.fields("parts") - before
    assert owner.recorder.asked == ["commit"]
    assert await owner.fleet.admin.hstrlen(owner.key("parts"), field.decode()) < PIECE_BYTES + 500
    assert await owner.has({"a": bytes(part), "b": b""})


async def test_a_large_state_is_saved_in_little_memory(owner: Owner) -> None:
    """A few megabytes beyond the state itself, in one part or in many."""
    for state in (many(1600, 20_000), {"one": os.urandom(32 * MB)}):
        tracemalloc.start()
        try:
            await owner.save(state)
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert owner.recorder.answers.count("put_parts:OK") > 20
        assert most < 10 * MB


async def test_another_owner_in_between_is_seen(owner: Owner) -> None:
    """The old one is refused; when it gets the business back, it builds on what was saved meanwhile."""
    state = many(100)
    await owner.save(state)
    other = owner.fleet.manager()
    taken = await other.leases.acquire("b", holder(), 60, supersedes=owner.lease.holder.id)
    theirs = changed(state, 1, 2)
    await other.checkpoints.save(owner.id, taken.token, theirs, META)
    with pytest.raises(LeaseLost):
        await owner.save(changed(state, 3))
    assert owner.recorder.answers == ["commit:FENCED"]
    await other.leases.release(taken)
    owner.lease = await owner.manager.leases.acquire("b", holder(), 60)
    mine = changed(theirs, 4)
    assert await owner.save(mine) == 3
    assert await owner.has(mine)
    assert await owner.has(theirs, 2)


async def test_two_stores_of_one_owner_see_each_other(owner: Owner) -> None:
    """Each save is whole, though the other store moved on in between."""
    twin = Owner(owner.fleet, owner.fleet.manager(), owner.session, owner.lease, owner.recorder)
    twin.recorder = Recorder(twin.manager)
    state, states = many(90), []
    for n in range(6):
        state = changed(state, n)
        states.append(state)
        one = (owner, twin)[n % 2]
        assert await one.save(state) == n + 1
        if n > 1:
            assert one.recorder.answers == ["commit:CONFLICT", "commit:OK"]
    for version, saved in enumerate(states, start=1):
        assert await owner.has(saved, version)


async def test_a_change_of_the_record_is_seen(owner: Owner) -> None:
    """The index of a new e-mail address slides with the session."""
    state = many(3)
    await owner.save(state)
    other = owner.fleet.manager()
    await other.update_session(owner.id, email="new@example.com", ttl=30)
    (index,) = [name for name in await owner.fleet.names() if ":index:email:" in name]
    before = await owner.fleet.admin.zscore(owner.fleet.prefix + index, owner.id)
    await owner.save(changed(state, 1))
    assert owner.recorder.answers == ["commit:CONFLICT", "commit:OK"]
    after = await owner.fleet.admin.zscore(owner.fleet.prefix + index, owner.id)
    assert after > before


async def test_another_last_good_is_seen(owner: Owner) -> None:
    """Somebody may roll back or promote a version: it is kept, the one that was it is not."""
    state = many(3)
    await owner.save(state)
    await owner.save(changed(state, 0))
    await owner.fleet.admin.hset(owner.key("session"), "last_good_version", 1)
    for n in range(VERSIONS_KEPT + 2):
        await owner.save(changed(state, 1), SIGNED_OUT)
        if n == 0:
            assert owner.recorder.answers == ["commit:CONFLICT", "commit:OK"]
    assert await owner.has(state, 1)
    infos = await owner.manager.checkpoints.list(owner.id)
    assert 2 not in {info.version for info in infos}


@pytest.mark.parametrize("kind", ["parts", "checkpoints"])
@pytest.mark.parametrize("same", [True, False])
async def test_what_the_server_lost_is_sent_again(owner: Owner, kind: str, same: bool) -> None:
    """A hash that was evicted or deleted is noticed by the next save, also of an unchanged state."""
    state = many(100)
    await owner.save(state)
    await owner.fleet.admin.delete(owner.key(kind))
    state = state if same else changed(state, 3)
    await owner.save(state)
    assert owner.recorder.answers[0] == "commit:DIFFERS"
    assert await owner.has(state)


@pytest.mark.parametrize("which", ["part", "list"])
async def test_one_lost_field_is_sent_again(owner: Owner, which: str) -> None:
    """Though nobody looked at it, and though another list changed."""
    state = many(100)
    await owner.save(state)
    fields = await owner.sizes()
    lost = (max if which == "list" else min)(fields, key=lambda field: fields[field])
    await owner.fleet.admin.hdel(owner.key("parts"), lost.decode())
    state = changed(state, 3)
    await owner.save(state)
    assert owner.recorder.answers[0] == "commit:DIFFERS"
    assert await owner.has(state)


async def test_a_server_that_came_back_older_is_seen(owner: Owner) -> None:
    """As after a failover that lost its tail: the next version is new, whole, and after those."""
    state = many(100)
    await owner.save(state)
    kinds = ("session", "parts", "checkpoints")
    kept = {kind: await owner.fleet.admin.dump(owner.key(kind)) for kind in kinds}
    for n in range(3):
        state = changed(state, n, 10 + n)
        await owner.save(state)
    for kind, data in kept.items():
        await owner.fleet.admin.restore(owner.key(kind), 60_000, data, replace=True)
    state = changed(state, 50)
    assert await owner.save(state, after=4) == 5
    assert owner.recorder.answers == ["commit:CONFLICT", "commit:OK"]
    assert await owner.has(state)
    assert [i.version for i in await owner.manager.checkpoints.list(owner.id)] == [5, 1]


async def test_staged_parts_that_the_server_lost_are_sent_again(owner: Owner) -> None:
    """A failover between the parts and their commit."""
    await owner.save({"a": b"1"})
    kinds = ("session", "parts", "checkpoints")
    kept = {kind: await owner.fleet.admin.dump(owner.key(kind)) for kind in kinds}
    commit, saver = owner.manager.checkpoints._saver._commit, owner.manager.checkpoints._saver

    async def after_a_failover(*args: Any) -> Any:
        for kind, data in kept.items():
            await owner.fleet.admin.restore(owner.key(kind), 60_000, data, replace=True)
        kept.clear()
        return await commit(*args)

    saver._commit = after_a_failover  # type: ignore[method-assign]
    state = {"a": os.urandom(3 * MB)}
    assert await owner.save(state) == 2
    assert "commit:CONFLICT" in owner.recorder.answers
    assert await owner.has(state)


async def test_what_a_dead_writer_staged_is_used_or_dropped(owner: Owner) -> None:
    """Whoever saves next finds it: a part that it has too is not sent again, the rest goes."""
    state = {"a": os.urandom(3 * MB), "b": b"1"}

    async def die(*_: Any) -> Any:
        raise create_error(ErrorCodes.STORAGE_UNAVAILABLE, "killed here")

    commit, saver = owner.manager.checkpoints._saver._commit, owner.manager.checkpoints._saver
    saver._commit = die  # type: ignore[method-assign]
    with pytest.raises(StoreUnavailable):
        await owner.save(state)
    assert len(await owner.fields("parts")) >= 2
    saver._commit = commit  # type: ignore[method-assign]
    half = {"a": state["a"][:PIECE_BYTES]}
    later = Owner(owner.fleet, owner.fleet.manager(), owner.session, owner.lease, owner.recorder)
    later.recorder = Recorder(later.manager)
    await later.save(half)
    assert "put_parts" not in later.recorder.asked
    assert len(await owner.fields("parts")) == 1
    assert await owner.save(state) == 2
    assert await owner.has(state)
    assert await owner.has(half, 1)


async def test_a_reply_to_a_commit_that_was_lost_is_not_believed_twice(owner: Owner) -> None:
    """The caller tries again, as the same operation or as another: nothing is lost or doubled."""
    state = many(100)
    await owner.save(state)
    saver, commit = owner.manager.checkpoints._saver, owner.manager.checkpoints._saver._commit

    async def lost(*args: Any) -> Any:
        await commit(*args)
        raise create_error(ErrorCodes.STORAGE_UNAVAILABLE, "the reply is lost")

    for version, again, answer in ((2, "2", "DONE"), (3, "another", "OK")):
        state = changed(state, version)
        saver._commit = lost  # type: ignore[method-assign]
        with pytest.raises(StoreUnavailable):
            await owner.save(state, op_id=str(version))
        assert owner.recorder.answers == ["commit:OK"]
        saver._commit = commit  # type: ignore[method-assign]
        assert await owner.save(state, op_id=again) == version
        assert owner.recorder.answers == [f"commit:{answer}"]
        assert await owner.has(state)
    assert await owner.save(changed(state, 50)) == 4


async def test_a_damaged_list_costs_its_parts_and_is_repaired(owner: Owner) -> None:
    """A reader names the damage and gets the other parts; the next save brings all back."""
    state = many(100)
    await owner.save(state)
    sizes = await owner.sizes()
    largest = max(sizes, key=lambda field: sizes[field])
    await owner.fleet.admin.hset(owner.key("parts"), largest.decode(), b"rubbish")
    found, notes = await owner.manager.checkpoints.load_usable(owner.id)
    assert found is not None
    assert 0 < len(found.parts) < 100
    assert "a list of its parts" in notes[0]
    await owner.save(state)
    assert await owner.has(state)


async def test_few_sessions_are_remembered(manager: RedisSessionManager) -> None:
    """A service that saves thousands holds what names the parts of a few, and one state's contents."""
    for n in range(SESSIONS_REMEMBERED + 4):
        made = await manager.create_session(f"b{n}")
        async with manager.lock(f"b{n}") as token:
            await manager.checkpoints.save(made.id, token, many(3), META)
    known = list(manager.checkpoints._saver._remembered._sessions.values())
    assert len(known) == SESSIONS_REMEMBERED
    assert [len(stored.parts) for stored in known] == [0] * (SESSIONS_REMEMBERED - 1) + [3]
    await manager.delete_session(made.id)
    assert made.id not in manager.checkpoints._saver._remembered._sessions

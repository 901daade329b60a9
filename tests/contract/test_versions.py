"""What people may rely on when they go back to an older state or bring one from elsewhere."""

from datetime import UTC, datetime
from typing import Any

import pytest

from raypool import versions as module
from raypool.config import Settings
from raypool.errors import (
    BrowserError,
    CheckpointCorrupt,
    ConfigurationError,
    ErrorCodes,
    SessionLocked,
    SessionNotFound,
)
from raypool.exports import Export, ExportHead
from raypool.model import CheckpointMeta, Desired, Lease, Session, SignIn
from raypool.operations import Operations
from raypool.spec import Probe, SessionSpec
from raypool.store.base import VERSIONS_KEPT
from raypool.store.sessions import RedisSessionManager
from raypool.versions import Versions
from tests.contract.conftest import Fleet, Stores

SEEN = CheckpointMeta(sign_in=SignIn.SIGNED_IN, warnings=("a Blob was left out",), node_id="n1")
OUT = CheckpointMeta(sign_in=SignIn.SIGNED_OUT)
NOW = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for a lease that nobody lets go."""
    monkeypatch.setattr(module, "LOCK_TIMEOUT_S", 0.1)


async def saved(stores: Stores, *states: dict[str, bytes], meta: CheckpointMeta = SEEN) -> Session:
    """Return a session with these versions, which nobody holds."""
    session = await stores.sessions.create_session("b", "a@example.com")
    async with stores.sessions.lock("b") as token:
        for state in states:
            await stores.checkpoints.save(session.id, token, state, meta)
    return session


def of(stores: Stores) -> Versions:
    """Return the versions of a store, without a fleet."""
    sessions: Any = stores.sessions
    return Versions(sessions)


async def newest(stores: Stores, session: Session) -> dict[str, bytes]:
    """Return the parts that the next browser starts from."""
    found, warnings = await stores.checkpoints.load_usable(session.id)
    assert found is not None
    assert warnings == ()
    return dict(found.parts)


# -- going back --------------------------------------------------------------------------------


async def test_going_back_writes_a_new_version_that_the_next_browser_starts_from(
    stores: Stores,
) -> None:
    """With the contents and the verdict of the old one; history stays."""
    session = await saved(stores, {"cookies": b"1", "tabs": b"t"}, {"cookies": b"2", "tabs": b"t"})
    info = await of(stores).rollback("b", 1)
    assert (info.version, info.signed_in, info.reasons) == (3, True, ("rollback to 1",))
    assert info.warnings == SEEN.warnings
    assert await newest(stores, session) == {"cookies": b"1", "tabs": b"t"}
    assert [i.version for i in await of(stores).list("b")] == [3, 2, 1]
    before = await stores.checkpoints.load(session.id, 2)
    assert before is not None
    assert before.parts["cookies"] == b"2"
    assert (await of(stores).diff("b", 1, 3)).changes == ()


async def test_there_and_back_again(stores: Stores) -> None:
    """A rollback is undone by another one; each is a version of its own, also to the newest."""
    session = await saved(stores, {"cookies": b"1"}, {"cookies": b"2"})
    await of(stores).rollback("b", 1)
    assert (await of(stores).rollback("b", 2)).version == 4
    assert await newest(stores, session) == {"cookies": b"2"}
    assert (await of(stores).rollback("b", 4)).version == 5


async def test_the_verdict_is_carried_over(stores: Stores) -> None:
    """What was seen signed out stays so and is no last good one, but it was asked for."""
    session = await saved(stores, {"cookies": b"in"})
    async with stores.sessions.lock("b") as token:
        await stores.checkpoints.save(session.id, token, {"cookies": b"out"}, OUT)
        await stores.checkpoints.save(session.id, token, {"cookies": b"in again"}, SEEN)
    info = await of(stores).rollback("b", 2)
    assert info.signed_in is False
    assert await newest(stores, session) == {"cookies": b"out"}
    found = await stores.sessions.get_session(session.id)
    assert found is not None
    assert (found.checkpoint_version, found.last_good_version) == (4, 3)


async def test_what_nobody_looked_at_is_not_good_for_being_chosen(stores: Stores) -> None:
    """With a probe the look decides, after the restore; without one nobody ever doubts."""
    session = await saved(stores, {"cookies": b"in"})
    async with stores.sessions.lock("b") as token:
        unseen = CheckpointMeta(unverified=True)
        await stores.checkpoints.save(session.id, token, {"cookies": b"unseen"}, unseen)
        await stores.checkpoints.save(session.id, token, {"cookies": b"out"}, OUT)
    good = []
    for probe in (Probe(cookie="sid"), None):
        await stores.sessions.update_session(session.id, probe=probe)
        info = await of(stores).rollback("b", 2)
        found = await stores.sessions.get_session(session.id)
        assert found is not None
        good.append(found.last_good_version == info.version)
    assert good == [False, True]


@pytest.mark.parametrize("version", [0, -1, 7, True, "1", None])
async def test_a_version_that_is_not_kept_is_refused(stores: Stores, version: Any) -> None:
    """In one sentence that names those that are."""
    session = await saved(stores, {"cookies": b"1"}, {"cookies": b"2"})
    if version is None:
        async with stores.sessions.lock("b") as token:
            for n in range(VERSIONS_KEPT):
                await stores.checkpoints.save(session.id, token, {"n": b"%d" % n}, SEEN)
        version = 1
    before = await of(stores).list("b")
    with pytest.raises(ConfigurationError) as caught:
        await of(stores).rollback("b", version)
    kept = ", ".join(str(info.version) for info in before)
    assert caught.value.message == f"b has no version {version!r}: kept are {kept}"
    assert await of(stores).list("b") == before


async def test_without_a_session_there_is_nothing_to_go_back_to(stores: Stores) -> None:
    """Nor a list, nor a difference."""
    for call in (of(stores).rollback("b", 1), of(stores).list("b"), of(stores).diff("b", 1, 2)):
        with pytest.raises(SessionNotFound, match="b has no active session"):
            await call
    await stores.sessions.create_session("b")
    with pytest.raises(ConfigurationError, match="none was saved yet"):
        await of(stores).rollback("b", 1)


async def test_a_business_that_somebody_holds_is_refused(stores: Stores) -> None:
    """Nothing is written, and the holder goes on."""
    session = await saved(stores, {"cookies": b"1"}, {"cookies": b"2"})
    lease = await stores.lease("b")
    with pytest.raises(SessionLocked):
        await of(stores).rollback("b", 1)
    assert len(await of(stores).list("b")) == 2
    await stores.checkpoints.save(session.id, lease.token, {"cookies": b"3"}, SEEN)


async def test_a_business_that_is_taken_meanwhile_is_left_alone(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever took it has the newest token: the write is refused, and says SESSION_LOCKED."""
    session = await saved(stores, {"cookies": b"1"}, {"cookies": b"2"})
    save, taken = stores.checkpoints.save, []

    async def after_a_takeover(*args: Any, **kwargs: Any) -> Any:
        held = await stores.leases.get("b")
        assert held is not None
        taken.append(await stores.lease("b", supersedes=held.holder.id))
        return await save(*args, **kwargs)

    monkeypatch.setattr(stores.checkpoints, "save", after_a_takeover)
    with pytest.raises(SessionLocked, match="took b meanwhile: nothing was written") as caught:
        await of(stores).rollback("b", 1)
    assert caught.value.code is ErrorCodes.SESSION_LOCKED
    assert len(taken) == 1
    assert await newest(stores, session) == {"cookies": b"2"}
    assert await stores.leases.renew(taken[0])


async def test_a_business_that_is_taken_just_after_starts_from_it(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was written before the token of the next owner: that is no failure."""
    session = await saved(stores, {"cookies": b"1"}, {"cookies": b"2"})
    save, taken = stores.checkpoints.save, []

    async def before_a_takeover(*args: Any, **kwargs: Any) -> Any:
        info = await save(*args, **kwargs)
        held = await stores.leases.get("b")
        assert held is not None
        taken.append(await stores.lease("b", supersedes=held.holder.id))
        return info

    monkeypatch.setattr(stores.checkpoints, "save", before_a_takeover)
    assert (await of(stores).rollback("b", 1)).version == 3
    assert len(taken) == 1
    assert await newest(stores, session) == {"cookies": b"1"}


async def test_nothing_is_sent_that_is_there(fleet: Fleet, manager: RedisSessionManager) -> None:
    """The new version shares every part with the old one."""
    stores = _stores(manager)
    session = await saved(stores, {"cookies": b"1" * 9999, "tabs": b"t"}, {"cookies": b"2"})
    key = f"{fleet.prefix}{{0}}:parts:{session.id}"
    before = await fleet.admin.hgetall(key)
    await of(stores).rollback("b", 1)
    assert await fleet.admin.hgetall(key) == before
    assert len(before) == 3


async def test_a_damaged_version_is_refused_and_named(
    fleet: Fleet, manager: RedisSessionManager
) -> None:
    """The part, and the version. Nothing is stopped or written, and others can be gone back to."""
    stores = _stores(manager)
    session = await saved(stores, {"cookies": b"1"})
    key = f"{fleet.prefix}{{0}}:parts:{session.id}"
    (field,) = await fleet.admin.hgetall(key)
    async with manager.lock("b") as token:
        await manager.checkpoints.save(session.id, token, {"cookies": b"2"}, SEEN)
    await fleet.admin.hset(key, field.decode(), b"rubbish")
    stopped: list[str] = []

    def at_rest(session: Session) -> Any:
        stopped.append(session.id)
        raise AssertionError

    with pytest.raises(CheckpointCorrupt, match="'cookies' of version 1"):
        await Versions(manager, at_rest).rollback("b", 1)
    assert stopped == []
    assert [info.version for info in await manager.checkpoints.list(session.id)] == [2, 1]
    assert (await of(stores).rollback("b", 2)).version == 3


def _stores(manager: RedisSessionManager) -> Stores:
    async def no(_: float = 0) -> None:
        raise AssertionError

    return Stores(manager, manager.leases, manager.checkpoints, no, no)


# -- live businesses ---------------------------------------------------------------------------


class Instance:
    """A fleet with one live instance: what its stop does to store and lease, it does."""

    def __init__(self, stores: Stores, session: Session, lease: Lease) -> None:
        self._stores, self._session, self._lease = stores, session, lease
        self.stops: list[str] = []
        self.saved = True

    async def stop(self, business_id: str, timeout: float) -> dict[str, Any]:
        """Save the last state and let go."""
        desired = await self._stores.sessions.get_session(self._session.id)
        assert desired is not None
        self.stops.append(str(desired.desired))
        if self.saved:
            last = {"cookies": b"last"}
            await self._stores.checkpoints.save(self._session.id, self._lease.token, last, SEEN)
        await self._stores.leases.release(self._lease)
        return {"business_id": business_id, "saved": self.saved, "why": "the disk is full"}


async def live(stores: Stores) -> tuple[Session, Instance, Operations]:
    """Return a business that runs, with two versions, and what looks after it."""
    session = await saved(stores, {"cookies": b"1"}, {"cookies": b"2"})
    await stores.sessions.update_session(session.id, desired="running")
    instance = Instance(stores, session, await stores.lease("b"))
    sessions: Any = stores.sessions
    fleet: Any = instance
    return session, instance, Operations(sessions, fleet, Settings(), _nothing)


async def _nothing() -> None:
    """Close nothing."""


async def desired(stores: Stores, session: Session) -> Desired:
    """Return what is desired of a session."""
    found = await stores.sessions.get_session(session.id)
    assert found is not None
    return found.desired


async def test_a_live_business_is_saved_stopped_and_comes_up_again(stores: Stores) -> None:
    """Its last state is a version of its own, which the rollback is in front of."""
    session, instance, pool = await live(stores)
    info = await pool.rollback("b", 1)
    assert instance.stops == ["hibernated"]
    assert info.version == 4
    assert await newest(stores, session) == {"cookies": b"1"}
    last = await stores.checkpoints.load(session.id, 3)
    assert last is not None
    assert last.parts == {"cookies": b"last"}
    assert await desired(stores, session) is Desired.RUNNING


@pytest.mark.parametrize("wish", ["stopped", "hibernated"])
async def test_one_that_rests_goes_on_resting(stores: Stores, wish: str) -> None:
    """Nothing is asked of the fleet."""
    session = await saved(stores, {"cookies": b"1"}, {"cookies": b"2"})
    await stores.sessions.update_session(session.id, desired=wish)
    sessions, fleet = stores.sessions, None
    pool = Operations(sessions, fleet, Settings(), _nothing)  # type: ignore[arg-type]
    assert (await pool.rollback("b", 1)).version == 3
    assert await desired(stores, session) == wish


async def test_one_whose_last_state_cannot_be_saved_comes_up_as_it_was(stores: Stores) -> None:
    """The caller is told, and nothing was rolled back."""
    session, instance, pool = await live(stores)
    instance.saved = False
    with pytest.raises(BrowserError, match="the disk is full"):
        await pool.rollback("b", 1)
    assert await newest(stores, session) == {"cookies": b"2"}
    assert await desired(stores, session) is Desired.RUNNING


async def test_a_wish_of_somebody_else_meanwhile_stands(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who stops the business while it is rolled back finds it stopped."""
    session, instance, pool = await live(stores)
    stop = instance.stop

    async def and_somebody_stops_it(business_id: str, timeout: float) -> dict[str, Any]:
        await stores.sessions.update_session(session.id, desired="stopped")
        return await stop(business_id, timeout)

    monkeypatch.setattr(instance, "stop", and_somebody_stops_it)
    assert (await pool.rollback("b", 1)).version == 4
    assert await desired(stores, session) is Desired.STOPPED


@pytest.mark.parametrize("version", [9, 0])
async def test_a_live_business_is_not_disturbed_for_nothing(stores: Stores, version: int) -> None:
    """A version that there is not is refused before anything is stopped."""
    session, instance, pool = await live(stores)
    with pytest.raises(ConfigurationError):
        await pool.rollback("b", version)
    assert instance.stops == []
    assert await desired(stores, session) is Desired.RUNNING


async def test_the_pool_lists_what_the_store_keeps(stores: Stores) -> None:
    """Newest first."""
    _, _, pool = await live(stores)
    assert [info.version for info in await pool.checkpoints("b")] == [2, 1]


# -- bringing a state --------------------------------------------------------------------------


def exported(business_id: str = "b", version: int = 7, **more: Any) -> Export:
    """Return what another fleet exported."""
    about = ExportHead(
        business_id=business_id,
        email="a@example.com",
        spec=SessionSpec(
            context={"locale": "de-DE", "proxy": {"server": "http://p:1", "password": "x"}},
            labels={"zone": "eu"},
            idle_after=60.0,
        ),
        version=version,
        created_at=NOW,
        exported_at=NOW,
        sign_in=SignIn.SIGNED_IN,
        warnings=("a Blob was left out",),
    )
    return Export(about.model_copy(update=more), {"cookies": b"theirs"})


async def test_a_business_without_a_session_gets_one(stores: Stores) -> None:
    """With the address and the browser's options that its identity consists of."""
    info = await of(stores).import_state(exported())
    assert (info.version, info.signed_in) == (1, True)
    assert info.reasons == ("imported version 7 of b",)
    assert info.warnings == ("a Blob was left out",)
    session = await stores.sessions.get_active_session("b")
    assert session is not None
    assert session.email == "a@example.com"
    assert session.spec.context == exported().about.spec.context
    assert (session.spec.idle_after, session.spec.labels) == (60.0, {})
    assert session.desired is Desired.STOPPED
    assert await newest(stores, session) == {"cookies": b"theirs"}


async def test_a_business_with_a_session_keeps_its_own(stores: Stores) -> None:
    """Only the state is replaced, whole; the versions before stay."""
    session = await saved(stores, {"cookies": b"1", "tabs": b"t"})
    info = await of(stores).import_state(exported("elsewhere"), "b")
    assert (info.version, info.reasons) == (2, ("imported version 7 of elsewhere",))
    assert await newest(stores, session) == {"cookies": b"theirs"}
    found = await stores.sessions.get_session(session.id)
    assert found is not None
    assert (found.spec, found.email) == (session.spec, "a@example.com")
    assert await stores.sessions.get_active_session("elsewhere") is None


async def test_a_live_business_gets_an_import_as_it_gets_a_rollback(stores: Stores) -> None:
    """Saved, stopped, and up again with it."""
    session, instance, pool = await live(stores)
    assert (await pool.versions.import_state(exported())).version == 4
    assert instance.stops == ["hibernated"]
    assert await newest(stores, session) == {"cookies": b"theirs"}
    assert await desired(stores, session) is Desired.RUNNING


@pytest.mark.parametrize("business_id", ["a b", "", "../x", "x" * 200])
async def test_what_is_no_business_makes_no_session(stores: Stores, business_id: str) -> None:
    """Also when the file itself says so."""
    for call in ((exported(business_id),), (exported(), business_id)):
        with pytest.raises(ConfigurationError):
            await of(stores).import_state(*call)
    assert await stores.sessions.list_sessions() == []


async def test_a_business_that_is_held_imports_nothing(stores: Stores) -> None:
    """Without a fleet that could stop it."""
    session = await saved(stores, {"cookies": b"1"})
    await stores.lease("b")
    with pytest.raises(SessionLocked):
        await of(stores).import_state(exported())
    assert await newest(stores, session) == {"cookies": b"1"}

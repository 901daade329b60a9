"""What every checkpoint store promises: whole versions, the last good one, no stale owners."""

import asyncio

import pytest

from raypool.errors import ConfigurationError, LeaseLost, SessionNotFound
from raypool.model import CheckpointMeta, Session, SignIn
from raypool.store.base import VERSIONS_KEPT
from tests.contract.conftest import Stores

PARTS = {
    "cookies": b'[{"name":"sid"}]',
    "tabs": b'{"tabs":[]}',
    "local:https://a.example/#0/1": b"{}",
}
SEEN = CheckpointMeta(
    reasons=("run",), node_id="n1", sign_in=SignIn.SIGNED_IN, warnings=("a Blob was left out",)
)
NOT_LOOKED = CheckpointMeta()
SIGNED_OUT = CheckpointMeta(sign_in=SignIn.SIGNED_OUT)
UNVERIFIED = CheckpointMeta(unverified=True)
UNVERIFIED_IN = CheckpointMeta(sign_in=SignIn.SIGNED_IN, unverified=True)


async def owned(stores: Stores, business_id: str = "b") -> tuple[Session, int]:
    """Return a new session and the token of its owner."""
    session = await stores.sessions.create_session(business_id, "a@example.com")
    return session, (await stores.lease(business_id)).token


async def record(stores: Stores, session_id: str) -> Session:
    """Return a session that is there."""
    found = await stores.sessions.get_session(session_id)
    assert found is not None
    return found


async def test_a_checkpoint_comes_back_as_it_was_saved(stores: Stores) -> None:
    """Parts byte for byte, and what its maker knew."""
    session, token = await owned(stores)
    info = await stores.checkpoints.save(session.id, token, PARTS, SEEN)
    found = await stores.checkpoints.load(session.id)
    assert found is not None
    assert dict(found.parts) == PARTS
    assert found.info == info
    assert (info.version, info.signed_in, info.fencing_token) == (1, True, token)
    assert (info.reasons, info.warnings, info.node_id) == (SEEN.reasons, SEEN.warnings, "n1")
    assert info.size == sum(map(len, PARTS.values()))
    assert await stores.checkpoints.list(session.id) == [info]
    after = await record(stores, session.id)
    assert (after.checkpoint_version, after.last_good_version, after.version) == (1, 1, 1)


async def test_without_a_checkpoint_there_is_none(stores: Stores) -> None:
    """A new session has no state; a missing version is None; a missing session is an error."""
    session, token = await owned(stores)
    assert await stores.checkpoints.load(session.id) is None
    assert await stores.checkpoints.load_usable(session.id) == (None, ())
    assert await stores.checkpoints.list(session.id) == []
    await stores.checkpoints.save(session.id, token, PARTS, SEEN)
    assert await stores.checkpoints.load(session.id, 7) is None
    with pytest.raises(SessionNotFound):
        await stores.checkpoints.save("00-" + "0" * 32, token, PARTS, SEEN)


async def test_the_same_state_makes_no_new_version(stores: Stores) -> None:
    """The session's expiry slides, the newest version is returned."""
    session, token = await owned(stores)
    info = await stores.checkpoints.save(session.id, token, PARTS, SEEN)
    before = await record(stores, session.id)
    await stores.wait(0.05)
    assert await stores.checkpoints.save(session.id, token, dict(PARTS), SEEN) == info
    after = await record(stores, session.id)
    assert after.checkpoint_version == 1
    assert after.expires_at > before.expires_at


async def test_another_verdict_makes_a_version(stores: Stores) -> None:
    """A site can sign a business out without changing a cookie: the version says so."""
    session, token = await owned(stores)
    await stores.checkpoints.save(session.id, token, PARTS, SEEN)
    info = await stores.checkpoints.save(session.id, token, PARTS, SIGNED_OUT)
    assert (info.version, info.signed_in) == (2, False)
    assert (await record(stores, session.id)).last_good_version == 1


async def test_a_stale_owner_saves_nothing(stores: Stores) -> None:
    """From the moment somebody else has the lease."""
    session, stale = await owned(stores)
    await stores.checkpoints.save(session.id, stale, PARTS, SEEN)
    held = await stores.leases.get("b")
    assert held is not None
    fresh = await stores.lease("b", supersedes=held.holder.id)
    for parts in ({"cookies": b"stale"}, PARTS):
        with pytest.raises(LeaseLost) as caught:
            await stores.checkpoints.save(session.id, stale, parts, SEEN)
        assert caught.value.context["fencing_token"] == stale
    assert len(await stores.checkpoints.list(session.id)) == 1
    assert (await stores.checkpoints.save(session.id, fresh.token, {}, SEEN)).version == 2


async def test_an_owner_that_nobody_followed_may_still_save(stores: Stores) -> None:
    """An outage that is longer than the lease costs nothing when nobody took over."""
    session = await stores.sessions.create_session("b")
    lease = await stores.lease("b", 0.1)
    await stores.wait(0.15)
    info = await stores.checkpoints.save(session.id, lease.token, PARTS, SEEN)
    assert info.version == 1


async def test_the_last_versions_and_the_last_good_one_are_kept(stores: Stores) -> None:
    """Each with its own content; what a version shares with another is not lost with it."""
    session, token = await owned(stores)
    await stores.checkpoints.save(session.id, token, {**PARTS, "n": b"good"}, SEEN)
    for n in range(VERSIONS_KEPT + 3):
        parts = {**PARTS, "n": str(n).encode()}
        await stores.checkpoints.save(session.id, token, parts, SIGNED_OUT)
    newest = VERSIONS_KEPT + 4
    versions = [info.version for info in await stores.checkpoints.list(session.id)]
    assert versions == [*range(newest, newest - VERSIONS_KEPT, -1), 1]
    for version in versions:
        found = await stores.checkpoints.load(session.id, version)
        assert found is not None
        assert found.parts["n"] == (b"good" if version == 1 else str(version - 2).encode())
        assert found.parts["cookies"] == PARTS["cookies"]
    after = await record(stores, session.id)
    assert (after.checkpoint_version, after.last_good_version) == (newest, 1)


@pytest.mark.parametrize(
    ("sign_in", "becomes"),
    [
        (SignIn.SIGNED_IN, 2),
        (SignIn.UNKNOWN, 2),
        (SignIn.SIGNED_OUT, 1),
        (SignIn.NEEDS_HUMAN, 1),
    ],
)
async def test_what_looks_signed_out_is_never_the_last_good(
    stores: Stores, sign_in: SignIn, becomes: int
) -> None:
    """Only a state that is signed in, or that nobody looked at."""
    session, token = await owned(stores)
    await stores.checkpoints.save(session.id, token, PARTS, SEEN)
    await stores.checkpoints.save(session.id, token, {}, CheckpointMeta(sign_in=sign_in))
    assert (await record(stores, session.id)).last_good_version == becomes


async def test_the_newest_version_that_is_not_signed_out_is_used(stores: Stores) -> None:
    """The warnings name what was passed over."""
    session, token = await owned(stores)
    await stores.checkpoints.save(session.id, token, PARTS, NOT_LOOKED)
    await stores.checkpoints.save(session.id, token, {"cookies": b"[]"}, SIGNED_OUT)
    found, warnings = await stores.checkpoints.load_usable(session.id)
    assert found is not None
    assert dict(found.parts) == PARTS
    assert len(warnings) == 1
    assert "version 2" in warnings[0]


async def test_a_session_that_never_signed_in_keeps_its_state(stores: Stores) -> None:
    """When every version is signed out, the newest is better than none."""
    session, token = await owned(stores)
    await stores.checkpoints.save(session.id, token, {"cookies": b"1"}, SIGNED_OUT)
    await stores.checkpoints.save(session.id, token, {"cookies": b"2"}, SIGNED_OUT)
    found, warnings = await stores.checkpoints.load_usable(session.id)
    assert found is not None
    assert dict(found.parts) == {"cookies": b"2"}
    assert warnings


async def test_an_operation_is_applied_once(stores: Stores) -> None:
    """A save that is repeated with its operation id answers what the first one did."""
    session, token = await owned(stores)
    first = await stores.checkpoints.save(session.id, token, PARTS, SEEN, op_id="op-1")
    again = await stores.checkpoints.save(session.id, token, PARTS, SEEN, op_id="op-1")
    assert again == first
    assert (await stores.checkpoints.save(session.id, token, {}, SEEN, op_id="op-2")).version == 2
    assert len(await stores.checkpoints.list(session.id)) == 2


async def test_saves_at_once_are_all_whole(stores: Stores) -> None:
    """Two saves of one owner at the same time make two versions, each with its own parts."""
    session, token = await owned(stores)
    states = [{"cookies": str(n).encode(), "tabs": str(n).encode()} for n in range(3)]
    await asyncio.gather(
        *(stores.checkpoints.save(session.id, token, parts, SEEN) for parts in states)
    )
    infos = await stores.checkpoints.list(session.id)
    found = [await stores.checkpoints.load(session.id, info.version) for info in infos]
    assert sorted((dict(c.parts) for c in found if c), key=lambda p: p["tabs"]) == states


async def test_a_large_state_fits(stores: Stores) -> None:
    """Many megabytes, in many parts, survive the way there and back."""
    session, token = await owned(stores)
    block = bytes(range(256)) * 1200
    parts = {f"local:https://{n}.example/#0/1": bytes([n]) + block for n in range(12)}
    await stores.checkpoints.save(session.id, token, parts, SEEN)
    found = await stores.checkpoints.load(session.id)
    assert found is not None
    assert dict(found.parts) == parts


async def test_checkpoints_expire_with_their_session(stores: Stores) -> None:
    """And a session that is saved lives on."""
    session = await stores.sessions.create_session("b", ttl=2)
    token = (await stores.lease("b")).token
    await stores.wait(1.4)
    await stores.checkpoints.save(session.id, token, PARTS, SEEN)
    await stores.wait(1.4)
    assert await stores.checkpoints.load(session.id) is not None
    await stores.wait(0.8)
    with pytest.raises(SessionNotFound):
        await stores.checkpoints.load(session.id)


async def test_a_state_that_a_person_chose_is_started_from(stores: Stores) -> None:
    """Also when it was seen signed out, and though it repeats the newest; it is no last good one."""
    session, token = await owned(stores)
    await stores.checkpoints.save(session.id, token, PARTS, SEEN)
    await stores.checkpoints.save(session.id, token, {"cookies": b"[]"}, SIGNED_OUT)
    chosen = SIGNED_OUT.model_copy(update={"chosen": True})
    info = await stores.checkpoints.save(session.id, token, {"cookies": b"[]"}, chosen)
    assert (info.version, info.signed_in) == (3, False)
    found, warnings = await stores.checkpoints.load_usable(session.id)
    assert found is not None
    assert (found.info.version, warnings) == (3, ())
    assert (await record(stores, session.id)).last_good_version == 1


async def test_two_versions_are_compared_by_name_and_size(stores: Stores) -> None:
    """What was added, what was removed, what changed, in bytes; the rest is counted."""
    session, token = await owned(stores)
    await stores.checkpoints.save(session.id, token, PARTS, SEEN)
    after = {"cookies": b"[]", "tabs": PARTS["tabs"], "local:https://b.example/#0/1": b"{} "}
    await stores.checkpoints.save(session.id, token, after, SEEN)
    diff = await stores.checkpoints.diff(session.id, 1, 2)
    assert (diff.before, diff.after, diff.unchanged) == (1, 2, 1)
    assert [(c.name, c.kind, c.before, c.after) for c in diff.changes] == [
        ("cookies", "changed", len(PARTS["cookies"]), 2),
        ("local:https://a.example/", "removed", 2, None),
        ("local:https://b.example/", "added", None, 3),
    ]


async def test_a_version_that_is_not_kept_cannot_be_compared(stores: Stores) -> None:
    """The message names those that are."""
    session, token = await owned(stores)
    with pytest.raises(ConfigurationError, match="none was saved yet"):
        await stores.checkpoints.diff(session.id, 1, 2)
    await stores.checkpoints.save(session.id, token, PARTS, SEEN)
    for before, after in ((1, 7), (0, 1), (-1, 1)):
        with pytest.raises(ConfigurationError, match="kept are 1"):
            await stores.checkpoints.diff(session.id, before, after)


async def test_what_nobody_looked_at_is_started_from_but_not_good(stores: Stores) -> None:
    """A sign-in that was just made is not lost, and one that was just ended costs no good state."""
    session, token = await owned(stores)
    await stores.checkpoints.save(session.id, token, PARTS, SEEN)
    info = await stores.checkpoints.save(session.id, token, {"cookies": b"[2]"}, UNVERIFIED)
    assert (info.version, info.signed_in) == (2, None)
    assert (await record(stores, session.id)).last_good_version == 1
    found, warnings = await stores.checkpoints.load_usable(session.id)
    assert found is not None
    assert found.info.version == 2
    assert warnings == ()


@pytest.mark.parametrize("before", [UNVERIFIED, UNVERIFIED_IN])
async def test_what_is_looked_at_later_becomes_good(stores: Stores, before: CheckpointMeta) -> None:
    """Though nothing changed since: a version with the same contents and its verdict."""
    session, token = await owned(stores)
    await stores.checkpoints.save(session.id, token, {"cookies": b"[1]"}, SEEN)
    await stores.checkpoints.save(session.id, token, PARTS, before)
    info = await stores.checkpoints.save(session.id, token, dict(PARTS), SEEN)
    after = await record(stores, session.id)
    assert (info.signed_in, after.last_good_version) == (True, info.version)
    found = await stores.checkpoints.load(session.id, after.last_good_version)
    assert found is not None
    assert dict(found.parts) == PARTS
    again = await stores.checkpoints.save(session.id, token, dict(PARTS), SEEN)
    assert again == info


async def test_doubt_alone_makes_no_version(stores: Stores) -> None:
    """What was seen signed in stays so while its contents are the same."""
    session, token = await owned(stores)
    info = await stores.checkpoints.save(session.id, token, PARTS, SEEN)
    assert await stores.checkpoints.save(session.id, token, dict(PARTS), UNVERIFIED_IN) == info
    assert (await record(stores, session.id)).last_good_version == 1


async def test_the_last_good_version_is_kept_however_long_nobody_looks(stores: Stores) -> None:
    """And can be read when it is needed."""
    session, token = await owned(stores)
    await stores.checkpoints.save(session.id, token, PARTS, SEEN)
    for n in range(VERSIONS_KEPT + 2):
        await stores.checkpoints.save(session.id, token, {"n": str(n).encode()}, UNVERIFIED)
    good = (await record(stores, session.id)).last_good_version
    found = await stores.checkpoints.load(session.id, good)
    assert good == 1
    assert found is not None
    assert dict(found.parts) == PARTS


async def test_that_a_person_chose_a_state_is_told(stores: Stores) -> None:
    """Nobody goes back behind a person's choice."""
    session, token = await owned(stores)
    await stores.checkpoints.save(session.id, token, PARTS, SEEN)
    await stores.checkpoints.save(session.id, token, {}, CheckpointMeta(chosen=True))
    assert [info.chosen for info in await stores.checkpoints.list(session.id)] == [True, False]

"""What holds when stored state was damaged, swapped or cannot be decrypted: found, named, survived."""

from typing import Any

import pytest
import pytest_asyncio

from raypool.errors import CheckpointCorrupt, ErrorCodes, StorageError
from raypool.model import CheckpointMeta, SignIn
from raypool.store.base import VERSIONS_KEPT
from raypool.store.crypto import DataKey, Keyring
from raypool.store.sessions import RedisSessionManager
from tests.contract.conftest import Fleet, holder

SEEN = CheckpointMeta(sign_in=SignIn.SIGNED_IN)


class Owner:
    """A session, the token of its owner, and the hashes behind it."""

    def __init__(self, fleet: Fleet, manager: RedisSessionManager, sid: str, token: int) -> None:
        self.fleet, self.manager, self.id, self.token = fleet, manager, sid, token

    async def save(self, meta: CheckpointMeta = SEEN, **parts: str) -> int:
        """Save a version with these parts."""
        state = {name: text.encode() for name, text in parts.items()}
        return (await self.manager.checkpoints.save(self.id, self.token, state, meta)).version

    def key(self, kind: str) -> str:
        """Return the key of one of the session's hashes."""
        return f"{self.fleet.prefix}{{0}}:{kind}:{self.id}"

    async def hash(self, kind: str) -> dict[bytes, bytes]:
        """Return one of the session's hashes."""
        found: dict[bytes, bytes] = await self.fleet.admin.hgetall(self.key(kind))
        return found

    async def put(self, kind: str, field: bytes, value: bytes) -> None:
        """Overwrite a field behind the store's back."""
        await self.fleet.admin.hset(self.key(kind), field.decode(), value)

    async def added_by(self, **parts: str) -> set[bytes]:
        """Save a version; return the fields that it added to the parts."""
        before = await self.hash("parts")
        await self.save(**parts)
        return (await self.hash("parts")).keys() - before.keys()


@pytest_asyncio.fixture
async def owner(fleet: Fleet, manager: RedisSessionManager) -> Owner:
    """A session with an owner."""
    return await another(fleet, manager, "b")


async def another(fleet: Fleet, manager: RedisSessionManager, business_id: str) -> Owner:
    """Return another session with its owner."""
    session = await manager.create_session(business_id, "a@example.com")
    lease = await manager.leases.acquire(business_id, holder(), 60)
    return Owner(fleet, manager, session.id, lease.token)


def _flipped(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


async def test_a_damaged_part_is_named(owner: Owner) -> None:
    """Session, version and part: whoever reads it knows what to roll back."""
    await owner.save(tabs="1")
    (field,) = await owner.added_by(tabs="1", cookies="a")
    await owner.put("parts", field, _flipped((await owner.hash("parts"))[field]))
    with pytest.raises(CheckpointCorrupt) as caught:
        await owner.manager.checkpoints.load(owner.id)
    assert caught.value.code is ErrorCodes.STORAGE_CORRUPT
    where = caught.value.context
    assert (where["session_id"], where["version"], where["part"]) == (owner.id, 2, "cookies")
    assert owner.id in caught.value.message
    assert "'cookies' of version 2" in caught.value.message


@pytest.mark.parametrize("damage", ["flipped", "missing", "swapped"])
async def test_a_damaged_version_is_passed_over(owner: Owner, damage: str) -> None:
    """The newest version that is whole is used, and the warning names what was wrong."""
    await owner.save(cookies="old", tabs="1")
    fields = sorted(await owner.added_by(cookies="new", tabs="2"))
    there = await owner.hash("parts")
    if damage == "flipped":
        await owner.put("parts", fields[0], _flipped(there[fields[0]]))
    elif damage == "missing":
        await owner.fleet.admin.hdel(owner.key("parts"), fields[0].decode())
    else:
        await owner.put("parts", fields[0], there[fields[1]])
    found, warnings = await owner.manager.checkpoints.load_usable(owner.id)
    assert found is not None
    assert (found.info.version, dict(found.parts)) == (1, {"cookies": b"old", "tabs": b"1"})
    assert len(warnings) == 1
    assert "version 2" in warnings[0]


async def test_when_every_version_is_damaged_the_rest_of_the_newest_is_used(owner: Owner) -> None:
    """One bad part costs that part, never the state."""
    (shared,) = await owner.added_by(cookies="same")
    await owner.save(cookies="same", tabs="1")
    await owner.save(cookies="same", tabs="2")
    await owner.put("parts", shared, b"rubbish")
    found, warnings = await owner.manager.checkpoints.load_usable(owner.id)
    assert found is not None
    assert (found.info.version, dict(found.parts)) == (3, {"tabs": b"2"})
    assert len(warnings) == 3
    assert all("cookies" in warning for warning in warnings)


async def test_a_damaged_manifest_costs_one_version(owner: Owner) -> None:
    """It is named, the others are listed and used, and saving goes on."""
    await owner.save(cookies="1")
    await owner.save(cookies="2")
    manifest = (await owner.hash("checkpoints"))[b"2"]
    await owner.put("checkpoints", b"2", _flipped(manifest))
    with pytest.raises(CheckpointCorrupt, match="version 2"):
        await owner.manager.checkpoints.load(owner.id)
    assert [i.version for i in await owner.manager.checkpoints.list(owner.id)] == [1]
    found, warnings = await owner.manager.checkpoints.load_usable(owner.id)
    assert found is not None
    assert found.parts["cookies"] == b"1"
    assert "version 2" in warnings[0]
    assert await owner.save(cookies="2") == 3


async def test_an_old_manifest_does_not_pass_for_a_new_one(owner: Owner) -> None:
    """A version that was copied over another is damage, not a silent rollback."""
    await owner.save(cookies="1")
    await owner.save(cookies="2")
    await owner.put("checkpoints", b"2", (await owner.hash("checkpoints"))[b"1"])
    with pytest.raises(CheckpointCorrupt):
        await owner.manager.checkpoints.load(owner.id)


@pytest.mark.parametrize("with_key", [False, True])
async def test_the_state_of_another_session_does_not_open(
    owner: Owner,
    fleet: Fleet,
    manager: RedisSessionManager,
    with_key: bool,
) -> None:
    """Not even when its data key is copied along with it."""
    other = await another(fleet, manager, "c")
    await owner.save(cookies="mine")
    await other.save(cookies="theirs")
    for kind in ("parts", "checkpoints"):
        await fleet.admin.delete(owner.key(kind))
        await fleet.admin.hset(owner.key(kind), mapping=_text_keys(await other.hash(kind)))
    if with_key:
        stolen = (await other.hash("session"))[b"data_key"]
        await owner.put("session", b"data_key", stolen)
    with pytest.raises(CheckpointCorrupt):
        await manager.checkpoints.load(owner.id)


def _text_keys(fields: dict[bytes, bytes]) -> Any:
    return {name.decode(): value for name, value in fields.items()}


async def test_what_needs_another_key_is_never_passed_over(owner: Owner) -> None:
    """A key that is missing from the settings may come back: nothing is skipped or overwritten."""
    await owner.save(cookies="1")
    ring = Keyring.parse(_secret(Keyring.generate()))
    await owner.put("session", b"data_key", ring.wrap(DataKey.new(), b"any").encode())
    before = await owner.hash("checkpoints")
    for call in (
        owner.manager.checkpoints.load(owner.id),
        owner.manager.checkpoints.load_usable(owner.id),
        owner.manager.checkpoints.list(owner.id),
        owner.save(cookies="2"),
    ):
        with pytest.raises(StorageError) as caught:
            await call
        assert caught.value.code is ErrorCodes.STORAGE_KEY_UNKNOWN
        assert ring.ids[0] in caught.value.message
    assert await owner.hash("checkpoints") == before


def _secret(text: str) -> Any:
    from pydantic import SecretStr

    return SecretStr(text)


async def test_unchanged_parts_are_not_sent_again(owner: Owner) -> None:
    """A version that differs in one part adds one part."""
    await owner.save(cookies="1", tabs="1", other="x")
    before = await owner.hash("parts")
    assert len(await owner.added_by(cookies="2", tabs="1", other="x")) == 1
    after = await owner.hash("parts")
    assert {name: after[name] for name in before} == before


async def test_a_part_that_the_server_lost_is_sent_again(owner: Owner) -> None:
    """A version never names what is not there."""
    await owner.save(cookies="1", tabs="1")
    await owner.fleet.admin.delete(owner.key("parts"))
    await owner.save(cookies="2", tabs="1")
    found = await owner.manager.checkpoints.load(owner.id)
    assert found is not None
    assert dict(found.parts) == {"cookies": b"2", "tabs": b"1"}


async def test_a_part_that_was_found_damaged_is_sent_again(owner: Owner) -> None:
    """Once a reader saw it, saving the same content repairs it, though a manifest names it already."""
    await owner.save(cookies="1", tabs="2")
    for digest in await owner.hash("parts"):
        await owner.put("parts", digest, b"nonsense")
    _, warnings = await owner.manager.checkpoints.load_usable(owner.id)
    assert len(warnings) == 2
    await owner.save(cookies="1", tabs="2")
    found = await owner.manager.checkpoints.load(owner.id)
    assert found is not None
    assert found.parts == {"cookies": b"1", "tabs": b"2"}


async def test_parts_that_no_version_names_are_dropped(owner: Owner) -> None:
    """Those of old versions, and those of a writer that died before it could commit."""
    await owner.put("parts", b"0" * 32, b"left behind")
    for n in range(VERSIONS_KEPT + 5):
        await owner.save(cookies=str(n), tabs="same")
    assert len(await owner.hash("parts")) == VERSIONS_KEPT + 1
    versions = [name for name in await owner.hash("checkpoints") if name.isdigit()]
    assert len(versions) == VERSIONS_KEPT

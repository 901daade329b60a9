"""Saves versions at the price of what changed: in one round trip if that is little."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from raypool.errors import ErrorCodes, create_error
from raypool.model import CheckpointInfo, CheckpointMeta, Session
from raypool.store.base import VERSIONS_KEPT
from raypool.store.codec import Codec
from raypool.store.connection import Connection
from raypool.store.indexes import Indexes, missing
from raypool.store.listing import Listing, arrange, listing_of
from raypool.store.loading import BATCH_ITEMS, MANIFEST, Loader, in_batches
from raypool.store.manifests import (
    Manifest,
    Refs,
    may_be_last_good,
    says_nothing_new,
    to_drop,
)
from raypool.store.pieces import LIST_NAME, Sealed, refs_of, sealed_pieces
from raypool.store.records import when
from raypool.store.references import References
from raypool.store.remembered import Remembered, Stored
from raypool.store.writing import fenced

_ATTEMPTS = 5
_LOOK_AGAIN = {b"CONFLICT", b"DIFFERS"}

Names = list[str]


class LookAgainError(Exception):
    """What the server has is not what was remembered or read of it."""


@dataclass(frozen=True)
class Save:
    """What is asked for."""

    session_id: str
    token: int
    parts: Mapping[str, bytes]
    meta: CheckpointMeta
    operation: str
    after: int


@dataclass(frozen=True)
class _Change:
    """What a save comes to on what is stored."""

    refs: Refs
    listing: Listing
    manifest: Manifest
    same: bool
    """Nothing changed: no new version."""
    last_good: int
    versions: Sequence[int]
    """To drop."""


class Saver:
    """Saves states. What it remembers is checked by the scripts: they refuse another base.

    Args:
        connection: The server.
        indexes: Reads records.
        loader: Reads versions.
    """

    def __init__(self, connection: Connection, indexes: Indexes, loader: Loader) -> None:
        self._connection, self._keys = connection, connection.keys
        self._indexes, self._loader = indexes, loader
        self._remembered = Remembered()

    async def save(self, save: Save) -> CheckpointInfo:
        """Save a version; see the protocol."""
        for _ in range(_ATTEMPTS):
            stored = self._remembered.take(save.session_id) or await self._read(save.session_id)
            try:
                return await self._apply(save, stored)
            except LookAgainError:
                continue
        raise create_error(
            ErrorCodes.SESSION_VERSION_CONFLICT,
            f"the checkpoints of session {save.session_id} changed meanwhile, {_ATTEMPTS} times",
        )

    async def _read(self, session_id: str) -> Stored:
        record = await self._indexes.existing(session_id)
        codec = self._loader.codec(record)
        kept = await self._loader.kept(record, codec)
        named = {digest for manifest in kept.manifests.values() for digest in manifest.lists}
        lists = await self._loader.lists(session_id, named, codec)
        references = References()
        for manifest in kept.manifests.values():
            references.add(manifest, lists)
        newest = kept.manifests.get(record.session.checkpoint_version)
        return Stored(
            record=record,
            codec=codec,
            manifests=dict(kept.manifests),
            created=dict(kept.created),
            broken=tuple(kept.broken),
            fields=kept.fields,
            listing=listing_of(lists[d] for d in newest.lists if d in lists)
            if newest
            else Listing(),
            references=references,
            there=await self._loader.stored(session_id),
        )

    async def _apply(self, save: Save, stored: Stored) -> CheckpointInfo:
        change = _plan(save, stored)
        batches = in_batches(
            sealed_pieces(
                save.parts, change.listing, stored.there - self._loader.damaged, stored.codec
            ),
            lambda sealed: len(sealed[1]),
        )
        batch = next(batches, [])
        await self._drop_surplus(save, stored, change)
        for following in batches:
            await self._put(save, stored, batch)
            batch = following
        return await self._commit(save, stored, change, batch)

    async def _drop_surplus(self, save: Save, stored: Stored, change: _Change) -> None:
        """Drop what no version names, until the rest is so little that the commit can drop it."""
        surplus = sorted(stored.unnamed() - change.listing.digests())
        while len(surplus) > BATCH_ITEMS:
            batch, surplus = surplus[:BATCH_ITEMS], surplus[BATCH_ITEMS:]
            await self._run("drop_parts", save, stored, batch)
            stored.there.difference_update(batch)

    async def _put(self, save: Save, stored: Stored, batch: list[Sealed]) -> None:
        await self._run("put_parts", save, stored, [len(stored.there), *_flat(batch)])
        self._sent(stored, batch)

    async def _run(self, script: str, save: Save, stored: Stored, args: Sequence[Any]) -> None:
        """Change the parts between two versions."""
        keys = [*self._fence(stored.record.session), self._keys.parts(save.session_id)]
        args = [uuid.uuid4().hex, save.token, stored.record.base, *args]
        answer = await self._connection.script(script, keys, args)
        _check(answer[0], stored.record.session, save.token)
        stored.record = replace(stored.record, base=answer[1].decode())

    async def _commit(
        self, save: Save, stored: Stored, change: _Change, batch: list[Sealed]
    ) -> CheckpointInfo:
        session, manifest = stored.record.session, change.manifest
        surplus = _note(stored, change, {digest for digest, _ in batch})
        sealed = b"" if change.same else _sealed(manifest, stored.codec)
        args = [session.id, session.business_id, save.operation, save.token, stored.record.base,
                sealed, int(may_be_last_good(save.meta)), manifest.version,
                len(stored.there), stored.fields, 2 * len(batch), len(change.versions), *_flat(batch),
                *change.versions, *surplus]  # fmt: skip
        answer = await self._connection.script("commit", self._commit_keys(session), args)
        _check(answer[0], session, save.token)
        version, created = int(answer[1]), when(answer[2])
        told = stored.newest if change.same and stored.newest else manifest
        if answer[0] == b"OK":  # else somebody applied it: what is stored was not read since
            self._sent(stored, batch)
            stored.there.difference_update(surplus)
            self._remember(save, stored, change, answer)
        return told.model_copy(update={"version": version}).info(created)

    def _remember(
        self, save: Save, stored: Stored, change: _Change, answer: Sequence[bytes]
    ) -> None:
        session = stored.record.session
        if not change.same:
            version = change.manifest.version
            stored.created[version] = when(answer[2])
            session = session.model_copy(
                update={"checkpoint_version": version, "last_good_version": change.last_good}
            )
        stored.record = replace(stored.record, session=session, base=answer[3].decode())
        stored.fields, stored.listing = int(answer[4]), change.listing
        stored.parts = {n: (content, change.refs[n]) for n, content in save.parts.items()}
        self._remembered.put(save.session_id, stored)

    def forget(self, session_id: str) -> None:
        """Forget what is known of a session, its key too."""
        self._remembered.take(session_id)

    def _sent(self, stored: Stored, batch: list[Sealed]) -> None:
        digests = {digest for digest, _ in batch}
        stored.there |= digests
        self._loader.damaged -= digests

    def _commit_keys(self, session: Session) -> Names:
        keys, partition = self._keys, self._keys.partition_of(session.business_id)
        return [
            *self._fence(session),
            keys.parts(session.id),
            keys.checkpoints(session.id),
            keys.events(partition),
            *(keys.index(partition, name) for name in self._indexes.possible_names(session)),
        ]

    def _fence(self, session: Session) -> Names:
        """Return the keys that say who may write."""
        keys, business_id = self._keys, session.business_id
        return [keys.session(session.id), keys.token(business_id), keys.lease(business_id)]


def _plan(save: Save, stored: Stored) -> _Change:
    session, codec = stored.record.session, stored.codec
    refs = refs_of(save.parts, codec, stored.parts)
    listing = arrange(refs, stored.listing, lambda text: codec.digest(LIST_NAME, text))
    version = max(session.checkpoint_version, save.after) + 1
    manifest = Manifest(
        version=version,
        token=save.token,
        meta=save.meta,
        size=sum(ref.size for ref in refs.values()),
        parts={} if listing.lists else dict(sorted(refs.items())),
        lists=tuple(one.digest for one in listing.lists.values()),
    )
    # A server that is behind what was acknowledged has to number the state anew.
    behind = version > session.checkpoint_version + 1
    newest = stored.newest
    same = newest is not None and not behind and says_nothing_new(newest, manifest)
    last_good = version if may_be_last_good(save.meta) else session.last_good_version
    versions = [] if same else to_drop(stored.manifests, version, last_good)
    if versions:
        versions += [v for v in stored.broken if v <= version - VERSIONS_KEPT]
    return _Change(refs, listing, manifest, same, last_good, versions)


def _note(stored: Stored, change: _Change, sent: set[str]) -> Names:
    """Note the versions that come and go; return what no version names then."""
    if not change.same:
        manifest = change.manifest
        lists = {one.digest: one for one in change.listing.lists.values()}
        stored.references.add(manifest, lists)
        stored.manifests[manifest.version] = manifest
        for version in change.versions:
            if version in stored.manifests:
                stored.references.drop(stored.manifests.pop(version))
                stored.created.pop(version, None)
        stored.broken = tuple(v for v in stored.broken if v not in change.versions)
    return sorted(stored.unnamed() - sent)[:BATCH_ITEMS]


def _sealed(manifest: Manifest, codec: Codec) -> bytes:
    text = manifest.model_dump_json(exclude_defaults=True).encode()
    return codec.seal(f"{MANIFEST}:{manifest.version}", text)


def _flat(batch: list[Sealed]) -> list[Any]:
    return [field for sealed in batch for field in sealed]


def _check(answer: bytes, session: Session, token: int) -> None:
    """Raise what a refused write means; return when it was not refused."""
    if answer == b"FENCED":
        raise fenced(session.business_id, token)
    if answer == b"GONE":
        raise missing(session.id)
    if answer in _LOOK_AGAIN:
        raise LookAgainError

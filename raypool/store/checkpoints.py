"""Checkpoints in Redis: sealed parts named by content, and manifests that name the parts."""

import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from raypool.errors import CheckpointCorrupt, ErrorCodes, create_error
from raypool.model import Checkpoint, CheckpointInfo, CheckpointMeta, Session, VersionDiff
from raypool.store.base import VERSIONS_KEPT
from raypool.store.codec import Codec
from raypool.store.connection import Connection
from raypool.store.differences import compare, kept_or_refused
from raypool.store.indexes import Indexes, missing
from raypool.store.manifests import (
    Manifest,
    PartRef,
    digests,
    is_passed_over,
    may_be_last_good,
    says_nothing_new,
    to_drop,
)
from raypool.store.records import Record, when
from raypool.store.writing import fenced

_MANIFEST = "manifest"
_BATCH_BYTES = 2**20
_ATTEMPTS = 3

Infos = list[CheckpointInfo]
Broken = list[CheckpointCorrupt]
Commands = list[str]
MaybeBytes = list[bytes | None]


@dataclass(frozen=True)
class _Kept:
    """The versions of a session as they were read."""

    manifests: Mapping[int, Manifest]
    created: Mapping[int, datetime]
    broken: Mapping[int, CheckpointCorrupt]
    """What is wrong with the versions whose manifest cannot be read."""

    def info(self, version: int) -> CheckpointInfo:
        return self.manifests[version].info(self.created[version])


class RedisCheckpoints:
    """See :class:`raypool.store.base.CheckpointStore`."""

    def __init__(self, connection: Connection) -> None:
        self._connection, self._keys = connection, connection.keys
        self._indexes = Indexes(connection)
        self._damaged: set[str] = set()
        """Digests of stored parts that could not be read back."""

    async def save(
        self,
        session_id: str,
        token: int,
        parts: Mapping[str, bytes],
        meta: CheckpointMeta,
        *,
        op_id: str | None = None,
        after: int = 0,
    ) -> CheckpointInfo:
        """Save a version; see the protocol."""
        operation = op_id or uuid.uuid4().hex
        resend = False
        for _ in range(_ATTEMPTS):
            record = await self._indexes.existing(session_id)
            codec = self._codec(record)
            kept = await self._kept(record, codec)
            version = max(record.session.checkpoint_version, after) + 1
            manifest = _manifest(version, token, parts, meta, codec)
            known = set() if resend else digests(kept.manifests.values()) - self._damaged
            await self._stage(record.session, token, parts, manifest, known, codec)
            self._damaged -= {part.digest for part in manifest.parts.values()}
            info = await self._commit(record.session, operation, manifest, kept, codec)
            if info is not None:
                return info
            resend = True
        raise create_error(
            ErrorCodes.SESSION_VERSION_CONFLICT,
            f"the checkpoints of session {session_id} changed meanwhile, {_ATTEMPTS} times",
        )

    async def _stage(
        self,
        session: Session,
        token: int,
        parts: Mapping[str, bytes],
        manifest: Manifest,
        known: set[str],
        codec: Codec,
    ) -> None:
        keys = [*self._fence(session), self._keys.parts(session.id)]
        new = {n: p for n, p in parts.items() if manifest.parts[n].digest not in known}
        sealed = ((manifest.parts[n].digest, codec.seal(n, p)) for n, p in new.items())
        for batch in _batches(sealed):
            answer = await self._connection.script("put_parts", keys, [token, *batch])
            _refused(answer, session, token)

    async def _commit(
        self, session: Session, operation: str, manifest: Manifest, kept: _Kept, codec: Codec
    ) -> CheckpointInfo | None:
        newest = kept.manifests.get(session.checkpoint_version)
        # A server that is behind what was acknowledged has to number the state anew.
        behind = manifest.version > session.checkpoint_version + 1
        same = newest is not None and not behind and says_nothing_new(newest, manifest)
        good = may_be_last_good(manifest.meta)
        last_good = manifest.version if good else session.last_good_version
        versions, gone = ([], set()) if same else to_drop(kept.manifests, manifest, last_good)
        if versions:
            gone |= await self._unnamed(session.id, [*kept.manifests.values(), manifest])
            versions += [v for v in kept.broken if v <= manifest.version - VERSIONS_KEPT]
        required = sorted({part.digest for part in manifest.parts.values()})
        text = manifest.model_dump_json().encode()
        sealed = b"" if same else codec.seal(f"{_MANIFEST}:{manifest.version}", text)
        args = [session.id, session.business_id, operation, manifest.token,
                session.checkpoint_version, sealed, int(good), manifest.version, len(required),
                len(versions), *required, *versions, *sorted(gone)]  # fmt: skip
        answer = await self._connection.script("commit", self._commit_keys(session), args)
        if answer[0] in {b"CONFLICT", b"MISSING"}:
            return None
        _refused(answer[0], session, manifest.token)
        version, created = int(answer[1]), when(answer[2])
        stored = newest if same and newest else manifest
        return stored.model_copy(update={"version": version}).info(created)

    async def _unnamed(self, session_id: str, manifests: Iterable[Manifest]) -> set[str]:
        """Return parts that no version names: their writer died before it could commit them."""
        there = await self._connection.command("HKEYS", self._keys.parts(session_id))
        return {name.decode() for name in there} - digests(manifests)

    def _commit_keys(self, session: Session) -> Commands:
        keys, partition = self._keys, self._keys.partition_of(session.business_id)
        return [
            *self._fence(session),
            keys.parts(session.id),
            keys.checkpoints(session.id),
            keys.events(partition),
            *(keys.index(partition, name) for name in self._indexes.possible_names(session)),
        ]

    def _fence(self, session: Session) -> Commands:
        """Return the keys that say who may write."""
        keys, business_id = self._keys, session.business_id
        return [keys.session(session.id), keys.token(business_id), keys.lease(business_id)]

    async def load(self, session_id: str, version: int | None = None) -> Checkpoint | None:
        """Return a version; see the protocol."""
        record = await self._indexes.existing(session_id)
        codec = self._codec(record)
        kept = await self._kept(record, codec)
        wanted = record.session.checkpoint_version if version is None else version
        if wanted in kept.broken:
            raise kept.broken[wanted]
        if wanted not in kept.manifests:
            return None
        checkpoint, broken = await self._read(record.session, kept, wanted, codec)
        if broken:
            raise broken[0]
        return checkpoint

    async def load_usable(self, session_id: str) -> tuple[Checkpoint | None, tuple[str, ...]]:
        """Return the newest version that can be used; see the protocol."""
        record = await self._indexes.existing(session_id)
        codec = self._codec(record)
        kept = await self._kept(record, codec)
        notes: Commands = []
        fallback: Checkpoint | None = None
        for version in sorted({*kept.manifests, *kept.broken}, reverse=True):
            if version in kept.broken:
                notes.append(kept.broken[version].message)
                continue
            if is_passed_over(kept.manifests[version].meta):
                notes.append(f"version {version} was seen signed out")
                continue
            checkpoint, broken = await self._read(record.session, kept, version, codec)
            if not broken:
                return checkpoint, tuple(notes)
            notes += [error.message for error in broken]
            fallback = fallback or checkpoint
        if fallback is None and kept.manifests:  # all were seen signed out: better than none
            newest = max(kept.manifests)
            fallback, broken = await self._read(record.session, kept, newest, codec)
            notes += [error.message for error in broken]
        return fallback, tuple(notes)

    async def diff(self, session_id: str, before: int, after: int) -> VersionDiff:
        """Return how two versions differ; see the protocol."""
        record = await self._indexes.existing(session_id)
        kept = await self._kept(record, self._codec(record))
        for version in (before, after):
            if version in kept.broken:
                raise kept.broken[version]
            kept_or_refused(record.session, version, kept.manifests)
        return compare(kept.manifests[before], kept.manifests[after])

    async def list(self, session_id: str) -> Infos:
        """Return the kept versions, but those whose manifest is damaged; see the protocol."""
        record = await self._indexes.existing(session_id)
        kept = await self._kept(record, self._codec(record))
        return [kept.info(version) for version in sorted(kept.manifests, reverse=True)]

    async def _read(
        self, session: Session, kept: _Kept, version: int, codec: Codec
    ) -> tuple[Checkpoint, Broken]:
        """Return a version with the parts that can be read, and an error for each that cannot."""
        refs = kept.manifests[version].parts
        sealed = await self._sealed(session.id, [ref.digest for ref in refs.values()])
        parts, broken = {}, []
        for (name, ref), data in zip(refs.items(), sealed, strict=True):
            try:
                parts[name] = _opened(codec, name, ref, data)
            except CheckpointCorrupt as error:
                broken.append(_named(error, session, version, name))
                self._damaged.add(ref.digest)  # should it be saved again, it must be sent again
        return Checkpoint(kept.info(version), parts), broken

    async def _sealed(self, session_id: str, names: Commands) -> MaybeBytes:
        if not names:
            return []
        found: MaybeBytes = await self._connection.command(
            "HMGET", self._keys.parts(session_id), *names
        )
        return found

    async def _kept(self, record: Record, codec: Codec) -> _Kept:
        (found,) = await self._connection.hashes([self._keys.checkpoints(record.session.id)])
        manifests, created, broken = {}, {}, {}
        for version in [int(name) for name in found if name.isdigit()]:
            try:
                text = codec.open(f"{_MANIFEST}:{version}", found[b"%d" % version])
                manifest = Manifest.model_validate_json(text)
                created[version] = when(found[b"%d:at" % version])
                manifests[version] = manifest
            except (CheckpointCorrupt, ValueError, KeyError) as error:
                broken[version] = _named(error, record.session, version, _MANIFEST)
        return _Kept(manifests, created, broken)

    def _codec(self, record: Record) -> Codec:
        session_id = record.session.id
        key = self._connection.records.data_key(session_id, record.data_key)
        return Codec(key, self._keys.prefix, session_id)


def _manifest(
    version: int, token: int, parts: Mapping[str, bytes], meta: CheckpointMeta, codec: Codec
) -> Manifest:
    refs = {n: PartRef(digest=codec.digest(n, p), size=len(p)) for n, p in sorted(parts.items())}
    return Manifest(version=version, token=token, meta=meta, parts=refs)


def _batches(sealed: Iterator[tuple[str, bytes]]) -> Iterator[list[Any]]:
    batch: list[Any] = []
    size = 0
    for digest, data in sealed:
        if batch and size + len(data) > _BATCH_BYTES:
            yield batch
            batch, size = [], 0
        batch += [digest, data]
        size += len(data)
    if batch:
        yield batch


def _opened(codec: Codec, name: str, ref: PartRef, data: bytes | None) -> bytes:
    if data is None:
        raise CheckpointCorrupt("it is missing")
    plain = codec.open(name, data)
    if codec.digest(name, plain) != ref.digest:
        raise CheckpointCorrupt("it is not the content that the manifest names")
    return plain


def _named(error: Exception, session: Session, version: int, part: str) -> CheckpointCorrupt:
    return CheckpointCorrupt(
        f"part {part!r} of version {version} of session {session.id} cannot be read: {error}",
        context={"session_id": session.id, "version": version, "part": part},
    )


def _refused(answer: bytes, session: Session, token: int) -> None:
    """Raise what a refused write means; return when it was not refused."""
    if answer == b"FENCED":
        raise fenced(session.business_id, token)
    if answer == b"GONE":
        raise missing(session.id)

"""Checkpoints in Redis: sealed parts named by content, and manifests that name the parts."""

import uuid
from collections.abc import Mapping

from raypool.model import Checkpoint, CheckpointInfo, CheckpointMeta, VersionDiff
from raypool.store.codec import Codec
from raypool.store.connection import Connection
from raypool.store.differences import compare, kept_or_refused
from raypool.store.indexes import Indexes
from raypool.store.loading import Kept, Loader
from raypool.store.manifests import Refs, is_passed_over
from raypool.store.records import Record
from raypool.store.saving import Save, Saver

Infos = list[CheckpointInfo]
Notes = list[str]


class RedisCheckpoints:
    """See :class:`raypool.store.base.CheckpointStore`."""

    def __init__(self, connection: Connection) -> None:
        self._indexes = Indexes(connection)
        self._loader = Loader(connection)
        self._saver = Saver(connection, self._indexes, self._loader)

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
        return await self._saver.save(Save(session_id, token, parts, meta, operation, after))

    async def load(self, session_id: str, version: int | None = None) -> Checkpoint | None:
        """Return a version; see the protocol."""
        record, codec, kept = await self._kept(session_id)
        wanted = record.session.checkpoint_version if version is None else version
        if wanted in kept.broken:
            raise kept.broken[wanted]
        if wanted not in kept.manifests:
            return None
        checkpoint, broken = await self._loader.read(record.session, kept, wanted, codec)
        if broken:
            raise broken[0]
        return checkpoint

    async def load_usable(self, session_id: str) -> tuple[Checkpoint | None, tuple[str, ...]]:
        """Return the newest version that can be used; see the protocol."""
        record, codec, kept = await self._kept(session_id)
        notes: Notes = []
        fallback: Checkpoint | None = None
        for version in sorted({*kept.manifests, *kept.broken}, reverse=True):
            if version in kept.broken:
                notes.append(kept.broken[version].message)
                continue
            if is_passed_over(kept.manifests[version].meta):
                notes.append(f"version {version} was seen signed out")
                continue
            checkpoint, broken = await self._loader.read(record.session, kept, version, codec)
            if not broken:
                return checkpoint, tuple(notes)
            notes += [error.message for error in broken]
            fallback = fallback or checkpoint
        if fallback is None and kept.manifests:  # all were seen signed out: better than none
            newest = max(kept.manifests)
            fallback, broken = await self._loader.read(record.session, kept, newest, codec)
            notes += [error.message for error in broken]
        return fallback, tuple(notes)

    async def diff(self, session_id: str, before: int, after: int) -> VersionDiff:
        """Return how two versions differ; see the protocol."""
        record, codec, kept = await self._kept(session_id)
        refs: dict[int, Refs] = {}
        for version in (before, after):
            if version in kept.broken:
                raise kept.broken[version]
            kept_or_refused(record.session, version, kept.manifests)
            refs[version], broken = await self._loader.refs(record.session, kept, version, codec)
            if broken:
                raise broken
        return compare(before, refs[before], after, refs[after])

    async def list(self, session_id: str) -> Infos:
        """Return the kept versions, but those whose manifest is damaged; see the protocol."""
        _, _, kept = await self._kept(session_id)
        return [kept.info(version) for version in sorted(kept.manifests, reverse=True)]

    async def _kept(self, session_id: str) -> tuple[Record, Codec, Kept]:
        record = await self._indexes.existing(session_id)
        codec = self._loader.codec(record)
        kept = await self._loader.kept(record, codec)
        if kept.broken:  # the next save must not take for granted what this process wrote
            self._saver.forget(session_id)
        return record, codec, kept

    def forget(self, session_id: str) -> None:
        """Forget what this process knows of a session, its key too."""
        self._saver.forget(session_id)

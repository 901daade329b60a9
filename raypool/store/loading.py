"""Reads versions: manifests, the lists that they name, and the parts, a batch at a time."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from raypool.errors import CheckpointCorrupt
from raypool.model import Checkpoint, CheckpointInfo, Session
from raypool.store.codec import Codec
from raypool.store.connection import Connection
from raypool.store.listing import PartList, decode
from raypool.store.manifests import Manifest, Refs
from raypool.store.pieces import LIST_NAME, PIECE_BYTES, open_piece, piece_name
from raypool.store.records import Record, when

MANIFEST = "manifest"
BATCH_BYTES = 2**19
BATCH_ITEMS = 1000

Item = TypeVar("Item")
Broken = list[CheckpointCorrupt]
Lists = dict[str, PartList]


@dataclass(frozen=True)
class Kept:
    """The versions of a session as they were read."""

    manifests: Mapping[int, Manifest]
    created: Mapping[int, datetime]
    broken: Mapping[int, CheckpointCorrupt]
    """What is wrong with the versions whose manifest cannot be read."""
    fields: int
    """So many fields the hash has."""

    def info(self, version: int) -> CheckpointInfo:
        """Return what people are told of a version."""
        return self.manifests[version].info(self.created[version])


@dataclass(frozen=True)
class _Piece:
    part: str
    number: int
    digest: str
    size: int


class Loader:
    """Reads what is kept of sessions, and writes nothing."""

    def __init__(self, connection: Connection) -> None:
        self._connection, self._keys = connection, connection.keys
        self.damaged: set[str] = set()
        """Digests of what is stored and could not be read back: should it be saved, send it again."""

    def codec(self, record: Record) -> Codec:
        """Return what seals the parts of a session."""
        session_id = record.session.id
        key = self._connection.records.data_key(session_id, record.data_key)
        return Codec(key, self._keys.prefix, session_id)

    async def kept(self, record: Record, codec: Codec) -> Kept:
        """Return the versions of a session."""
        (found,) = await self._connection.hashes([self._keys.checkpoints(record.session.id)])
        manifests, created, broken = {}, {}, {}
        for version in [int(name) for name in found if name.isdigit()]:
            try:
                text = codec.open(f"{MANIFEST}:{version}", found[b"%d" % version])
                manifest = Manifest.model_validate_json(text)
                created[version] = when(found[b"%d:at" % version])
                manifests[version] = manifest
            except (CheckpointCorrupt, ValueError, KeyError) as error:
                broken[version] = _named(error, record.session, version, MANIFEST)
        return Kept(manifests, created, broken, len(found))

    async def lists(self, session_id: str, digests: Iterable[str], codec: Codec) -> Lists:
        """Return the lists with these digests; those that cannot be read are left out."""
        found: Lists = {}
        for batch in in_batches(sorted(set(digests)), lambda _: PIECE_BYTES // 64):
            for digest, data in zip(batch, await self._sealed(session_id, batch), strict=True):
                try:
                    parts = decode(open_piece(codec, LIST_NAME, digest, data))
                    found[digest] = PartList(digest, parts)
                except (CheckpointCorrupt, ValueError):
                    self.damaged.add(digest)
        return found

    async def stored(self, session_id: str) -> set[str]:
        """Return the digests of all that is stored."""
        names = await self._connection.command("HKEYS", self._keys.parts(session_id))
        return {name.decode(errors="replace") for name in names}

    async def read(
        self, session: Session, kept: Kept, version: int, codec: Codec
    ) -> tuple[Checkpoint, Broken]:
        """Return a version with the parts that can be read, and an error for each that cannot."""
        refs, no_list = await self.refs(session, kept, version, codec)
        wrong: dict[str, CheckpointCorrupt] = {}
        parts = await self._parts(session.id, refs, codec, wrong)
        broken = [_named(error, session, version, name) for name, error in wrong.items()]
        return Checkpoint(kept.info(version), parts), [*filter(None, [no_list]), *broken]

    async def refs(
        self, session: Session, kept: Kept, version: int, codec: Codec
    ) -> tuple[Refs, CheckpointCorrupt | None]:
        """Return what a version consists of, and an error if some of that cannot be told."""
        manifest = kept.manifests[version]
        lists = await self.lists(session.id, manifest.lists, codec)
        refs = {**manifest.parts, **{n: r for one in lists.values() for n, r in one.parts.items()}}
        if len(lists) == len(manifest.lists):
            return refs, None
        return refs, _named(_NO_LIST, session, version, MANIFEST)

    async def _parts(
        self, session_id: str, refs: Refs, codec: Codec, wrong: dict[str, CheckpointCorrupt]
    ) -> dict[str, bytes]:
        """Return the parts that can be read; *wrong* gets an error for each other one."""
        read: dict[str, list[bytes]] = {name: [] for name in refs}
        for batch in in_batches(_pieces(refs), lambda piece: piece.size):
            names = [piece.digest for piece in batch]
            for piece, data in zip(batch, await self._sealed(session_id, names), strict=True):
                sealed_as = piece_name(piece.part, piece.number)
                try:
                    read[piece.part].append(open_piece(codec, sealed_as, piece.digest, data))
                except CheckpointCorrupt as error:
                    wrong[piece.part] = error
                    self.damaged.add(piece.digest)
        return {name: b"".join(read.pop(name)) for name in refs if name not in wrong}

    async def _sealed(self, session_id: str, names: Sequence[str]) -> list[bytes | None]:
        found: list[bytes | None] = await self._connection.command(
            "HMGET", self._keys.parts(session_id), *names
        )
        return found


_NO_LIST = CheckpointCorrupt("a list of its parts is missing or was changed")


def in_batches(items: Iterable[Item], size: Callable[[Item], int]) -> Iterator[list[Item]]:
    """Give items in batches that a server takes or gives in a few milliseconds.

    Args:
        items: Whatever; taken one batch ahead.
        size: Bytes of an item.
    """
    batch: list[Item] = []
    total = 0
    for item in items:
        if batch and (total + size(item) > BATCH_BYTES or len(batch) == BATCH_ITEMS):
            yield batch
            batch, total = [], 0
        batch.append(item)
        total += size(item)
    if batch:
        yield batch


def _pieces(refs: Refs) -> Iterator[_Piece]:
    for name, ref in refs.items():
        for number, digest in enumerate(ref.pieces):
            yield _Piece(name, number, digest, min(ref.size, PIECE_BYTES))


def _named(error: Exception, session: Session, version: int, part: str) -> CheckpointCorrupt:
    return CheckpointCorrupt(
        f"part {part!r} of version {version} of session {session.id} cannot be read: {error}",
        context={"session_id": session.id, "version": version, "part": part},
    )

"""Databases of IndexedDB, read from a document of their storage key and made in one."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from raypool import state

AT_ONCE = 2_000
"""So many records are read in one transaction; larger databases store by store, piece by piece."""
PIECE_BYTES = 4 * 2**20
_MOST_NAMED = 3


class Answers(Protocol):
    """A document."""

    async def call(self, function: str, *args: object) -> Any:
        """Return what one of our functions answers."""


@dataclass
class Database:
    """What a database holds."""

    shape: dict[str, Any]
    """``{"version", "stores": [{name, keyPath, autoIncrement, indexes, next?}]}``."""
    records: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By store: JSON of the key → value."""
    lost: list[str] = field(default_factory=list)
    """What could not be carried, once for each record."""


async def read_database(document: Answers, name: str) -> Database | None:
    """Return a database; None when there is none of this name."""
    found = await document.call("databaseOf", name, AT_ONCE, PIECE_BYTES)
    if found is None:
        return None
    shape = {"version": found["version"], "stores": found["stores"]}
    database = Database(shape, lost=found["lost"])
    for store in found["stores"]:
        records = (found["records"] or {}).get(store["name"])
        if records is None:
            records = await _read_store(document, name, store["name"], database.lost)
        database.records[store["name"]] = {key_text(key): value for key, value in records}
    return database


async def _read_store(document: Answers, name: str, store: str, lost: list[str]) -> list[Any]:
    records: list[Any] = []
    after: Any = None
    while True:
        piece = await document.call("recordsOf", name, store, after, AT_ONCE, PIECE_BYTES)
        records += piece["records"]
        lost += piece["lost"]
        after = piece.get("next")
        if after is None:
            return records


async def read_generators(document: Answers, name: str, shape: Mapping[str, Any]) -> None:
    """Note in *shape* at which number the stores that number their records go on.

    The page's watchers of this database are told that it changed, though it did not: ask only when
    it really has.
    """
    for store in shape["stores"]:
        if store["autoIncrement"]:
            following = await document.call("nextKey", name, store["name"])
            if isinstance(following, int | float) and math.isfinite(following):
                store["next"] = following


async def write_database(
    document: Answers, name: str, shape: Mapping[str, Any], records: Mapping[str, Mapping[str, Any]]
) -> bool:
    """Make a database; one that is there already is newer and stays. Tell whether it was made."""
    if not await document.call("makeDatabase", name, shape):
        return False
    for store, items in records.items():
        for piece in _pieces(items):
            await document.call("putRecords", name, store, piece)
    return True


def key_text(key: Any) -> str:
    """Return the name under which a record is kept: the canonical JSON of its key."""
    return state.encode(key).decode()


def summary(lost: list[str]) -> str:
    """Return what could not be carried, in a few words: ``2 records with CryptoKey …``."""
    kinds = sorted(set(lost))
    shown = ", ".join(kind[:80] for kind in kinds[:_MOST_NAMED])
    return f"{len(lost)} record{'s' * (len(lost) > 1)} with {shown}"


def _pieces(items: Mapping[str, Any]) -> Iterator[list[list[Any]]]:
    piece: list[list[Any]] = []
    size = 0
    for text, value in items.items():
        piece.append([json.loads(text), value])
        size += len(text) + len(json.dumps(value))
        if size > PIECE_BYTES or len(piece) >= AT_ONCE:
            yield piece
            piece, size = [], 0
    if piece:
        yield piece

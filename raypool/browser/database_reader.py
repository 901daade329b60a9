"""Keep what is known of databases up to date: read what was said to have changed, not too often."""

import time
from collections.abc import Collection, Mapping
from typing import Any

from raypool.browser.databases import Database, read_database, read_generators, summary
from raypool.browser.documents import Document, Documents
from raypool.browser.failures import first_line
from raypool.browser.mirror import Mirror
from raypool.browser.reading import Notes, bounded
from raypool.browser.stub import Stub
from raypool.state import Area, Kind

ASK_TIMEOUT_S = 3.0
READ_TIMEOUT_S = 30.0
SMALL_BYTES = 64 * 1024
"""Databases up to this size are read at once, and whenever everything is, whatever was told."""
COUNTED_S = 3.0
REST = 50
"""A larger one that took a second to read is not read again, unasked, for so many seconds."""
_NEVER = -1
"""So many bytes no storage uses."""


class DatabaseReader:
    """Reads databases into a mirror.

    Args:
        documents: Those that are open.
        mirror: What is known.
        stub: Opens a document where none of the storage key is open any more.
        notes: Takes what could not be read.
        failed: What the browser has not because it could not be put back.
    """

    def __init__(
        self,
        documents: Documents,
        mirror: Mirror,
        stub: Stub,
        notes: Notes,
        failed: Collection[Area],
    ) -> None:
        self._documents, self._mirror, self._stub, self._notes = documents, mirror, stub, notes
        self._failed = failed
        self._lists: set[str] = set()
        self._changed: dict[tuple[str, str], None] = {}
        self._usage: dict[str, int] = {}
        self._look_until: dict[str, float] = {}
        self._not_before: dict[tuple[str, str], float] = {}

    def changed(self, key: str, name: str | None) -> None:
        """A database of a storage key has other contents, or (None) there may be other databases."""
        if name is None:
            self._lists.add(key)
        else:
            self._changed[key, name] = None

    def doubt(self, key: str) -> None:
        """Of a storage key's databases nobody told, and there may be any."""
        self._lists.add(key)
        self._usage[key] = _NEVER  # what is used now may not be counted yet

    async def read(self, but: set[str], *, everything: bool) -> None:
        """Read what changed.

        Args:
            but: Storage keys that have not got their databases back yet.
            everything: Whether those of all open documents are looked at, whatever was told.
        """
        lists, self._lists = self._lists, self._lists & but
        open_keys = {document.key for document in self._documents} if everything else set()
        for key in (lists | open_keys) - but:
            await self._list(key)
        due = list(self._changed)
        if everything:
            due += [place for key in open_keys - but for place in self._small(key)]
        for key, name in dict.fromkeys(due):
            if everything or self._not_before.get((key, name), 0.0) <= time.monotonic():
                self._changed.pop((key, name), None)
                await self._read(key, name)

    def _small(self, key: str) -> list[tuple[str, str]]:
        names = sorted(self._mirror.databases(key))
        return [(key, name) for name in names if self._is_small(key, name)]

    def _is_small(self, key: str, name: str) -> bool:
        return self._mirror.size(self._mirror.records(key, name)) <= SMALL_BYTES

    async def _list(self, key: str) -> None:
        try:
            names = await self._names(key)
        except Exception as error:  # noqa: BLE001 -- what cannot be read stays as it was
            # Else it may be a frame that may use none.
            known = self._mirror.databases(key)
            line = f"databases of {key} are kept as they were: {first_line(error)}"
            self._notes.say(f"{key} list", line if known else None)
            return
        self._notes.say(f"{key} list", None)
        if names is not None:
            for name in self._mirror.databases(key) - names:
                self._drop(key, name)
            self._changed |= dict.fromkeys((key, n) for n in names - self._mirror.databases(key))

    def _drop(self, key: str, name: str) -> None:
        if Area(Kind.DATABASE, key, name) not in self._failed:
            self._mirror.drop_database(key, name)

    async def _names(self, key: str) -> set[str] | None:
        """Return the names of a storage key's databases; None when they are what they were."""
        if document := self._documents.answering(key):
            return set(await bounded(document.call("databaseNames"), ASK_TIMEOUT_S, key))
        if not await self._has_others(key):
            # What was written a moment ago may not be counted yet.
            if self._look_until.setdefault(key, time.monotonic() + COUNTED_S) > time.monotonic():
                self._lists.add(key)
            return None
        async with self._stub.document(key) as own:
            return set(await bounded(own.call("databaseNames"), ASK_TIMEOUT_S, key))

    async def _has_others(self, key: str) -> bool:
        """Tell whether a storage key that has no open document may have other databases by now."""
        used = await self._documents.usage(Area(Kind.LOCAL, key).origin, "indexeddb")
        before, self._usage[key] = self._usage.get(key, 0), used or 0
        return used is None or used != before

    async def _read(self, key: str, name: str) -> None:
        began, what = time.monotonic(), f"database {name!r} of {key}"
        try:
            found = await bounded(self._found(key, name), READ_TIMEOUT_S, what)
        except Exception as error:  # noqa: BLE001 -- as in _list
            self._notes.say(what, f"{what} is kept as it was: {first_line(error)}")
            return
        if not self._is_small(key, name):
            self._not_before[key, name] = time.monotonic() + REST * (time.monotonic() - began)
        lost = f"{what} is kept without {summary(found.lost)}" if found and found.lost else None
        self._notes.say(what, lost)

    async def _found(self, key: str, name: str) -> Database | None:
        if document := self._documents.answering(key):
            return await self._take(document, key, name)
        async with self._stub.document(key) as own:
            return await self._take(own, key, name)

    async def _take(self, document: Document, key: str, name: str) -> Database | None:
        found = await read_database(document, name)
        if found is None:
            self._drop(key, name)
            return None
        known, before = self._mirror.shape(key, name), self._mirror.parts
        for store, records in found.records.items():
            self._mirror.replace(Area(Kind.RECORDS, key, name, store), records)
        if _without_generators(known) != found.shape or self._mirror.parts != before:
            await read_generators(document, name, found.shape)
            self._mirror.set_shape(key, name, found.shape)
        return found


def _without_generators(shape: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    if shape is None:
        return None
    stores = [{k: v for k, v in store.items() if k != "next"} for store in shape["stores"]]
    return {**shape, "stores": stores}

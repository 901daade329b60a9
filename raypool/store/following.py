"""What a follower of changes has to tell: who changed, and whether something may have been missed."""

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self

KINDS = frozenset({"created", "updated", "deleted", "supervised", "released", "unlocked"})
"""Kinds of events that change what should run. Activity, reports and checkpoints do not."""
_MOST_WAITING = 50_000

Id = tuple[int, int]
START: Id = (0, 0)


@dataclass(frozen=True)
class Changes:
    """What happened since the last call."""

    business_ids: frozenset[str] = frozenset()
    resync: bool = False
    """Something may have been missed: read the records themselves."""


@dataclass(frozen=True)
class Stream:
    """What ``XINFO STREAM`` tells: enough to see whether entries went unseen."""

    first: Id
    last: Id
    length: int
    added: int

    @classmethod
    def parse(cls, info: dict[str, Any]) -> Self:
        """Read the server's reply (Redis 7.0 and newer, Valkey)."""
        return cls(
            first=parse_id(info["recorded-first-entry-id"]),
            last=parse_id(info["last-generated-id"]),
            length=info["length"],
            added=info["entries-added"],
        )


EMPTY = Stream(START, START, 0, 0)


def parse_id(text: bytes) -> Id:
    """Return the id of an entry so that ids compare."""
    ms, _, sequence = text.partition(b"-")
    return int(ms), int(sequence)


def missed(stream: Stream, before: Id, seen: Id) -> bool:
    """Tell whether entries after *before* may have gone unseen. Pure; rather yes than no.

    Args:
        stream: As it was after the read.
        before: Id that the read began after.
        seen: Last id that the read returned; *before* when it returned nothing.
    """
    if stream.last < seen:  # another stream: the server came back empty or without its tail
        return True
    if stream.length == 0:
        return stream.last != seen
    if before == START:
        return stream.added != stream.length
    return stream.first > before


class Inbox:
    """Collects what is read of the streams until it is asked for; see ``base.Follower``.

    Args:
        streams: Numbers of those that are read.
    """

    def __init__(self, streams: Iterable[int]) -> None:
        self._unread = set(streams)
        self._ids: set[str] = set()
        self._resync = True
        self._news = asyncio.Event()

    def add(self, business_id: str, kind: str) -> None:
        """Take an event."""
        if kind not in KINDS:
            return
        self._ids.add(business_id)
        if len(self._ids) > _MOST_WAITING:  # nobody asks: one look at everything is cheaper
            self._ids.clear()
            self._resync = True
        self._news.set()

    def lose(self, stream: int) -> None:
        """Note that a stream is not read for now."""
        self._unread.add(stream)

    def begin(self, stream: int) -> None:
        """Note that from here on a stream is read; what was before it may have been missed."""
        self._unread.discard(stream)
        self._resync = True
        if not self._unread:  # one resync for all that come back, not one for each
            self._news.set()

    async def changes(self, timeout: float) -> Changes:
        """Return what happened since the last call; waits up to *timeout* s for the first."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._news.wait()
        found = Changes(frozenset(self._ids), self._resync)
        self._ids, self._resync = set(), False
        self._news.clear()
        return found

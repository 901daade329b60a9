"""The stream of changes: hints for supervisors and dashboards, never the truth."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from redis.exceptions import ResponseError

from raypool.errors import RaypoolError
from raypool.logs import get_logger
from raypool.store.client import build_client, close_client, translated
from raypool.store.connection import Connection
from raypool.store.following import EMPTY, Changes, Id, Inbox, Stream, missed, parse_id

log = get_logger(__name__)

# The server answers a blocked read before the client would give it up for lost.
_BLOCK_MS = 4000
_SOCKET_TIMEOUT_S = 8.0
_BATCH = 500
_BREATH_S = 0.02
"""Between two reads: a busy fleet costs a bounded number of them."""
_PAUSES_S = (0.1, 5.0)


class Events:
    """See :class:`raypool.store.base.EventStore`. Reads the streams of all partitions."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @asynccontextmanager
    async def follow(self) -> AsyncIterator["RedisFollower"]:
        """Follow the changes from now on; see the protocol."""
        keys, url = self._connection.keys, self._connection.url
        # No retries: what was missed while a connection was made anew has to be noticed.
        client = build_client(url, "raypool-events", timeout=_SOCKET_TIMEOUT_S,
                              connections=keys.partitions, retries=0)  # fmt: skip
        inbox = Inbox(keys.all_partitions())
        readers = [_Reader(self._connection, client, p, inbox) for p in keys.all_partitions()]
        tasks = [asyncio.create_task(reader.run()) for reader in readers]
        try:
            yield RedisFollower(inbox, tasks)
        finally:
            await _stopped(tasks)
            await close_client(client)


class RedisFollower:
    """See :class:`raypool.store.base.Follower`."""

    def __init__(self, inbox: Inbox, readers: list["asyncio.Task[None]"]) -> None:
        self._inbox, self._readers = inbox, readers

    async def changes(self, timeout: float) -> Changes:
        """Return what happened since the last call; see the protocol."""
        for reader in self._readers:
            if reader.done():  # it never ends by itself: this raises the bug that ended it
                reader.result()
        return await self._inbox.changes(timeout)


class _Reader:
    """Reads one partition's stream for as long as its task lives."""

    def __init__(self, connection: Connection, client: Any, partition: int, inbox: Inbox) -> None:
        self._client, self._url = client, connection.url
        self._key = connection.keys.events(partition)
        self._partition, self._inbox = partition, inbox
        self._failures = 0

    async def run(self) -> None:
        """Read; after each failure wait, then begin anew at the end of the stream."""
        while True:
            try:
                position = await self._begin()
                while True:
                    position = await self._read(position)
                    self._failures = 0
                    await asyncio.sleep(_BREATH_S)
            except RaypoolError as error:
                self._inbox.lose(self._partition)
                await self._pause(error)

    async def _begin(self) -> Id:
        with translated(self._url):
            stream = _stream((await self._ask(None))[0])
        self._inbox.begin(self._partition)
        return stream.last

    async def _read(self, before: Id) -> Id:
        with translated(self._url):
            found, info = await self._ask(before)
            if isinstance(found, Exception):
                raise found
            stream = _stream(info)
        entries = _entries(found)
        seen = parse_id(entries[-1][0]) if entries else before
        if missed(stream, before, seen):
            self._inbox.begin(self._partition)
            return stream.last
        for _, fields in entries:
            self._inbox.add(_text(fields, b"business"), _text(fields, b"kind"))
        return seen

    async def _ask(self, after: Id | None) -> list[Any]:
        """Return what comes after an id, if one is given, and what the stream is then."""
        pipe = self._client.pipeline(transaction=False)
        if after is not None:
            pipe.xread({self._key: "{}-{}".format(*after)}, count=_BATCH, block=_BLOCK_MS)
        pipe.xinfo_stream(self._key)
        answers: list[Any] = await pipe.execute(raise_on_error=False)
        return answers

    async def _pause(self, error: RaypoolError) -> None:
        if self._failures == 0:
            log.warning("events are not read for now", why=error.message, partition=self._partition)
        shortest, longest = _PAUSES_S
        most = min(shortest * 2 ** min(self._failures, 10), longest)
        self._failures += 1
        await asyncio.sleep(random.uniform(most / 2, most))  # noqa: S311 -- jitter


async def _stopped(tasks: list["asyncio.Task[None]"]) -> None:
    """Cancel until it has worked."""
    # `wait_for` of Python 3.11, which redis-py sends with, may swallow a cancellation: cpython #86296.
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=0.1)


def _stream(info: Any) -> Stream:
    if isinstance(info, ResponseError) and "no such key" in str(info):
        return EMPTY
    if isinstance(info, Exception):
        raise info
    return Stream.parse(info)


def _entries(found: Any) -> list[tuple[bytes, dict[bytes, bytes]]]:
    batches = found.values() if isinstance(found, dict) else [batch for _, batch in found or []]
    return [entry for batch in batches for entry in batch]


def _text(fields: dict[bytes, bytes], name: bytes) -> str:
    return fields.get(name, b"").decode(errors="replace")

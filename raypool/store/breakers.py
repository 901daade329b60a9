"""Circuit breakers in Redis: a site that is down is not hammered by a thousand businesses."""

import random
import uuid
from datetime import datetime
from typing import Any

from raypool.store.circuit import Breaker, BreakerState, Timing, parse_site
from raypool.store.connection import Connection
from raypool.store.records import when

Breakers = list[Breaker]


class RedisBreakers:
    """See :class:`raypool.store.base.BreakerStore`.

    Args:
        connection: The server.
        timing: Tests pass short times.
    """

    def __init__(self, connection: Connection, timing: Timing | None = None) -> None:
        self._connection, self._keys = connection, connection.keys
        self._timing = timing or Timing()

    async def ask(self, site: str) -> Breaker:
        """Ask whether to go to a site; see the protocol."""
        name = parse_site(site)
        args = [uuid.uuid4().hex, _ms(self._timing.permit)]
        answer = await self._connection.script("ask_breaker", [self._keys.breaker(name)], args)
        return _breaker(name, answer)

    async def report(self, site: str, ok: bool) -> Breaker:
        """Say how a call to a site went; see the protocol."""
        name, timing = parse_site(site), self._timing
        keys = [self._keys.breaker(name), self._index(self._keys.partition_of(name))]
        jitter = 1 + random.uniform(0, timing.jitter)  # noqa: S311
        args = [name, uuid.uuid4().hex, int(ok), timing.failures, _ms(timing.window),
                _ms(timing.pause), _ms(timing.longest_pause), jitter]  # fmt: skip
        return _breaker(name, await self._connection.script("report_breaker", keys, args))

    async def list(self) -> Breakers:
        """Return the sites that have failed lately; see the protocol."""
        found: Breakers = []
        for partition in self._keys.all_partitions():
            now, *names = await self._connection.script("list_living", [self._index(partition)], [])
            keys = [self._keys.breaker(name.decode()) for name in names]
            hashes = await self._connection.hashes(keys)
            found += [_listed(fields, int(now)) for fields in hashes if fields]
        return sorted(found, key=lambda breaker: breaker.site)

    def _index(self, partition: int) -> str:
        return self._keys.index(partition, "breakers")


def _breaker(site: str, answer: list[bytes]) -> Breaker:
    state, failures, opened_at, retry_at = answer
    return Breaker(
        site=site,
        state=BreakerState(state.decode()),
        failures=int(failures),
        opened_at=_moment(opened_at),
        retry_at=_moment(retry_at),
    )


def _listed(fields: dict[bytes, Any], now: int) -> Breaker:
    opened, retry = fields.get(b"opened_at", b"0"), fields.get(b"retry_at", b"0")
    over = b"half_open" if int(retry) <= now else b"open"
    state = over if int(opened) else b"closed"
    return _breaker(fields[b"site"].decode(), [state, fields[b"failures"], opened, retry])


def _moment(ms: bytes) -> datetime | None:
    return when(ms) if int(ms) else None


def _ms(seconds: float) -> int:
    return max(1, int(seconds * 1000))

"""Scenario *paused*: an owner stands still for three lease times while its Chromium runs on.

``python -m tests.chaos.paused --trials 100``. The page of each business pings its site all the time.
In each round the workers of all businesses are stopped (SIGSTOP), in every second one with a write
under way. By the lease's deadline the pings must have ended; a second owner must work; and when the
first is let go on, nothing that it writes is accepted.

A supervisor that hears of it ends an owner that stands still, so it never goes on. With
``--elsewhere`` it stands still too, and the second owner is another cluster's: then the first does go
on, and finds the business in other hands.
"""

import argparse
import asyncio
import contextlib
import secrets
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from tests.chaos import targets
from tests.chaos.aftermath import aftermath
from tests.chaos.client import Client, say
from tests.chaos.evidence import Final
from tests.chaos.fleet import own_fleet, redis_behind_link
from tests.chaos.history import History, Kind
from tests.chaos.rights import PAUSED, Paused
from tests.chaos.scenario import scenario
from tests.chaos.workers import Performer
from tests.sites.rotating.server import RotatingSite

LEASE_TTL_S = 3.0
LEASES = 3
SECOND_TIMEOUT_S = 90.0
SETTLE_S = 1.0
WRITE_S = 0.5
FAULT = "pause-owner"


async def paused(
    mark: str, trials: int, businesses: int, history: History, *, elsewhere: bool = False
) -> Final:
    """Run *trials* or a few more, *businesses* at a time; return what is left."""
    if not trials:
        return Final()
    async with redis_behind_link() as redis, contextlib.AsyncExitStack() as stack:
        site = stack.enter_context(RotatingSite(users=businesses))
        fleet = stack.enter_context(own_fleet(mark, redis.url, lease_ttl=LEASE_TTL_S))
        workers = [
            Performer(f"{mark}-{n}", site, user) for n, user in enumerate(site.users[:businesses])
        ]
        home = other = await stack.enter_async_context(Client(fleet, history))
        for worker in workers:
            await worker.sign_in(home)
        marks = [mark]
        if elsewhere:
            directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="raypool-chaos-"))
            beside = fleet.beside(Path(directory), start_timeout=SECOND_TIMEOUT_S)
            other = await stack.enter_async_context(Client(beside, history))
            marks.append(beside.mark)
        for number in range(-(-trials // businesses)):
            await Round(home, other, busy=bool(number % 2)).run(workers)
            home, other = other, home
        for worker in workers:
            await worker.finish(home)
            await home.ready(worker.business)
        final = sum((worker.final() for worker in workers), Final(planned=(FAULT,)))
        await stack.aclose()
        return sum([await aftermath(mark) for mark in marks], final)


@dataclass(frozen=True)
class First:
    """An owner before it is stopped."""

    worker: Performer
    actor: psutil.Process
    token: int
    value: str
    """What its successor will write."""


class Round:
    """All businesses of one cluster lose their owner at once, and get another.

    Args:
        home: Client of the cluster that has them.
        other: Client of the one that will have them; the same, if its supervisor is to see to it.
        busy: Whether a write is under way.
    """

    def __init__(self, home: Client, other: Client, *, busy: bool) -> None:
        self._home, self._other, self._busy = home, other, busy
        self._history = home.history
        supervisor = targets.titled(home.fleet.mark, "ray::supervisor")
        self._supervisor = supervisor("") if home is not other else None

    async def run(self, workers: Sequence[Performer]) -> None:
        """Run one trial of each business."""
        for worker in workers:
            await worker.finish(self._home)  # on its page, signed in, acknowledged
        firsts = [first for worker in workers if (first := self._first(worker))]
        under_way = [self._write(first) for first in firsts] if self._busy else []
        await asyncio.sleep(WRITE_S / 2)
        if self._supervisor:
            await asyncio.to_thread(targets.pause, self._supervisor)
        stops = [await self._stop(first) for first in firsts]
        seconds = await asyncio.gather(*(self._second(first) for first in firsts))
        await asyncio.sleep(max(0.0, stops[-1][0] + LEASES * LEASE_TTL_S - time.monotonic()))
        went_on = [await asyncio.to_thread(targets.resume, first.actor) for first in firsts]
        await self._settled(firsts, under_way)
        if self._supervisor:
            await asyncio.to_thread(targets.resume, self._supervisor)
        for first, stop, second, on in zip(firsts, stops, seconds, went_on, strict=True):
            await self._look(first, stop, second, on)

    def _first(self, worker: Performer) -> First | None:
        ledger, actor = targets.live_ledger(worker.business), targets.actor(worker.business)
        if ledger is None or actor is None:
            self._history.add(Kind.FAULT, FAULT, worker.business, value=False)
            return None
        return First(worker, actor, ledger.token, secrets.token_hex(8))

    def _write(self, first: First) -> "asyncio.Task[Any]":
        args = (first.worker.site.url, f"first-{first.value}", WRITE_S)
        slow = "tests.chaos.work:write_slowly"
        business = first.worker.business
        return asyncio.create_task(self._home.do("write_first", business, slow, *args))

    async def _stop(self, first: First) -> tuple[float, int]:
        """Stop the owner; return when that was, and the fault's operation."""
        fired = await asyncio.to_thread(targets.pause, first.actor)
        at = time.monotonic()
        return at, self._history.add(Kind.FAULT, FAULT, first.worker.business, value=fired)

    async def _second(self, first: First) -> Any:
        """Let the business write, until it is acknowledged; give up after a while."""
        deadline = time.monotonic() + SECOND_TIMEOUT_S
        args = ("tests.chaos.work:write", first.worker.site.url, first.value)
        business = first.worker.business
        while (left := deadline - time.monotonic()) > 0:
            done = await self._other.do(
                "write_second", business, *args, idempotent=True, patience=left
            )
            if done:
                return done
            await asyncio.sleep(0.1)
        return None

    async def _settled(
        self, firsts: Sequence[First], under_way: "Sequence[asyncio.Task[Any]]"
    ) -> None:
        """Give the first owners time to try what they had begun, and then to end."""
        await asyncio.gather(*under_way)
        deadline = time.monotonic() + SETTLE_S
        while time.monotonic() < deadline and any(f.actor.is_running() for f in firsts):
            await asyncio.sleep(0.05)

    async def _look(self, first: First, stop: tuple[float, int], second: Any, on: bool) -> None:
        worker, (stopped_at, op) = first.worker, stop
        self._history.add(Kind.HEALED, FAULT, worker.business, op)
        read = "tests.chaos.work:read"
        seen = await self._other.do(
            "read_second", worker.business, read, worker.site.url, idempotent=True
        )
        await self._other.write_stale(worker.business, first.token)
        pid = second["pid"] if second else None
        trial = Paused(stopped_at, LEASE_TTL_S, first.actor.pid, pid, on, first.value,
                       seen and seen["value"])  # fmt: skip
        self._history.add(Kind.OK, PAUSED, worker.business, op, asdict(trial))
        if second:
            value = {"seconds": round(second["ended"] - stopped_at, 2), "changed": []}
            self._history.add(Kind.RECOVERED, FAULT, worker.business, op, value)
        say(f"{worker.business}: second owner {'works' if second else 'MISSING'}, went on: {on}")


def main() -> int:
    """Run the scenario by itself."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.paused")
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--businesses", type=int, default=5, help="how many at a time")
    parser.add_argument("--elsewhere", action="store_true", help="see above")
    given = parser.parse_args()

    async def work(mark: str, history: History) -> Final:
        return await paused(
            mark, given.trials, given.businesses, history, elsewhere=given.elsewhere
        )

    return scenario("paused", work)


if __name__ == "__main__":
    sys.exit(main())

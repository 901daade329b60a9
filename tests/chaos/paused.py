"""Scenario *paused*: an owner stands still for three lease times while its Chromium runs on.

``python -m tests.chaos.paused --trials 100``. The page of each business pings its site all the time.
In each trial the owner's worker is stopped (SIGSTOP), in every second one with a write under way. By
its lease's deadline the pings must have ended; a second owner must work; and when the first is let
go on (or was killed meanwhile), nothing that it writes is accepted.
"""

import argparse
import asyncio
import contextlib
import itertools
import secrets
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import psutil

from tests.chaos import targets
from tests.chaos.aftermath import aftermath
from tests.chaos.client import Client, say
from tests.chaos.evidence import Final
from tests.chaos.fleet import own_fleet
from tests.chaos.history import History, Kind
from tests.chaos.rights import PAUSED, Paused
from tests.chaos.scenario import scenario
from tests.chaos.workers import Performer
from tests.sites.rotating.server import RotatingSite

LEASE_TTL_S = 3.0
LEASES = 3
SECOND_TIMEOUT_S = 60.0
SETTLE_S = 1.0
WRITE_S = 0.5
FAULT = "pause-owner"


async def paused(mark: str, trials: int, businesses: int, history: History) -> Final:
    """Run *trials* in a fleet of its own, *businesses* at a time; return what is left."""
    if not trials:
        return Final()
    with RotatingSite(users=businesses) as site, own_fleet(mark, lease_ttl=LEASE_TTL_S) as fleet:
        workers = [
            Performer(f"{mark}-{n}", site, user) for n, user in enumerate(site.users[:businesses])
        ]
        async with Client(fleet, history) as client:
            numbers = itertools.islice(itertools.count(), trials)
            await asyncio.gather(*(_one_after_other(client, w, numbers) for w in workers))
            for worker in workers:
                await worker.finish(client)
                await client.ready(worker.business)
            finals = [worker.final() for worker in workers]
        return sum(finals, Final(planned=(FAULT,))) + await aftermath(mark)


async def _one_after_other(client: Client, worker: Performer, numbers: Iterator[int]) -> None:
    await worker.sign_in(client)
    for number in numbers:
        await _trial(client, worker, busy=bool(number % 2))


async def _trial(client: Client, worker: Performer, *, busy: bool) -> None:
    business, url = worker.business, worker.site.url
    await worker.finish(client)  # on its page, signed in, acknowledged
    ledger, actor = targets.live_ledger(business), targets.actor(business)
    if ledger is None or actor is None:
        client.history.add(Kind.FAULT, FAULT, business, value=False)
        return
    written = secrets.token_hex(8)
    slow = ("tests.chaos.work:write_slowly", url, f"first-{written}", WRITE_S)
    under_way = asyncio.create_task(client.do("write_first", business, *slow)) if busy else None
    await asyncio.sleep(WRITE_S / 2)
    fired = await asyncio.to_thread(targets.pause, actor)
    stopped_at = time.monotonic()
    op = client.history.add(Kind.FAULT, FAULT, business, value=fired)
    second = await _second(client, business, url, written)
    await asyncio.sleep(max(0.0, stopped_at + LEASES * LEASE_TTL_S - time.monotonic()))
    went_on = await asyncio.to_thread(targets.resume, actor)
    client.history.add(Kind.HEALED, FAULT, business, op)
    await _settled(actor, under_way)
    seen = await client.do("read_second", business, "tests.chaos.work:read", url, idempotent=True)
    await client.write_stale(business, ledger.token)
    trial = Paused(stopped_at, LEASE_TTL_S, actor.pid, second["pid"] if second else None,
                  went_on, written, seen and seen["value"])  # fmt: skip
    client.history.add(Kind.OK, PAUSED, business, op, asdict(trial))
    if second:
        value = {"seconds": round(second["ended"] - stopped_at, 2), "changed": []}
        client.history.add(Kind.RECOVERED, FAULT, business, op, value)
    say(f"{business}: second owner {'works' if second else 'MISSING'}, went on: {went_on}")


async def _second(client: Client, business: str, url: str, value: str) -> Any:
    """Let the business write, until it is acknowledged; give up after a while."""
    deadline = time.monotonic() + SECOND_TIMEOUT_S
    write = "tests.chaos.work:write"
    while (left := deadline - time.monotonic()) > 0:
        done = await client.do(
            "write_second", business, write, url, value, idempotent=True, patience=left
        )
        if done:
            return done
        await asyncio.sleep(0.1)
    return None


async def _settled(actor: psutil.Process, under_way: asyncio.Task[Any] | None) -> None:
    """Give the first owner time to try what it had begun, and then to end."""
    if under_way:
        await under_way
    deadline = time.monotonic() + SETTLE_S
    with contextlib.suppress(psutil.Error):
        while actor.is_running() and time.monotonic() < deadline:
            await asyncio.sleep(0.05)


def main() -> int:
    """Run the scenario by itself."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.paused")
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--businesses", type=int, default=5, help="how many at a time")
    given = parser.parse_args()
    return scenario("paused", lambda m, h: paused(m, given.trials, given.businesses, h))


if __name__ == "__main__":
    sys.exit(main())

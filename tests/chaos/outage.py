"""Scenario *outage*: Redis is away for minutes, and every live browser goes on.

``python -m tests.chaos.outage --seconds 300 --businesses 5``. While nobody can renew a lease, the
pages must stand still from its deadline on; afterwards each is the very document that it was, in the
very Chromium, and its state can be saved.
"""

import argparse
import asyncio
import secrets
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from raypool.browser.processes import Process
from tests.chaos import targets
from tests.chaos.aftermath import aftermath
from tests.chaos.client import Client, say
from tests.chaos.evidence import Final
from tests.chaos.fleet import own_fleet, redis_behind_link
from tests.chaos.history import EVERYWHERE, History, Kind
from tests.chaos.link import Link
from tests.chaos.rights import OUTAGE, Outage
from tests.chaos.scenario import scenario
from tests.chaos.workers import Performer
from tests.sites.rotating.server import RotatingSite

FAULT = "outage"
BACK_TIMEOUT_S = 90.0
ASK_EVERY_S = 10.0
PATIENCE_S = 30.0


async def outage(
    mark: str, seconds: float, businesses: int, history: History, *, silently: bool = False
) -> Final:
    """Run the scenario in a fleet of its own; return what is left."""
    async with redis_behind_link() as redis:
        with RotatingSite(users=businesses) as site, own_fleet(mark, redis.url) as fleet:
            workers = [
                Performer(f"{mark}-{n}", site, u) for n, u in enumerate(site.users[:businesses])
            ]
            async with Client(fleet, history) as client:
                for worker in workers:
                    await worker.sign_in(client)
                await _trial(client, workers, redis.link, seconds, silently=silently)
                for worker in workers:
                    await worker.finish(client)
                    await client.ready(worker.business)
                finals = [worker.final() for worker in workers]
            return sum(finals, Final(planned=(FAULT,))) + await aftermath(mark)


async def _trial(
    client: Client, workers: list[Performer], link: Link, seconds: float, *, silently: bool
) -> None:
    secret = secrets.token_hex(8)
    for worker in workers:
        await client.do("remember", worker.business, "tests.chaos.work:remember", secret)
    before = {worker.business: _browser(worker.business) for worker in workers}
    await link.cut(silently=silently)
    cut_at = time.monotonic()
    op = client.history.add(Kind.FAULT, FAULT, EVERYWHERE, value=not link.forwarding)
    while (left := cut_at + seconds - time.monotonic()) > 0:
        # Whoever asks now is told to try again; what is asked for disturbs no page.
        await asyncio.gather(*(_recall(client, worker.business) for worker in workers))
        await asyncio.sleep(min(ASK_EVERY_S, max(0.0, left)))
    mended_at = time.monotonic()
    await link.mend()
    client.history.add(Kind.HEALED, FAULT, EVERYWHERE, op)
    kept = await asyncio.gather(*(_back(client, worker.business) for worker in workers))
    value = {"seconds": round(time.monotonic() - mended_at, 2), "changed": _changed(before)}
    client.history.add(Kind.RECOVERED, FAULT, EVERYWHERE, op, value)
    say(f"all answered {value['seconds']} s after Redis was back")
    for worker, found in zip(workers, kept, strict=True):
        same = worker.business not in value["changed"]
        lease = client.fleet.settings.lease_ttl
        trial = Outage(cut_at, mended_at, lease, same, found == secret)
        client.history.add(Kind.OK, OUTAGE, worker.business, op, asdict(trial))
        await _savable(client, worker.business, worker.site.url)


async def _recall(client: Client, business: str) -> Any:
    return await client.do(
        "recall", business, "tests.chaos.work:recall", idempotent=True, patience=PATIENCE_S
    )


async def _back(client: Client, business: str) -> str | None:
    """Ask until there is an answer; return what the page remembers."""
    deadline = time.monotonic() + BACK_TIMEOUT_S
    while time.monotonic() < deadline:
        if answer := await _recall(client, business):
            value: str | None = answer["value"]
            return value
        await asyncio.sleep(0.2)
    return None


async def _savable(client: Client, business: str, url: str) -> None:
    value = secrets.token_hex(8)
    await client.do("write", business, "tests.chaos.work:write", url, value)
    await client.do("read", business, "tests.chaos.work:read", url, idempotent=True)


def _browser(business: str) -> Process | None:
    ledger = targets.live_ledger(business)
    return ledger.browser if ledger else None


def _changed(before: Mapping[str, Process | None]) -> list[str]:
    return sorted(b for b, browser in before.items() if _browser(b) != browser)


def main() -> int:
    """Run the scenario by itself."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.outage")
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--businesses", type=int, default=5)
    parser.add_argument(
        "--silently", action="store_true", help="nothing arrives any more, instead of refusals"
    )
    given = parser.parse_args()

    async def work(mark: str, history: History) -> Final:
        return await outage(mark, given.seconds, given.businesses, history, silently=given.silently)

    return scenario("outage", work)


if __name__ == "__main__":
    sys.exit(main())

"""Scenario *acks*: `run` has returned, then actor, server and host die at once. The change stays.

After it, in the same quiet fleet, comes :mod:`tests.chaos.poison`.
"""

import asyncio
import contextlib
import time
from random import Random

from raypool.demo.site import DemoSite
from tests.chaos import targets
from tests.chaos.aftermath import aftermath
from tests.chaos.caller import NoAnswer, Refused
from tests.chaos.client import Client, say
from tests.chaos.evidence import Final
from tests.chaos.fleet import own_fleet
from tests.chaos.history import History, Kind
from tests.chaos.nemesis import Kill, Nemesis
from tests.chaos.poison import poison

RESTART_TIMEOUT_S = 120.0
LOOK_TIMEOUT_S = 40.0


async def acks(mark: str, trials: int, history: History, rng: Random) -> Final:
    """Run the scenario in a fleet of its own, on the embedded server; return what is left."""
    if not trials:
        return Final()
    with DemoSite() as site, own_fleet(mark) as fleet:
        server = Kill("kill-redis", find=targets.embedded_server(fleet.settings))
        both = [Kill("kill-actor", find=targets.actor), server]
        everything = [*both, Kill("kill-host", find=targets.host(mark))]
        async with Client(fleet, history) as client:
            for number in range(trials):
                nemeses = everything if number % 2 else both
                value = f"{rng.getrandbits(64):016x}"
                await _trial(client, f"{mark}-1", site.url, value, nemeses)
            final = await poison(client, f"{mark}-2")
        return final + await aftermath(mark)


async def _trial(
    client: Client, business: str, url: str, value: str, nemeses: list[Nemesis]
) -> None:
    """One change, acknowledged; one blow; one look."""
    if not await client.do("write", business, "tests.chaos.work:write", url, value):
        raise RuntimeError(f"{business} could not write; the history says why")
    before = targets.live_ledger(business)
    fired = await asyncio.gather(*(nemesis.strike(business) for nemesis in nemeses))
    op = None
    for nemesis, hit in zip(nemeses, fired, strict=True):
        op = client.history.add(Kind.FAULT, nemesis.name, business, op, hit)
    began = time.monotonic()
    await _look(client, business, url, began + RESTART_TIMEOUT_S)
    names = " + ".join(nemesis.name for nemesis in nemeses)
    say(f"{names}: {business} looked after {time.monotonic() - began:.2f} s")
    if before:
        await client.write_stale(business, before.token)


async def _look(client: Client, business: str, url: str, deadline: float) -> None:
    read = "tests.chaos.work:read"
    while time.monotonic() < deadline:
        if _fleet_is_gone(client):
            with contextlib.suppress(Refused, NoAnswer):
                await client.again()
        if await client.do("read", business, read, url, idempotent=True, patience=LOOK_TIMEOUT_S):
            return
        await asyncio.sleep(0.2)


def _fleet_is_gone(client: Client) -> bool:
    return targets.host(client.fleet.mark)("") is None

"""Scenario *kills*: actors, drivers and Chromiums die under businesses that publish all the time."""

import asyncio
import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from raypool import Probe, connect_async
from tests.chaos.aftermath import aftermath
from tests.chaos.checker import Account, Final
from tests.chaos.history import History, Kind
from tests.chaos.nemesis import KillActor, KillChromium, KillDriver, Nemesis, live_ledger
from tests.chaos.workload import Client, own_fleet, say
from tests.sites import flows
from tests.sites.server import Account as User
from tests.sites.server import AllauthSite, Counters

NEMESES: tuple[Nemesis, ...] = (KillActor(), KillDriver(), KillChromium())
PAUSE_S = (0.5, 3.0)
"""Bounds of the random time from a recovery to the next strike."""
RECOVERY_TIMEOUT_S = 90.0
BREATH_S = 0.2


@dataclass(frozen=True)
class Plan:
    """How much is to be done."""

    businesses: int
    strikes: int | None
    """None: until *until*, but each fault once."""
    until: float | None
    """Monotonic time after which no strike begins; None: as many as *strikes*."""
    redis_url: str | None


async def kills(run: str, plan: Plan, history: History, rng: Random) -> Final:
    """Run the scenario in a fleet of its own; return what the site and the system say at the end."""
    with AllauthSite(users=plan.businesses) as site, own_fleet(run, plan.redis_url) as settings:
        users = {f"{run}-{n}": user for n, user in enumerate(site.users, 1)}
        async with connect_async(settings, say=say) as pool:
            client = Client(pool, history)
            for business, user in users.items():
                await _sign_in(client, business, user, site)
            at_start = {b: site.counters(u.email) for b, u in users.items()}
            await _strike_while_they_work(client, list(users), site, plan, history, rng)
            for business in users:
                await client.do("who", business, flows.who, site.url, idempotent=True)
        accounts = tuple(_account(site, b, u, at_start[b]) for b, u in users.items())
        return await aftermath(run, accounts)


async def _sign_in(client: Client, business: str, user: User, site: AllauthSite) -> None:
    await client.pool.get_or_create_instance(
        business, email=user.email, probe=Probe(cookie="sessionid")
    )
    arguments = (site.url, user.email, user.password, user.totp_secret)
    if not await client.do("sign_in", business, flows.sign_in, *arguments):
        raise RuntimeError(f"{business} could not sign in; the history says why")
    say(f"{business} is signed in")


def _account(site: AllauthSite, business: str, user: User, at_start: Counters) -> Account:
    return Account(business, user.email, at_start, site.counters(user.email))


async def _strike_while_they_work(
    client: Client,
    businesses: list[str],
    site: AllauthSite,
    plan: Plan,
    history: History,
    rng: Random,
) -> None:
    over = asyncio.Event()
    workers = [asyncio.create_task(_publish(client, b, site.url, over)) for b in businesses]
    try:
        for nemesis in _planned(plan):
            await asyncio.sleep(rng.uniform(*PAUSE_S))
            await _strike(nemesis, client, rng.choice(businesses), site.url, history)
    finally:
        over.set()
        await asyncio.gather(*workers)


def _planned(plan: Plan) -> Iterator[Nemesis]:
    for number, nemesis in enumerate(itertools.cycle(NEMESES)):
        late = plan.until is not None and time.monotonic() > plan.until
        if number == plan.strikes or (late and number >= len(NEMESES)):
            return
        yield nemesis


async def _publish(client: Client, business: str, url: str, over: asyncio.Event) -> None:
    for number in itertools.count(1):
        if over.is_set():
            return
        await client.do("publish", business, flows.publish, url, f"Post {number}")
        await asyncio.sleep(BREATH_S)


async def _strike(
    nemesis: Nemesis, client: Client, business: str, url: str, history: History
) -> None:
    before = live_ledger(business)
    fired = await asyncio.to_thread(nemesis.strike, business)
    op = history.add(Kind.FAULT, nemesis.name, business, value=fired)
    if not fired:
        say(f"{nemesis.name} {business}: did not fire")
        return
    began = time.monotonic()
    while not await client.do("who", business, flows.who, url, idempotent=True):
        if time.monotonic() - began > RECOVERY_TIMEOUT_S:
            say(f"{nemesis.name} {business}: not recovered")
            return
    seconds = round(time.monotonic() - began, 2)
    history.add(Kind.RECOVERED, nemesis.name, business, op, seconds)
    say(f"{nemesis.name} {business}: back after {seconds:.2f} s")
    after = live_ledger(business)
    if before and after and after.token > before.token:
        await client.write_stale(business, before.token)

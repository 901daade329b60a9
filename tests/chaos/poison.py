"""Scenario *poison*: a browser that lost its sign-in is saved, then killed. The sign-in comes back.

The site itself still knows the business; only the browser forgot (a script of the page took the
cookie away). That state is saved, as every state is, but it is never what a business is restored
from: the last one that was signed in is.
"""

import asyncio

from tests.chaos import targets
from tests.chaos.client import Client, say
from tests.chaos.evidence import Final
from tests.chaos.history import Kind
from tests.chaos.nemesis import Kill
from tests.chaos.workers import Performer
from tests.sites.rotating.pages import COOKIE
from tests.sites.rotating.server import RotatingSite

FAULT = "forgotten-sign-in"


async def poison(client: Client, business: str) -> Final:
    """Run the scenario once, in the fleet of *client*; return what the site says."""
    with RotatingSite(users=1) as site:
        worker = Performer(business, site, site.users[0])
        await worker.sign_in(client)
        forgotten = await client.do("forget", business, "tests.chaos.work:forget", COOKIE)
        killed = await Kill("", find=targets.actor).strike(business)
        op = client.history.add(Kind.FAULT, FAULT, business, value=bool(forgotten) and killed)
        began = asyncio.get_running_loop().time()
        await worker.who(client, 120.0)
        seconds = round(asyncio.get_running_loop().time() - began, 2)
        value = {"seconds": seconds, "changed": []}
        client.history.add(Kind.RECOVERED, FAULT, business, op, value)
        say(f"{FAULT}: {business} back after {seconds} s")
        return Final(planned=(FAULT,)) + worker.final()

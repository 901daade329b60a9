"""Scenario *acks*: `run` has returned, then actor, server and host die at once. The change stays."""

import asyncio
import time
from contextlib import AsyncExitStack, suppress
from random import Random

from raypool import AsyncPool, RaypoolError, connect_async
from raypool.config import Settings
from raypool.demo.site import DemoSite
from tests.chaos.aftermath import aftermath
from tests.chaos.checker import Final
from tests.chaos.history import History, Kind
from tests.chaos.nemesis import KillActor, KillHost, KillServer, Nemesis, live_ledger
from tests.chaos.workload import Client, own_fleet, read, say, write

RESTART_TIMEOUT_S = 120.0


async def acks(run: str, trials: int, history: History, rng: Random) -> Final:
    """Run the scenario in a fleet of its own, on the embedded server; return what is left."""
    if not trials:
        return Final()
    with DemoSite() as site, own_fleet(run) as settings:
        async with Connection(settings) as connection:
            for number in range(trials):
                value = f"{rng.getrandbits(64):016x}"
                trial = Trial(connection, history, f"{run}-1", site.url, value)
                await trial.run(run, host_too=number % 2 == 1)
        return await aftermath(run)


class Connection:
    """A pool of the fleet, and another one when the fleet was killed."""

    pool: AsyncPool

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> "Connection":
        self.pool = await self._stack.enter_async_context(connect_async(self.settings, say=say))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def again(self) -> None:
        """Leave a fleet that was killed, and start the next on the same data."""
        with suppress(RaypoolError):  # it cannot say good-bye any more
            await self._stack.aclose()
        await self.__aenter__()


class Trial:
    """One change, acknowledged; one blow; one look."""

    def __init__(
        self, connection: Connection, history: History, business: str, url: str, value: str
    ) -> None:
        self._connection, self._history = connection, history
        self._business, self._url, self._value = business, url, value

    async def run(self, run: str, *, host_too: bool) -> None:
        """Do the trial; *host_too* kills the process behind the fleet as well, and Ray with it."""
        nemeses: list[Nemesis] = [KillActor(), KillServer(self._connection.settings)]
        if host_too:
            nemeses.append(KillHost(run))
        client = Client(self._connection.pool, self._history)
        if not await client.do("write", self._business, write, self._url, self._value):
            raise RuntimeError(f"{self._business} could not write; the history says why")
        before = live_ledger(self._business)
        await self._strike(nemeses)
        began = time.monotonic()
        if host_too:
            await self._connection.again()
        client = Client(self._connection.pool, self._history)
        await self._look(client, began + RESTART_TIMEOUT_S)
        names = " + ".join(nemesis.name for nemesis in nemeses)
        say(f"{names}: {self._business} looked after {time.monotonic() - began:.2f} s")
        if before:
            await client.write_stale(self._business, before.token)

    async def _strike(self, nemeses: list[Nemesis]) -> None:
        blows = (asyncio.to_thread(nemesis.strike, self._business) for nemesis in nemeses)
        fired = await asyncio.gather(*blows)
        op = None
        for nemesis, hit in zip(nemeses, fired, strict=True):
            op = self._history.add(Kind.FAULT, nemesis.name, self._business, op, hit)

    async def _look(self, client: Client, deadline: float) -> None:
        while not await client.do("read", self._business, read, self._url, idempotent=True):
            if time.monotonic() > deadline:
                return
            await asyncio.sleep(0.2)

"""A stage: businesses work in one fleet while one fault after the other strikes them."""

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from random import Random

from tests.chaos import targets
from tests.chaos.caller import NoAnswer, Refused
from tests.chaos.client import Client, say
from tests.chaos.evidence import Final
from tests.chaos.history import EVERYWHERE, Kind
from tests.chaos.nemesis import Nemesis
from tests.chaos.workers import Performer, Publisher, Worker
from tests.sites.rotating.server import RotatingSite
from tests.sites.server import AllauthSite

PAUSE_S = (0.5, 3.0)
"""Bounds of the random time from a recovery to the next strike."""
TARGET_TIMEOUT_S = 10.0
"""How long a target may take to be there: it may just be coming back."""
RECOVERY_TIMEOUT_S = 240.0


@dataclass(frozen=True)
class Plan:
    """How much is to be done."""

    businesses: int
    seconds: float
    """For how long faults go on; each happens once in any case."""
    rng: Random


@contextlib.asynccontextmanager
async def at_work(mark: str, count: int) -> AsyncIterator[list[Worker]]:
    """Run both sites, with an account for each of *count* businesses, by turns."""
    with RotatingSite(users=count) as rotating, AllauthSite(users=count) as allauth:
        workers: list[Worker] = []
        for number in range(count):
            business = f"{mark}-{number + 1}"
            if number % 2:
                workers.append(Publisher(business, allauth, allauth.users[number]))
            else:
                workers.append(Performer(business, rotating, rotating.users[number]))
        yield workers


class Stage:
    """Strikes, and looks how the fleet gets over it.

    Args:
        client: Of the fleet.
        workers: Its businesses.
        plan: How much is to be done.
        reconnects: Whether the fleet itself is struck, so that its scripts must start over.
    """

    def __init__(
        self, client: Client, workers: Sequence[Worker], plan: Plan, *, reconnects: bool = False
    ) -> None:
        self._client, self._workers, self._plan = client, workers, plan
        self._history, self._reconnects = client.history, reconnects

    async def run(self, nemeses: Sequence[Nemesis]) -> Final:
        """Strike with each of *nemeses*, and again until the time is over; return what is left."""
        for worker in self._workers:
            await worker.sign_in(self._client)
        over = asyncio.Event()
        working = [asyncio.create_task(w.work(self._client, over)) for w in self._workers]
        try:
            for nemesis in self._order(nemeses):
                await asyncio.sleep(self._plan.rng.uniform(*PAUSE_S))
                await self._strike(nemesis, self._plan.rng.choice(self._workers))
        finally:
            over.set()
            await asyncio.gather(*working)
        for worker in self._workers:
            await worker.finish(self._client)
            await self._client.ready(worker.business)
        finals = [worker.final() for worker in self._workers]
        return sum(finals, Final(planned=tuple(n.name for n in nemeses)))

    def _order(self, nemeses: Sequence[Nemesis]) -> Iterator[Nemesis]:
        """Yield each once, then any that fired before until the time is over."""
        deadline = time.monotonic() + self._plan.seconds
        yield from self._plan.rng.sample(nemeses, len(nemeses))
        fired = {event.f for event in self._history.events if event.kind is Kind.FAULT}
        able = [n for n in nemeses if n.name in fired]
        while able and time.monotonic() < deadline:
            yield self._plan.rng.choice(able)

    async def _strike(self, nemesis: Nemesis, worker: Worker) -> None:
        where = EVERYWHERE if nemesis.everywhere else worker.business
        browsers, ledger = self._browsers(), targets.live_ledger(worker.business)
        if not await self._struck(nemesis, worker.business):
            say(f"{nemesis.name} {where}: did not fire")
            self._history.add(Kind.MISSED, nemesis.name, where)
            await nemesis.heal()
            return
        began = time.monotonic()
        op = self._history.add(Kind.FAULT, nemesis.name, where, value=True)
        healing = asyncio.create_task(self._heal(nemesis, where, op))
        back = await self._back(nemesis, worker, began)
        await healing
        if not back:
            say(f"{nemesis.name} {where}: not recovered")
            return
        seconds = round(back - began, 2)
        changed = self._changed(browsers) if nemesis.spares_browsers else []
        value = {"seconds": seconds, "changed": changed}
        self._history.add(Kind.RECOVERED, nemesis.name, where, op, value)
        say(f"{nemesis.name} {where}: back after {seconds:.2f} s{' changed' if changed else ''}")
        after = targets.live_ledger(worker.business)
        if ledger and after and after.token > ledger.token:
            await self._client.write_stale(worker.business, ledger.token)

    async def _struck(self, nemesis: Nemesis, business: str) -> bool:
        deadline = time.monotonic() + TARGET_TIMEOUT_S
        while not await nemesis.strike(business):
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(0.1)
        return True

    async def _heal(self, nemesis: Nemesis, where: str, op: int) -> None:
        if nemesis.hold_s:
            await asyncio.sleep(nemesis.hold_s)
            await nemesis.heal()
            self._history.add(Kind.HEALED, nemesis.name, where, op)

    async def _back(self, nemesis: Nemesis, worker: Worker, began: float) -> float | None:
        """Return when the business answered again and what was struck was there again."""
        deadline = began + RECOVERY_TIMEOUT_S
        for attempt in itertools.count():
            if time.monotonic() > deadline:
                break
            if attempt and self._reconnects and not await self._again():
                continue
            patience = min(deadline - time.monotonic(), 20.0 if self._reconnects else 120.0)
            answered = await worker.who(self._client, max(patience, 1.0))
            if answered and await asyncio.to_thread(nemesis.over, worker.business):
                return time.monotonic()
            await asyncio.sleep(0.1)
        return None

    async def _again(self) -> bool:
        """Start over with a fresh script, as somebody would whose script hangs."""
        try:
            await self._client.again()
        except (Refused, NoAnswer) as error:
            say(f"no fleet yet: {error}")
            await asyncio.sleep(1.0)
            return False
        return True

    def _browsers(self) -> dict[str, object]:
        found = {w.business: targets.live_ledger(w.business) for w in self._workers}
        return {b: ledger.browser for b, ledger in found.items() if ledger and ledger.browser}

    def _changed(self, before: dict[str, object]) -> list[str]:
        after = self._browsers()
        return sorted(b for b, browser in before.items() if after.get(b) != browser)

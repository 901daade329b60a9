"""Two clusters on one Redis want the same business: one has it, the other is told who."""

import asyncio
import contextlib
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos import targets
from tests.chaos.client import Client
from tests.chaos.history import Kind
from tests.chaos.nemesis import Nemesis

LOCKED = "SESSION_LOCKED"
ASK_EVERY_S = 0.5
ANSWER_S = 20.0


@dataclass
class SecondCluster(Nemesis):
    """Another cluster starts and asks for the business whose actor has just been killed here.

    It fires when both have asked: the other cluster's answer is in the history, whatever it is.
    """

    first: Client = field(kw_only=True)
    _stack: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)
    _asking: asyncio.Task[None] | None = None

    async def strike(self, business_id: str) -> bool:
        directory = self._stack.enter_context(
            tempfile.TemporaryDirectory(prefix="raypool-chaos-", ignore_cleanup_errors=True)
        )
        fleet = self.first.fleet.beside(Path(directory))
        second = await self._stack.enter_async_context(Client(fleet, self.first.history))
        actor = await asyncio.to_thread(targets.actor, business_id)
        if actor is None or not await asyncio.to_thread(targets.kill, actor):
            await self.heal()
            return False
        answered = await self._ask(second, business_id)
        self._asking = asyncio.create_task(self._go_on(second, business_id))
        return answered

    async def heal(self) -> None:
        if self._asking:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)
            self._asking = None
        await self._stack.aclose()

    async def _go_on(self, second: Client, business_id: str) -> None:
        while True:
            await self._ask(second, business_id)
            await asyncio.sleep(ASK_EVERY_S)

    async def _ask(self, second: Client, business_id: str) -> bool:
        """Ask for the business; tell whether the answer says who has it: this cluster or the other."""
        held = await second.do(
            "hold", business_id, "tests.chaos.work:page_url", idempotent=True, patience=ANSWER_S
        )
        answers = [e for e in second.history.events if e.f == "hold" and e.kind is Kind.FAIL]
        locked = bool(answers) and answers[-1].value["code"] == LOCKED
        return held is not None or locked

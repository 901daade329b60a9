"""Two clusters on one Redis want the same business: one has it, the other is told who."""

import asyncio
import contextlib
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos import targets
from tests.chaos.client import Client
from tests.chaos.history import Kind
from tests.chaos.nemesis import Nemesis, happened

LOCKED = "SESSION_LOCKED"
ASK = "hold"
LOCKED_AFTER_S = 30.0
ASK_EVERY_S = 0.2
ANSWER_S = 90.0


@dataclass
class SecondCluster(Nemesis):
    """Another cluster starts and asks for a business that has just been let go here.

    It fires when the other cluster was told who has the business, or has it.
    """

    first: Client = field(kw_only=True)
    gently: bool = False
    """Stopped as a user would, after an acknowledged checkpoint; else its actor is killed."""
    _stack: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)
    _asking: asyncio.Task[None] | None = None

    async def strike(self, business_id: str) -> bool:
        directory = self._stack.enter_context(
            tempfile.TemporaryDirectory(prefix="raypool-chaos-", ignore_cleanup_errors=True)
        )
        before = len(self.first.history.events)
        fleet = self.first.fleet.beside(Path(directory), LOCKED_AFTER_S)
        second = await self._stack.enter_async_context(Client(fleet, self.first.history))
        self._asking = asyncio.create_task(self._go_on(second, business_id))
        if not await self._let_go(business_id):
            await self.heal()
            return False
        return await happened(lambda: self._answered(before), ANSWER_S)

    async def _let_go(self, business_id: str) -> bool:
        if self.gently:
            return await self.first.remove(business_id)
        actor = await asyncio.to_thread(targets.actor, business_id)
        if actor is None or not await asyncio.to_thread(targets.kill, actor):
            return False
        self.first.history.add(Kind.BLOW, self.name, business_id)
        return True

    async def heal(self) -> None:
        if self._asking:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)
            self._asking = None
        await self._stack.aclose()

    async def _go_on(self, second: Client, business_id: str) -> None:
        while True:
            await second.do(
                ASK, business_id, "tests.chaos.work:page_url", idempotent=True, patience=ANSWER_S
            )
            await asyncio.sleep(ASK_EVERY_S)

    def _answered(self, since: int) -> bool:
        """Tell whether the other cluster got the business, or was told that this one has it."""
        ends = [e for e in self.first.history.events[since:] if e.f == ASK]
        told = {e.value["code"] for e in ends if e.kind is Kind.FAIL}
        return LOCKED in told or any(e.kind is Kind.OK for e in ends)

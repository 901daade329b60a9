"""What an instance does beside its commands: look after browser, page, store and memory.

A round is short and gives way to commands. It finds what nobody reports: a Chromium or a driver that
was stopped, one that answers nothing, a page whose script does not end, a store that came back without
the newest writes, a browser that has grown old or fat.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from actors.keeper import now
from actors.signin_watch import SignInWatch
from actors.turns import Turns
from actors.visits import Visits
from actors.workplace import Workplace
from raypool.config import Settings
from raypool.errors import BrowserError, RaypoolError, SessionNotFound
from raypool.logs import get_logger

log = get_logger(__name__)

ROUND_S = 0.25
PING_EVERY_S = 2.0
PING_TIMEOUT_S = 3.0
PAGE_EVERY_S = 5.0
PAGE_TIMEOUT_S = 5.0
STORE_EVERY_S = 10.0
MEMORY_EVERY_S = 10.0
MISSES = 2
"""Times in a row that something must be found wrong before the browser is replaced."""


@dataclass(frozen=True)
class Limits:
    """When a browser that works is replaced all the same."""

    age: float
    """Seconds; 0: never."""
    memory: int
    """Bytes of driver and browser; 0: any."""
    pages: int
    """Pages opened in its life; 0: any."""

    @classmethod
    def of(cls, settings: Settings) -> "Limits":
        """Return what the settings say."""
        return cls(settings.recycle_after, settings.recycle_memory * 2**20, settings.recycle_pages)

    def passed(self, age: float, memory: int, pages: int) -> str:
        """Return which limit a browser has passed; empty when none."""
        if self.age and age > self.age:
            return f"it is {age:.0f} s old"
        if self.memory and memory > self.memory:
            return f"it uses {memory / 2**20:.0f} MB"
        return f"it has opened {pages} pages" if self.pages and pages > self.pages else ""


@dataclass(frozen=True)
class Orders:
    """What a round may ask of the instance."""

    rebuild: Callable[[str], None]
    """The browser is of no use any more: from the last checkpoint, at once."""
    recycle: Callable[[], Awaitable[None]]
    """Save, then replace it. Called with the turn held."""
    looked: Callable[[], Awaitable[None]]
    """Somebody looked whether it is signed in."""
    end: Callable[[str], Awaitable[None]]
    """This life is over."""


class Rounds:
    """The upkeep of one incarnation's browser.

    Args:
        place: The browser.
        turns: Upkeep that touches the page takes a turn, when it is free.
        visits: Who is attached.
        limits: When a browser is replaced.
        watch: When it is looked whether the business is signed in.
        orders: What may be asked of the instance.
    """

    def __init__(
        self,
        place: Workplace,
        turns: Turns,
        visits: Visits,
        limits: Limits,
        watch: SignInWatch,
        orders: Orders,
    ) -> None:
        self._place, self._turns, self._visits = place, turns, visits
        self._limits, self._watch, self._orders = limits, watch, orders
        self.memory = 0
        """Bytes of driver and browser when last looked at."""
        self.store_due = False
        """Whether the store must be looked at in the next round: it was away."""
        self._stopped, self._missed, self._hung = 0, 0, 0
        self._last: dict[str, float] = {}

    async def run(self) -> None:
        """Make rounds until cancelled. A round may wait for an answer; a stop is seen meanwhile."""
        looking = asyncio.ensure_future(_again_and_again(self._look_for_stop))
        try:
            await _again_and_again(self.make)
        finally:
            looking.cancel()

    async def _look_for_stop(self) -> None:
        """Have a browser replaced that somebody stopped."""
        # Our own keeper freezes one that is off line: so that is asked after the look.
        stopped = self._on_line() and self._place.present.stopped() and not self._place.off_line
        self._stopped = self._stopped + 1 if stopped else 0
        if self._stopped >= MISSES:
            self._replace("it was stopped")

    async def make(self) -> None:
        """Make one round."""
        if not self._on_line():
            return
        await self._weigh()
        if self._visits.present:
            self._turns.touch()
        if await self._wedged() or not self._on_line():
            return
        async with self._turns.take_if_free() as free:
            if free and self._on_line():
                await self._upkeep()

    def _on_line(self) -> bool:
        return self._place.browser is not None and not self._place.off_line

    async def _wedged(self) -> bool:
        """Have a browser replaced that does not answer; tell whether it is of no use now."""
        if self._stopped:
            return True
        if not self._due("ping", PING_EVERY_S):
            return False
        off_before = self._place.off_line_seconds()
        answered = await self._place.answers(PING_TIMEOUT_S)
        if not self._on_line() or self._place.off_line_seconds() > off_before:
            return True
        self._missed = 0 if answered else self._missed + 1
        return self._missed >= MISSES and self._replace("it does not answer")

    def _replace(self, reason: str) -> bool:
        self._stopped, self._missed, self._hung = 0, 0, 0
        self._orders.rebuild(reason)
        return True

    async def _upkeep(self) -> None:
        """Do what takes the page for itself."""
        # An attached driver may hold a dialog open on purpose: that hangs a page as well.
        due = not self._visits.present and self._due("page", PAGE_EVERY_S)
        if due and not await self._page_answers():
            return
        if self.store_due or self._due("store", STORE_EVERY_S):
            await self._reassure()
        if self._place.browser is not None:
            await self._visits.look_after(self._place)
        await self._look()
        if self._place.browser is not None and not self._visits.present:
            await self._recycle(self._place.browser.started_at, self._place.browser.pages_opened)

    async def _look(self) -> None:
        """Look whether the business is still signed in; an attached driver may be signing it in."""
        place = self._place
        watched = place.session.spec.probe is not None and not self._visits.present
        if watched and self._on_line() and self._watch.is_due(now() - place.looked_at):
            await place.verify()
            await self._orders.looked()

    async def _page_answers(self) -> bool:
        """Look whether the page's scripts come to an end; replace the browser when they never do."""
        off_before = self._place.off_line_seconds()
        try:
            await self._place.present.check_page(PAGE_TIMEOUT_S)
        except BrowserError as error:
            if self._on_line() and self._place.off_line_seconds() == off_before:
                self._hung += 1
                if self._hung >= MISSES:
                    self._replace(error.message)
            return False
        self._hung = 0
        return True

    async def _reassure(self) -> None:
        try:
            await self._place.reassure()
            self.store_due = False
        except SessionNotFound as error:
            await self._orders.end(f"its session cannot be kept: {error.message}")
        except RaypoolError as error:  # a password that is being changed costs no browser
            log.warning("store not looked at", error=error.message)

    async def _recycle(self, started_at: float, pages: int) -> None:
        age = asyncio.get_running_loop().time() - started_at
        if why := self._limits.passed(age, self.memory, pages):
            log.info("browser recycled", reason=why)
            await self._orders.recycle()

    async def _weigh(self) -> None:
        if self._due("memory", MEMORY_EVERY_S):
            self.memory = await asyncio.to_thread(self._place.present.memory)

    def _due(self, what: str, every: float) -> bool:
        if now() - self._last.get(what, 0.0) < every:
            return False
        self._last[what] = now()
        return True


async def _again_and_again(turn: Callable[[], Awaitable[None]]) -> None:
    while True:
        await asyncio.sleep(ROUND_S)
        try:
            await turn()
        except Exception as error:  # noqa: BLE001 -- a bad round must not end the upkeep
            log.warning("round failed", error=repr(error))

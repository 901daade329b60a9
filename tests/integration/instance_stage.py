"""One incarnation on the store's twin and on a browser that does as it is told."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from actors.life import Incarnation
from actors.ports import Stores
from actors.session import InstanceSession
from raypool.config import Settings
from raypool.errors import ErrorCodes, create_error
from raypool.model import Checkpoint, Holder, Session
from raypool.store.base import LeaseStore
from raypool.store.memory import MemoryStore


class FakeState:
    def __init__(self, parts: Mapping[str, bytes]) -> None:
        self.parts, self.warnings = dict(parts), []


class FakeBrowser:
    """A browser whose state is a dictionary; it dies, stops and hangs when a test says so.

    While its processes are frozen it answers nothing, like the real one.
    """

    driver_pid, browser_pid = 11, 12
    components = (None, None)
    url = ""

    def __init__(self, home: "FakeHome", parts: Mapping[str, bytes], on_lost: Any) -> None:
        self.home, self.state, self.on_lost = home, dict(parts), on_lost
        self.diary = home.diary
        self.alive, self.hangs, self.is_stopped, self.page_hangs = True, False, False, False
        self.pings = 0
        self.started_at, self.pages_opened, self.bytes = time.monotonic(), 1, 1
        self.collected = 0
        self.changed, self.known = asyncio.Event(), dict(parts)
        self._loop = asyncio.get_running_loop()

    async def acts(self) -> None:
        """Do anything: what a frozen or dead browser does not."""
        while self.alive and (self.home.frozen or self.hangs):
            await asyncio.sleep(0.01)
        if not self.alive:
            raise RuntimeError("the browser is gone")

    async def page(self) -> "FakeBrowser":
        return self

    async def open_tabs(self, parts: Mapping[str, bytes], warnings: list[str]) -> None:
        await self.acts()
        self.diary.append("tabs")

    def tell(self) -> None:
        """Have what changed by itself be known."""
        self.known = dict(self.state)
        self.changed.set()

    async def collect(self, *, everything: bool) -> FakeState:
        self.changed.clear()
        await self.acts()
        if everything:
            self.collected += 1
            self.known = dict(self.state)
        return FakeState(self.known)

    async def close(self) -> None:
        self.diary.append("closed")

    async def ping(self) -> None:
        self.pings += 1
        if not self.alive:
            await asyncio.Event().wait()
        await self.acts()

    async def check_page(self, timeout: float) -> None:
        try:
            async with asyncio.timeout(timeout):
                await self.acts()
        except TimeoutError:
            raise _browser_error("the page does not answer") from None
        if self.page_hangs:
            raise _browser_error("the page does not answer")

    def stopped(self) -> bool:
        return self.is_stopped or self.home.frozen

    async def bind(self, host: str) -> str:
        return f"ws://{host}/secret"

    async def unbind(self) -> None:
        self.diary.append("unbound")

    async def tidy(self) -> int:
        return 0

    async def active_page_id(self) -> str:
        return "page-1"

    def abandon(self) -> None:
        self.on_lost = None

    async def release(self) -> None:
        pass

    def memory(self) -> int:
        return self.bytes

    def die(self) -> None:
        self.alive = False
        if self.on_lost:
            self.on_lost("killed by the test")

    def killed(self) -> None:
        """Its processes were killed, from whatever thread: the news come to the loop."""
        self.alive = False
        self._loop.call_soon_threadsafe(self.die)


class FakeHome:
    """An incarnation's directory; what the keeper's thread does to the browser shows here."""

    def __init__(self, diary: list[str]) -> None:
        self.diary = diary
        self.deadlines: list[float] = []
        self.browser: FakeBrowser | None = None
        self.frozen, self.freezes = False, True

    def set_deadline(self, at: float) -> None:
        self.deadlines.append(at)

    def freeze(self) -> bool:
        self.diary.append("frozen")
        self.frozen = self.freezes
        return self.freezes

    def thaw(self) -> None:
        if self.frozen:
            self.diary.append("thawed")
        self.frozen = False

    def kill_browser(self) -> None:
        self.diary.append("killed")
        if self.browser:
            self.browser.killed()

    def wait_gone(self, timeout: float) -> bool:
        return True

    def remove(self) -> None:
        self.diary.append("removed")


class FakeLauncher:
    def __init__(self, diary: list[str]) -> None:
        self.diary = diary
        self.browsers: list[FakeBrowser] = []
        self.homes: list[FakeHome] = []
        self.failures: list[Exception] = []
        self.specs: list[Any] = []

    def home(self, business_id: str, token: int, holder_id: str = "") -> FakeHome:
        self.diary.append("home")
        self.homes.append(FakeHome(self.diary))
        return self.homes[-1]

    async def launch(
        self, spec: Any, home: Any, parts: Mapping[str, bytes], on_lost: Callable[[str], None]
    ) -> tuple[FakeBrowser, list[str]]:
        self.diary.append("launched")
        self.specs.append(spec)
        if self.failures:
            raise self.failures.pop(0)
        home.browser = FakeBrowser(home, parts, on_lost)
        self.browsers.append(home.browser)
        return home.browser, []


class Wire:
    """What lies between an instance and a part of its store; cut when a test says so."""

    def __init__(self, there: Any, stage: "Stage") -> None:
        self._there, self._stage = there, stage

    def __getattr__(self, name: str) -> Any:
        asked = getattr(self._there, name)

        async def ask(*args: Any, **kwargs: Any) -> Any:
            if self._stage.away:
                self._stage.refused += name == "save"
                raise create_error(self._stage.refusal, "away")
            return await asked(*args, **kwargs)

        return ask


class Stage:
    """The surroundings of a life, and what a test does to them."""

    def __init__(self, session: Session, store: MemoryStore, **settings: Any) -> None:
        self.diary: list[str] = []
        self.session, self.store = session, store
        self.launcher = FakeLauncher(self.diary)
        self.ended: list[str] = []
        self.away, self.refused = False, 0
        """How many saves found it away."""
        self.refusal = ErrorCodes.STORAGE_UNAVAILABLE
        """Whether the store cannot be reached."""
        self.broken_connections = 0
        self.settings = Settings(**{"lease_ttl": 2, **settings})

    def life(self, holder: str = "h1", supersedes: str | None = None) -> InstanceSession:
        stores = Stores(
            Wire(self.store.sessions, self),  # type: ignore[arg-type]
            Wire(self.store.leases, self),  # type: ignore[arg-type]
            Wire(self.store.checkpoints, self),  # type: ignore[arg-type]
            self.store.breakers,
        )
        incarnation = Incarnation(
            "b1", self.session.id, Holder(id=holder, cluster="here"), supersedes=supersedes
        )
        return InstanceSession(
            incarnation,
            self.settings,
            stores,
            self.launcher,  # type: ignore[arg-type]
            self._open_leases,
            self.ended.append,
        )

    async def started(self) -> InstanceSession:
        """Return a life that is ready."""
        life = self.life()
        await life.start()
        return life

    @asynccontextmanager
    async def _open_leases(self) -> AsyncIterator[LeaseStore]:
        if self.broken_connections > 0:
            self.broken_connections -= 1
            raise create_error(self.refusal, "away")
        yield Wire(self.store.leases, self)  # type: ignore[misc]

    @property
    def browser(self) -> FakeBrowser:
        return self.launcher.browsers[-1]

    @property
    def home(self) -> FakeHome:
        return self.launcher.homes[-1]

    async def saved(self) -> Checkpoint | None:
        """Return what the store holds."""
        return await self.store.checkpoints.load(self.session.id)

    async def eventually(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                await asyncio.sleep(0.01)

    async def off_line(self) -> None:
        """Cut the store off, and return when the browser is off line for that."""
        self.away = True
        await self.eventually(lambda: self.home.frozen)

    async def on_line(self, life: InstanceSession) -> None:
        """Bring the store back, and return when the browser is on line."""
        self.away = False
        await self.eventually(lambda: not life.describe()["off_line"])


async def make_stage(**settings: Any) -> Stage:
    """Return a stage with a business ``b1``; *settings* lie over those of a short lease."""
    store = MemoryStore()
    return Stage(await store.sessions.ensure_active("b1"), store, **settings)


def _browser_error(message: str) -> Exception:
    return create_error(ErrorCodes.BROWSER_CRASHED, message)


def writes(name: str, value: bytes) -> Callable[[Any], Any]:
    """Return a function that changes the browser's state."""

    async def work(page: FakeBrowser) -> str:
        page.state[name] = value
        return "done"

    return work


async def for_ever(page: FakeBrowser) -> None:
    """Never end."""
    await asyncio.Event().wait()


async def cookies(page: FakeBrowser) -> bytes:
    """Return what the browser holds."""
    return page.state["cookies"]


def block(seconds: float) -> None:
    """Give the event loop no turn for a while."""
    threading.Event().wait(seconds)

"""What the actors need from the world, as they need it. The real things satisfy these by shape."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from actors.life import Death, Incarnation, StopResult
from raypool.spec import SessionSpec
from raypool.store.base import BreakerStore, CheckpointStore, LeaseStore, SessionStore


@dataclass(frozen=True)
class Stores:
    """The durable side, whole."""

    sessions: SessionStore
    leases: LeaseStore
    checkpoints: CheckpointStore
    breakers: BreakerStore


class State(Protocol):
    """What was read from a browser."""

    @property
    def parts(self) -> Mapping[str, bytes]:
        """Named parts."""
        ...

    @property
    def warnings(self) -> list[str]:
        """What could not be read."""
        ...


class Browser(Protocol):
    """A live browser, as an instance uses it."""

    driver_pid: int
    browser_pid: int
    started_at: float
    """``time.monotonic()`` when it was up."""
    pages_opened: int
    """Pages so far, closed ones too."""

    @property
    def components(self) -> tuple[Any, Any]:
        """Playwright's browser and context."""
        ...

    @property
    def url(self) -> str:
        """Where the active page is; empty when there is none."""
        ...

    async def page(self) -> Any:
        """Return the active page, a new one when it was closed."""

    async def open_tabs(self, parts: Mapping[str, bytes], warnings: list[str]) -> None:
        """Bring back the saved tabs."""

    @property
    def changed(self) -> asyncio.Event:
        """Set when the state may be other than it was last collected."""
        ...

    async def collect(self, *, everything: bool) -> State:
        """Return the whole state; read all that is open, or only what is known to have changed."""
        ...

    async def anew(
        self, spec: SessionSpec, parts: Mapping[str, bytes]
    ) -> "tuple[Browser, list[str]]":
        """Return the same processes holding *parts* instead, as if they had just been started."""
        ...

    async def close(self) -> None:
        """Close in order, bounded."""

    async def ping(self) -> None:
        """Return when it answered."""

    async def check_page(self, timeout: float) -> None:
        """Return when the active page answered; raise BrowserError when it did not in time."""

    def stopped(self) -> bool:
        """Tell whether somebody stopped one of its main processes."""
        ...

    async def bind(self, host: str) -> str:
        """Return an endpoint for attached clients. Idempotent."""
        ...

    async def unbind(self) -> None:
        """Cut them off."""

    async def tidy(self) -> int:
        """Close the contexts that they left behind; return how many."""
        ...

    async def active_page_id(self) -> str:
        """Return the id by which they find the active page."""
        ...

    def abandon(self) -> None:
        """Stop reporting its death."""

    async def release(self) -> None:
        """Let go of what is left when its processes were killed."""

    def memory(self) -> int:
        """Bytes of the whole tree."""
        ...


class Home(Protocol):
    """The private directory of one incarnation and the processes noted in it."""

    def set_deadline(self, at: float) -> None:
        """Note until when the owner may act (``CLOCK_BOOTTIME`` s); the janitor enforces it."""

    def freeze(self) -> bool:
        """Take the browser off line; tell whether all of it stands still."""
        ...

    def thaw(self) -> None:
        """Bring it back on line."""

    def kill_browser(self) -> None:
        """SIGKILL the whole tree."""

    def wait_gone(self, timeout: float) -> bool:
        """Block until the tree is gone."""
        ...

    def remove(self) -> None:
        """Delete it."""


class Launcher(Protocol):
    """Starts browsers on this node."""

    def home(self, business_id: str, token: int, holder_id: str = "") -> Home:
        """Make the directory of an incarnation; kills what dead owners left on this node."""
        ...

    async def launch(
        self,
        spec: SessionSpec,
        home: Any,
        parts: Mapping[str, bytes],
        on_lost: Callable[[str], None],
    ) -> tuple[Browser, list[str]]:
        """Start a browser that holds *parts*."""
        ...


class Handle(Protocol):
    """An actor that can be called, and the node that it lives on."""

    @property
    def node_id(self) -> str:
        """Who can vouch for its death."""
        ...


class Actors(Protocol):
    """Lives and deaths of business actors, as the supervisor's side uses them."""

    async def start(self, incarnation: Incarnation) -> Handle:
        """Create the actor and bring it up; returns its handle when ready."""
        ...

    async def find(self, business_id: str) -> tuple[Handle, dict[str, Any] | None] | None:
        """Return handle and description of an actor that is there; None for one that is not.

        The description is None when it did not answer.
        """

    async def businesses(self) -> list[str]:
        """Businesses that have an actor."""
        ...

    async def describe(self, handle: Any) -> dict[str, Any] | None:
        """Return what an actor says of itself; None when it does not answer."""

    async def stop(self, handle: Any, timeout: float) -> StopResult:
        """Stop gracefully."""
        ...

    async def hibernate(self, handle: Any, idle_for: float, timeout: float) -> StopResult | None:
        """Stop gracefully unless somebody has used it in the last *idle_for* seconds."""

    async def kill(self, handle: Any) -> None:
        """Kill at once."""

    async def death(self, handle: Any) -> Death:
        """Wait for the end."""
        ...

    async def is_lost(self, node_id: str) -> bool:
        """Tell whether a node is known to be dead; what ran there may live all the same."""
        ...

    async def owner_state(self, node_id: str, holder_id: str) -> str | None:
        """Return what a node says of an owner (running, stopped, dead); None: it says nothing."""

    async def end(self, node_id: str, holder_id: str) -> bool:
        """Have a node kill an owner and its browser; True when nothing of them is left."""
        ...

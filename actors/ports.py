"""What the actors need from the world, as they need it. The real things satisfy these by shape."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from raypool.spec import SessionSpec
from raypool.store.base import CheckpointStore, LeaseStore, SessionStore


@dataclass(frozen=True)
class Stores:
    """The durable side, whole."""

    sessions: SessionStore
    leases: LeaseStore
    checkpoints: CheckpointStore


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

    @property
    def components(self) -> tuple[Any, Any]:
        """Playwright's browser and context."""
        ...

    async def page(self) -> Any:
        """Return the active page, a new one when it was closed."""

    async def open_tabs(self, parts: Mapping[str, bytes], warnings: list[str]) -> None:
        """Bring back the saved tabs."""

    async def collect(self, previous: Mapping[str, bytes]) -> State:
        """Read the whole state."""
        ...

    async def close(self) -> None:
        """Close in order, bounded."""

    async def ping(self) -> None:
        """Return when it answered."""

    def abandon(self) -> None:
        """Stop reporting its death."""

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

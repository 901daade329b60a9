"""Run the rotating site in a process of its own."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.sites.process import SiteProcess

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


@dataclass(frozen=True)
class Account:
    """The credentials of one user of the site."""

    email: str
    password: str


@dataclass(frozen=True)
class Action:
    """Something that was done once, whoever asked for it how often."""

    key: str
    by: str
    """Who did it, in the words of whoever did it."""
    at: float
    """Monotonic seconds."""


@dataclass(frozen=True)
class Log:
    """What one user has done, as the site saw it."""

    sign_ins: int = 0
    replays: int = 0
    """Old cookies that were shown."""
    sign_outs: int = 0
    """Families that were signed out for a replay."""
    repeats: int = 0
    """Actions that were asked for again, and not done again."""
    actions: Sequence[Action] = ()
    """In the order in which they were done."""
    pings: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """Monotonic seconds at which each document of the user pinged."""


class RotatingSite(SiteProcess):
    """A running site with users; leaving the context kills it.

    Args:
        directory: Where the book is kept; a temporary one, removed at exit, if not given.
        users: How many users there are at least.
        ping_ms: How often a page pings, in milliseconds.
        host: Where to listen.
        port: Where to listen there; 0 takes a free port.
        start_timeout: Seconds until a site that does not accept connections is given up.
    """

    users: list[Account]

    def __init__(
        self,
        directory: Path | None = None,
        *,
        users: int = 3,
        ping_ms: int = 100,
        host: str = "127.0.0.1",
        port: int = 0,
        start_timeout: float = 30,
    ) -> None:
        options = ("--users", str(users), "--ping-ms", str(ping_ms), "--host", host)
        super().__init__("tests.sites.rotating", directory, port, start_timeout, options)

    def listening(self, ready: dict[str, Any]) -> None:
        """Take note of the users."""
        self.users = [Account(**user) for user in ready["users"]]

    def log(self, email: str) -> Log:
        """Return what the user has done so far."""
        found = self.ask("GET", "/test/log", email=email)
        actions = tuple(Action(*action) for action in found.pop("actions"))
        return Log(actions=actions, **found)

"""Run the allauth site in a process of its own, so that Django's settings stay out of the tests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.sites.process import SiteProcess

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Account:
    """The credentials of one user of the site."""

    email: str
    password: str
    totp_secret: str


@dataclass(frozen=True)
class Counters:
    """What one user has done, as the site saw it."""

    sign_ins: int
    notices: int
    devices: int
    posts: int


class AllauthSite(SiteProcess):
    """A running site with users; leaving the context kills it.

    Args:
        directory: Where the database is kept; a temporary one, removed at exit, if not given.
        users: How many users there are at least.
        port: Where to listen on 127.0.0.1; 0 takes a free port.
        start_timeout: Seconds until a site that does not accept connections is given up.
    """

    users: list[Account]

    def __init__(
        self,
        directory: Path | None = None,
        *,
        users: int = 3,
        port: int = 0,
        start_timeout: float = 30,
    ) -> None:
        options = ("--users", str(users))
        super().__init__("tests.sites.allauth_site", directory, port, start_timeout, options)

    def listening(self, ready: dict[str, Any]) -> None:
        """Take note of the users."""
        self.users = [Account(**user) for user in ready["users"]]

    def counters(self, email: str) -> Counters:
        """Return what the user has done so far."""
        return Counters(**self.ask("GET", "/test/counters/", email=email))

    def sign_out_everywhere(self, email: str) -> None:
        """End all sessions of the user, as the button on the page does; idempotent."""
        self.ask("POST", "/test/sign-out-everywhere/", email=email)

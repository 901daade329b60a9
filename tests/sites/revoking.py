"""The demo's site, which signs out whom it wants to, in the ways in which sites do that."""

from __future__ import annotations

from enum import StrEnum
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from raypool.demo.site import DemoSite, _Handler

if TYPE_CHECKING:
    from http.server import BaseHTTPRequestHandler


class Way(StrEnum):
    """What a browser gets whose session the site has ended."""

    SILENT = "silent"
    """The form to sign in, and nothing else."""
    CLEARS = "clears"
    """Its cookie is taken away."""
    REPLACES = "replaces"
    """Its cookie is replaced by a visitor's, of the same name."""


class RevokingSite(DemoSite):
    """A site that runs for the ``with`` block; it may end sessions, honour them again, and be down."""

    def __init__(self) -> None:
        super().__init__()
        self.way, self.down = Way.SILENT, False
        self._ended: dict[str, str] = {}

    def end_sessions(self, email: str) -> None:
        """Sign a user out everywhere."""
        for session in [s for s, owner in self._sessions.items() if owner == email]:
            self._ended[session] = self._sessions.pop(session)

    def honour(self, session: str) -> None:
        """Take an ended session for good again: it was only this browser that had lost it."""
        self._sessions[session] = self._ended.pop(session)

    def honour_all(self) -> None:
        """Take all ended sessions for good again."""
        self._sessions |= self._ended
        self._ended = {}

    def forget(self) -> None:
        """Forget all sessions, ended ones too."""
        self._sessions, self._ended = {}, {}

    def sessions(self, email: str) -> set[str]:
        """Return the sessions that a user has now."""
        return {s for s, owner in self._sessions.items() if owner == email}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        return type("Handler", (_Revoking,), {"site": self})


class _Revoking(_Handler):
    def do_GET(self) -> None:  # noqa: N802
        if self.site.down:
            self.send_response(HTTPStatus.SERVICE_UNAVAILABLE)
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            super().do_GET()

    def end_headers(self) -> None:
        stale = self.command == "GET" and self._cookie() and not self._known()
        if stale and not self.site.down and self.site.way is not Way.SILENT:
            value = "" if self.site.way is Way.CLEARS else "visitor"
            age = "; Max-Age=0" if self.site.way is Way.CLEARS else ""
            self.send_header("Set-Cookie", f"session={value}; Path=/; HttpOnly; SameSite=Lax{age}")
        super().end_headers()

    def _known(self) -> Any:
        return self.site.email_of(self._cookie())

"""What the site shows, and how its requests are answered."""

from __future__ import annotations

import html
import json
import secrets
from http import HTTPStatus
from http.cookies import SimpleCookie
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import parse_qs, quote, unquote, urlsplit

if TYPE_CHECKING:
    from tests.sites.rotating.book import Book

COOKIE = "rotating"
_MAX_BODY = 10_000
# An icon of its own would be one more request with the cookie, side by side with the page's.
_PAGE = '<!doctype html><link rel="icon" href="data:,"><title>{title}</title><main>{body}</main>'
_FORM = """<h1>Sign in</h1><form method="post" action="/sign-in">
<label>E-mail <input name="email" type="email"></label>
<label>Password <input name="password" type="password"></label>
<button>Sign in</button></form>"""
_HOME = """<h1 id="who">{email}</h1><p>Done: <output id="done">{done}</output></p>
<form method="post" action="/app/act"><label>Key <input name="key"></label>
<label>By <input name="by"></label><button>Act</button></form>
<script>
setInterval(() => fetch("/ping/{owner}/{document}", {{ credentials: "omit" }}).catch(() => 0), {every});
</script>"""


class Handler(BaseHTTPRequestHandler):
    """Answers requests; a subclass names the book.

    Only what lies below ``/app`` sees the cookie, and each response there rotates it. A page pings
    outside of it, under a name that is made anew each time the page is loaded: the pings tell
    one document, and so one browser, from another.
    """

    book: ClassVar[Book]
    ping_ms: ClassVar[int]
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        where = urlsplit(self.path)
        match where.path.split("/")[1:]:
            case ["app", ""]:
                self._home()
            case ["sign-in"]:
                self._show("Sign in", _FORM)
            case ["ping", owner, document]:
                self.book.ping(unquote(owner), document)
                self._answer(HTTPStatus.NO_CONTENT)
            case ["test", "log"]:
                found = self.book.log(parse_qs(where.query)["email"][0])
                self._answer(HTTPStatus.OK, json.dumps(found).encode(), "application/json")
            case _:
                self._answer(HTTPStatus.NOT_FOUND)

    def do_POST(self) -> None:
        length = min(int(self.headers.get("Content-Length", 0)), _MAX_BODY)
        form = {k: v[0] for k, v in parse_qs(self.rfile.read(length).decode()).items()}
        if self.path == "/sign-in":
            cookie = self.book.sign_in(form.get("email", ""), form.get("password", ""))
            self._go("/app/" if cookie else "/sign-in", cookie)
        elif self.path == "/app/act":
            shown = self._shown()
            if shown:
                self.book.act(shown[0], form.get("key", ""), form.get("by", ""))
            self._go("/app/" if shown else "/sign-in", shown[1] if shown else "")
        else:
            self._answer(HTTPStatus.NOT_FOUND)

    def _home(self) -> None:
        shown = self._shown()
        if shown is None:
            self._go("/sign-in", "")
            return
        email, cookie = shown
        body = _HOME.format(
            email=html.escape(email),
            done=self.book.actions(email),
            owner=quote(email),
            document=secrets.token_hex(6),
            every=self.ping_ms,
        )
        self._show("Home", body, cookie)

    def _shown(self) -> tuple[str, str] | None:
        morsel = SimpleCookie(self.headers.get("Cookie", "")).get(COOKIE)
        return self.book.show(morsel.value) if morsel else None

    def _show(self, title: str, body: str, cookie: str | None = None) -> None:
        page = _PAGE.format(title=title, body=body).encode()
        self._answer(HTTPStatus.OK, page, "text/html; charset=utf-8", _set(cookie))

    def _go(self, where: str, cookie: str | None) -> None:
        self._answer(HTTPStatus.SEE_OTHER, more={"Location": where, **_set(cookie)})

    def _answer(
        self,
        status: HTTPStatus,
        body: bytes = b"",
        kind: str = "",
        more: dict[str, str] | None = None,
    ) -> None:
        self.send_response(status)
        headers = {"Content-Type": kind, **(more or {}), "Cache-Control": "no-store"}
        if status is not HTTPStatus.NO_CONTENT:
            headers["Content-Length"] = str(len(body))
        for name, value in headers.items():
            if value:
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing: the tests have the terminal."""


def _set(cookie: str | None) -> dict[str, str]:
    """Return the header that sets a cookie of the browser session; takes it away when empty."""
    if cookie is None:
        return {}
    age = "" if cookie else "; Max-Age=0"
    return {"Set-Cookie": f"{COOKIE}={cookie}; Path=/app; HttpOnly; SameSite=Lax{age}"}

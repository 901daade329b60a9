"""Run the sites on loopback, in threads of the test's own process."""

from __future__ import annotations

import html
import json
import threading
from http import HTTPStatus
from http.cookies import SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar, Self
from urllib.parse import quote, unquote, urlsplit

from tests.sites.tokens import pages
from tests.sites.tokens.book import Book

DEVICE, WIDGET = "device", "widget"
_MAX_BODY = 10_000


class TokenSites:
    """All of them, for a ``with`` block; each counts its own sign-ins.

    Args:
        renew_ms: How often a page of ``oidc`` renews its token, in milliseconds.
    """

    def __init__(self, *, renew_ms: int = 1000) -> None:
        self.oidc, self.firebase, self.framed = Book(), Book(), Book()
        self.renew_ms = renew_ms
        handler = type("Handler", (_Handler,), {"sites": self})
        self._servers = [_Server((host, 0), handler) for host in ("127.0.0.1", "127.0.0.2")]
        self._port, self._other_port = (server.server_port for server in self._servers)

    def __enter__(self) -> Self:
        for server in self._servers:
            threading.Thread(target=server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()

    @property
    def oidc_url(self) -> str:
        """The site with its token in sessionStorage."""
        return f"http://oidc.localhost:{self._port}/oidc/"

    @property
    def firebase_url(self) -> str:
        """The site with its token in IndexedDB."""
        return f"http://app.firebase.localhost:{self._port}/firebase/"

    @property
    def welcome_url(self) -> str:
        """Where it sends whoever signed in: another site."""
        return f"http://127.0.0.1:{self._port}/firebase/welcome"

    @property
    def framed_url(self) -> str:
        """The site that knows only what a frame of another site tells it."""
        return f"http://app.framed.localhost:{self._port}/framed/"

    @property
    def widget_url(self) -> str:
        """That frame."""
        return f"http://127.0.0.2:{self._other_port}/framed/widget"

    @property
    def elsewhere(self) -> str:
        """A page of an origin that keeps nothing."""
        return f"http://elsewhere.localhost:{self._port}/elsewhere"

    def around(self, url: str) -> str:
        """Return a page of another origin of *url*'s own site that shows it in a frame."""
        site = ".".join((urlsplit(url).hostname or "").split(".")[-2:])
        return f"http://around.{site}:{self._port}/around/{quote(url, safe='')}"


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of browsers that are killed: that is what these sites are for."""


class _Handler(BaseHTTPRequestHandler):
    sites: ClassVar[Any]
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # headers and body are two writes: 40 ms between them

    def do_GET(self) -> None:
        sites: TokenSites = self.sites
        match self.path.split("/")[1:]:
            case ["oidc", ""]:
                self._show(pages.OIDC.replace("EVERY", str(sites.renew_ms)))
            case ["firebase", ""]:
                self._show(pages.FIREBASE.replace("WELCOME", json.dumps(sites.welcome_url)))
            case ["firebase", "welcome"]:
                self._show(pages.WELCOME)
            case ["framed", ""]:
                self._show(pages.FRAMED.replace("WIDGET", sites.widget_url))
            case ["framed", "widget"]:
                self._show(pages.WIDGET.replace("REFUSED", pages.NO_STORAGE))
            case ["elsewhere"]:
                self._show(pages.ELSEWHERE)
            case ["around", url]:
                self._show(pages.AROUND.replace("INNER", html.escape(unquote(url))))
            case _:
                self._answer(HTTPStatus.NOT_FOUND)

    def do_POST(self) -> None:
        sites: TokenSites = self.sites
        length = min(int(self.headers.get("Content-Length", 0)), _MAX_BODY)
        body = self.rfile.read(length).decode()
        match self.path.split("/")[1:]:
            case ["oidc", "sign-in"]:
                token = sites.oidc.sign_in()
                self._say(token, f"{DEVICE}={token.split('.')[0]}; Path=/oidc; HttpOnly")
            case ["oidc", "renew"]:
                self._say(sites.oidc.renew(body))
            case ["oidc", "sign-out"]:
                sites.oidc.sign_out(self._cookie(DEVICE))
                self._say("")
            case ["firebase", "sign-in"]:
                self._say(sites.firebase.sign_in())
            case ["firebase", "who"]:
                self._say("" if sites.firebase.knows(body) else None)
            case ["framed", "sign-in"]:
                token = sites.framed.sign_in()
                kept = "Path=/framed; HttpOnly; Secure; SameSite=None; Partitioned"
                self._say(token, f"{WIDGET}={token}; {kept}")
            case ["framed", "who"]:
                cookie = self._cookie(WIDGET)
                known = sites.framed.knows(cookie) and body in {cookie, pages.NO_STORAGE}
                self._say("" if known else None)
            case _:
                self._answer(HTTPStatus.NOT_FOUND)

    def _cookie(self, name: str) -> str:
        morsel = SimpleCookie(self.headers.get("Cookie", "")).get(name)
        return morsel.value if morsel else ""

    def _show(self, page: str) -> None:
        self._answer(HTTPStatus.OK, page.encode(), "text/html; charset=utf-8")

    def _say(self, text: str | None, cookie: str = "") -> None:
        """Answer a page's script; None refuses."""
        status = HTTPStatus.UNAUTHORIZED if text is None else HTTPStatus.OK
        self._answer(status, (text or "").encode(), "text/plain", cookie)

    def _answer(
        self, status: HTTPStatus, body: bytes = b"", kind: str = "", cookie: str = ""
    ) -> None:
        self.send_response(status)
        headers = {"Content-Type": kind, "Set-Cookie": cookie, "Cache-Control": "no-store"}
        for name, value in (headers | {"Content-Length": str(len(body))}).items():
            if value:
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing: the tests have the terminal."""

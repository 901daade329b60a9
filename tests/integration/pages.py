"""A site whose only purpose is state: cookies of every kind, and pages that behave badly."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

COOKIES = {
    "/cookies": (
        "session=1",
        "persistent=2; Max-Age=86400",
        "dated=3; Expires=Fri, 01 Jan 2038 00:00:00 GMT",
        "httponly=4; HttpOnly",
        "lax=5; SameSite=Lax",
        "strict=6; SameSite=Strict",
        "secure=7; Secure; SameSite=None",
        "pathed=8; Path=/deep",
        'quoted="a b"',
        "empty=",
        "partitioned=9; Secure; SameSite=None; Partitioned; Path=/",
        "__Secure-prefixed=10; Secure; Path=/",
        "__Host-prefixed=11; Secure; Path=/",
        "important=12; Priority=High",
    ),
    "/domain": ("host-only=11", "wide=12; Domain=shop.localhost; Max-Age=86400"),
}
_PAGE = b"<!doctype html><title>page</title><div style='height: 5000px; width: 3000px'>page</div>"
_ANONYMOUS = b"<iframe credentialless src='http://localhost:%d/cookies'></iframe>"
_WORKER = b"""onmessage = ({ data }) => data.delay && setTimeout(() => {
  const request = indexedDB.open("db", 1);
  request.onupgradeneeded = () => request.result.createObjectStore("tokens");
  request.onsuccess = () => {
    request.result.transaction("tokens", "readwrite").objectStore("tokens").put(data.value, "token");
    request.result.close();
  };
}, data.delay);"""
_HANGS = _PAGE + b"<script>onload = () => setTimeout(() => { while (true); }, 200)</script>"


class Pages:
    """The site, for a ``with`` block.

    Args:
        handler: Answers the requests.
    """

    def __init__(self, handler: type[BaseHTTPRequestHandler] | None = None) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler or _Handler)
        self._server.daemon_threads = True

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_port)

    @property
    def url(self) -> str:
        """Its address; ``*.localhost`` leads to it too."""
        return f"http://localhost:{self.port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        pages = {
            "/hangs": _HANGS,
            "/worker.js": _WORKER,
            "/anonymous": _ANONYMOUS % self.server.server_address[1],
        }
        body = pages.get(self.path, _PAGE)
        self.send_response(200)
        kind = "javascript" if self.path.endswith(".js") else "html"
        self.send_header("Content-Type", f"text/{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        for cookie in COOKIES.get(self.path, ()):
            self.send_header("Set-Cookie", cookie)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

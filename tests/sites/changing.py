"""A site whose pages change what they keep when asked to, under as many origins as wanted.

It runs in a process of its own: whoever measures a browser does not serve its pages beside.
"""

from __future__ import annotations

import argparse
import json
import sys
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.sites.process import SiteProcess, die_with

if TYPE_CHECKING:
    from playwright.async_api import Page

CHANGES = {
    "set_cookie": """async ([name, value]) => {
        await fetch(`/set/${name}/${value}`);
        return Date.now();
    }""",
    "document_cookie": """([name, value]) => {
        document.cookie = `${name}=${value}; path=/`;
        return Date.now();
    }""",
    "local_storage": """([name, value]) => {
        localStorage.setItem(name, value);
        return Date.now();
    }""",
    "indexed_db": """([name, value]) => new Promise((done, fail) => {
        const request = indexedDB.open("changing", 1);
        request.onerror = () => fail(request.error);
        request.onupgradeneeded = () => request.result.createObjectStore("values");
        request.onsuccess = () => {
            const change = request.result.transaction("values", "readwrite");
            change.objectStore("values").put(value, name);
            change.oncomplete = () => { done(Date.now()); request.result.close(); };
        };
    })""",
}
"""By name: scripts that take ``[name, value]`` and return when it was changed, in ms of the epoch."""

_READ = """() => new Promise((done) => {
    const local = { ...localStorage };
    const request = indexedDB.open("changing", 1);
    request.onupgradeneeded = () => request.result.createObjectStore("values");
    request.onerror = () => done([local, {}]);
    request.onsuccess = () => {
        const values = {}, read = request.result.transaction("values");
        read.objectStore("values").openCursor().onsuccess = ({ target: { result: cursor } }) => {
            if (!cursor) return;
            values[cursor.key] = cursor.value;
            cursor.continue();
        };
        read.oncomplete = () => { done([local, values]); request.result.close(); };
    };
})"""
_PAGE = b"""<!doctype html><link rel="icon" href="data:,"><title>changing</title>
<script>window.first = { ...localStorage };</script><main></main>"""
_HEAVY = _PAGE + b"".join(b'<script src="/script/%d.js"></script>' % n for n in range(10))


class ChangingSite(SiteProcess):
    """A running site; leaving the context kills it."""

    def __init__(self, start_timeout: float = 30) -> None:
        super().__init__("tests.sites.changing", None, 0, start_timeout)

    def origin(self, number: int) -> str:
        """Return the address of one of its origins, without a path."""
        return f"http://o{number}.localhost:{self.url.rpartition(':')[2]}"


async def read(page: Page, url: str) -> dict[str, str]:
    """Open the site at *url* and return all that its pages and answers keep in the browser.

    Cookies that scripts do not see are among it.
    """
    await page.goto(url)
    cookies = {cookie["name"]: cookie["value"] for cookie in await page.context.cookies(url)}
    local, values = await page.evaluate(_READ)
    return {**cookies, **local, **values}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of browsers that are killed: that is what this site is for."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # headers and body are two writes: 40 ms between them

    def do_GET(self) -> None:
        match self.path.split("/")[1:]:
            case [""]:
                self._answer(_PAGE, "text/html")
            case ["heavy"]:
                self._answer(_HEAVY, "text/html")
            case ["script", name]:
                self._answer(f"window.loaded = {name.split('.')[0]};".encode(), "text/javascript")
            case ["data", *_]:
                self._answer(b"x" * 1000, "text/plain")
            case ["set", name, value]:
                self._answer(b"", "text/plain", f"{name}={value}; Path=/; HttpOnly")
            case _:
                self._answer(b"", "text/plain", status=HTTPStatus.NOT_FOUND)

    def _answer(
        self, body: bytes, kind: str, cookie: str = "", status: HTTPStatus = HTTPStatus.OK
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


def main() -> None:
    """Serve on loopback; the one line on standard output comes when connections are accepted."""
    parser = argparse.ArgumentParser(prog="python -m tests.sites.changing")
    parser.add_argument("--directory", type=Path, required=True, help="not used: it keeps nothing")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--parent-pid", type=int, help="die when this process, the parent, dies")
    arguments = parser.parse_args()
    if arguments.parent_pid is not None:
        die_with(arguments.parent_pid)
    server = _Server(("127.0.0.1", arguments.port), _Handler)
    sys.stdout.write(json.dumps({"url": f"http://127.0.0.1:{server.server_port}"}) + "\n")
    sys.stdout.flush()
    server.serve_forever()


if __name__ == "__main__":
    main()

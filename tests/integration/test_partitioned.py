"""Storage that a browser divides by the site in the address bar comes back where it was.

Playwright starts Chromium with ``ThirdPartyStoragePartitioning`` off; here it is left on.
"""

import itertools
import shlex
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Frame

from raypool.browser.executable import find_chromium
from raypool.browser.live import LiveBrowser, launch
from raypool.browser.processes import InstanceDirectory
from raypool.spec import SessionSpec
from tests.integration.browsers import private_directory
from tests.integration.pages import Pages

STORE = """(value) => new Promise((resolve) => {
  localStorage.setItem('token', value);
  const request = indexedDB.open('db', 1);
  request.onupgradeneeded = () => request.result.createObjectStore('tokens').put(value, 'token');
  request.onsuccess = () => { request.result.close(); resolve(); };
})"""
HOLDS = """async () => {
  const names = (await indexedDB.databases()).map((database) => database.name);
  return [localStorage.getItem('token'), names];
}"""
NOTHING: list[Any] = [None, []]
_tokens = itertools.count(1)


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        frame = self.path.partition("?")[2]
        body = f"<!doctype html><iframe src='{frame}'></iframe>" if frame else "<!doctype html>page"
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def pages() -> Iterator[Pages]:
    """A site whose pages have a frame of the address after the question mark."""
    with Pages(_Handler) as pages:
        yield pages


@asynccontextmanager
async def divided(
    kind: str, directory: Path, parts: Mapping[str, bytes] | None = None
) -> AsyncIterator[LiveBrowser]:
    """Give the block a browser that divides storage; nothing of it is left."""
    real = find_chromium(kind, None).path
    wrapper = directory / "chromium"
    wrapper.write_text(
        f'#!/bin/bash\nexec {shlex.quote(str(real))} "${{@//ThirdPartyStoragePartitioning,/}}"\n'
    )
    wrapper.chmod(0o700)
    with private_directory():
        home = InstanceDirectory("divided", next(_tokens))
        live, warnings = await launch(
            SessionSpec(browser=kind), home, parts or {}, lambda _: None, wrapper
        )
        try:
            await live.open_tabs(parts or {}, warnings)
            yield live
        finally:
            await live.close()
            home.kill_browser()
            assert home.wait_gone(10)
            home.remove()


async def frame_in(live: LiveBrowser, top: str, frame: str) -> Frame:
    """Open *top* with a frame of *frame* in it, and return that."""
    page = await live.page()
    await page.goto(f"{top}/?{frame}/")
    (found,) = [f for f in page.frames if f.url == f"{frame}/"]
    return found


@pytest.mark.parametrize("kind", ["headless_shell", "chromium"])
async def test_storage_of_a_frame_comes_back_under_its_own_top_only(
    kind: str, pages: Pages, tmp_path: Path
) -> None:
    """A frame under one site, the same under another, and the framed site itself: three storages."""
    one, two, framed = (f"http://{name}.localhost:{pages.port}" for name in ("one", "two", "in"))
    async with divided(kind, tmp_path) as live:
        frame = await frame_in(live, one, framed)
        await frame.evaluate(STORE, "under one")
        await live.collect(everything=True)  # while it is there: a frame may go before it is known
        assert await (await frame_in(live, two, framed)).evaluate(HOLDS) == NOTHING  # it divides
        await (await live.page()).goto(f"{two}/")
        parts = (await live.collect(everything=True)).parts
    async with divided(kind, tmp_path, parts) as live:
        assert await (await frame_in(live, one, framed)).evaluate(HOLDS) == ["under one", ["db"]]
        assert await (await frame_in(live, two, framed)).evaluate(HOLDS) == NOTHING
        await (await live.page()).goto(f"{framed}/")
        assert await (await live.page()).evaluate(HOLDS) == NOTHING

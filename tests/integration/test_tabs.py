"""The saved tabs come back, each at its address; what is wrong with one costs that one only."""

import asyncio
import itertools
import json
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from raypool import state
from raypool.browser import restore, seeding
from raypool.browser.live import LiveBrowser, launch
from raypool.browser.processes import InstanceDirectory
from raypool.errors import BrowserError
from raypool.spec import SessionSpec
from tests.integration.browsers import private_directory
from tests.integration.pages import Pages
from tests.integration.saved import everything, tabs
from tests.integration.scripts import closed_port

AT_FIRST = b"""<!doctype html><script>
  const found = [Object.entries(localStorage), [], navigator.userAgent, innerWidth];
  indexedDB.databases().then((all) => {
    found[1] = all.map((database) => database.name);
    document.title = JSON.stringify(found);
  });
</script>"""
HOP = b"""<!doctype html><script>
  localStorage.setItem('at first', 'stored');
  addEventListener('pagehide', () => localStorage.setItem('at last', 'stored'));
  location.replace(location.hash.slice(1));
</script>"""
CLOSES = b"<!doctype html><script>close()</script>"
_asked: dict[str, list[str | None]] = {}
"""The header ``X-Kept`` of each request, by its path."""
_tokens = itertools.count(1)


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        plain = b"<!doctype html><title>page</title>page"
        body = {"/hop": HOP, "/shows": AT_FIRST, "/closes": CLOSES}.get(self.path, plain)
        _asked.setdefault(self.path, []).append(self.headers.get("X-Kept"))
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def pages() -> Iterator[Pages]:
    """A site, one of whose pages leaves with its first script."""
    with Pages(_Handler) as pages:
        yield pages


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a site that takes requests and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://localhost:{server.getsockname()[1]}"


@asynccontextmanager
async def started(
    kind: str = "headless_shell", parts: Mapping[str, bytes] | None = None, **context: Any
) -> AsyncIterator[LiveBrowser]:
    """Give the block a browser without tabs; nothing of it is left."""
    with private_directory():
        directory, spec = (
            InstanceDirectory("tabs", next(_tokens)),
            SessionSpec(browser=kind, context=context),
        )
        live, _ = await launch(spec, directory, parts or {}, lambda _: None)
        try:
            yield live
        finally:
            await live.close()
            directory.kill_browser()
            assert directory.wait_gone(10)
            directory.remove()


async def urls(live: LiveBrowser) -> list[str]:
    """Return where the tabs are, as they would be saved."""
    parts = (await live.collect(everything=True)).parts
    return [tab["url"] for tab in state.decode(state.TABS, parts[state.TABS])["tabs"]]


@pytest.mark.parametrize("kind", ["headless_shell", "chromium"])
async def test_tabs_come_back_in_order(kind: str, pages: Pages) -> None:
    """Several at once, whichever is there first."""
    saved = [f"{pages.url}/{number}" for number in range(4)]
    async with started(kind) as live:
        await live.open_tabs(tabs(*saved), warnings := [])
        assert [page.url for page in live.context.pages] == saved
        assert await urls(live) == saved
        assert not warnings


@pytest.mark.parametrize("kind", ["headless_shell", "chromium"])
async def test_a_restored_tab_is_equipped_before_its_first_request(
    kind: str, pages: Pages, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That has the headers of its context; its first script finds all storage, slow databases too."""
    monkeypatch.setattr(seeding, "AT_ONCE_S", 0.0)  # so that the page waits at the gate
    parts = tabs(f"{pages.url}/shows") | everything(pages.url)
    options = {
        "user_agent": "kept", "viewport": {"width": 777, "height": 500},
        "extra_http_headers": {"X-Kept": "yes"},
    }  # fmt: skip
    async with started(kind, parts, **options) as live:
        await live.open_tabs(parts, warnings := [])
        page = await live.page()
        await page.wait_for_function("document.title.startsWith('[')")
        found = json.loads(await page.title())
        assert found == [[["a", "1"]], ["db"], "kept", 777]
        assert _asked["/shows"][-1] == "yes"
        assert not warnings


@pytest.mark.parametrize("kind", ["headless_shell", "chromium"])
async def test_what_a_restored_tab_stores_before_it_leaves_is_known(
    kind: str, pages: Pages
) -> None:
    """Its first script stores something and goes elsewhere; maybe before anybody listens.

    And it stores something when it goes, which what it told of before does not have.
    """
    other = f"http://other.localhost:{pages.port}/"
    async with started(kind) as live:
        await live.open_tabs(tabs(f"{pages.url}/hop#{other}"), warnings := [])
        page = await live.page()
        await page.wait_for_url(other)
        found = await live.collect(everything=False)  # as while a command runs
        stored = f"local:{pages.url}/#0/1"
        assert b"at first" in found.parts[stored]
        found = await live.collect(everything=True)  # as at its end
        assert b"at last" in found.parts[stored]
        assert not warnings


async def test_a_tab_says_why_its_site_does_not_answer() -> None:
    """And the business stays where it was."""
    down = f"http://localhost:{closed_port()}/inbox"
    async with started() as live:
        await live.open_tabs(tabs(down), warnings := [])
        (warning,) = warnings
        assert "ERR_CONNECTION_REFUSED" in warning
        assert await urls(live) == [down]


@pytest.mark.parametrize("others", [[], ["up"]], ids=["alone", "beside another"])
async def test_a_tab_whose_site_is_silent_is_not_waited_for_long(
    others: list[str], silent: str, pages: Pages, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its page goes on waiting, and it is tried again with the next browser."""
    monkeypatch.setattr(restore, "ANSWER_TIMEOUT_S", 0.5)
    monkeypatch.setattr(restore, "TAB_TIMEOUT_S", 1.0)
    saved = [*(f"{pages.url}/{other}" for other in others), f"{silent}/inbox"]
    async with started() as live:
        await live.open_tabs(tabs(*saved), warnings := [])
        (warning,) = warnings
        assert warning.startswith(f"tab {silent.removeprefix('http://')} did not open: ")
        assert "Timeout 1000ms" in warning
        assert await urls(live) == saved
        assert [page.url for page in live.context.pages] == [*saved[:-1], "about:blank"]


async def test_a_tab_whose_page_closes_itself_is_opened_once_more(pages: Pages) -> None:
    """A page may do that where it began: the second one began empty, and may not."""
    asked = _asked.setdefault("/closes", [])
    async with started() as live:
        await live.open_tabs(tabs(f"{pages.url}/closes"), warnings := [])
        assert await urls(live) == [f"{pages.url}/closes"]
        assert len(asked) == 2  # the first did close itself
        assert not warnings


async def test_a_browser_that_dies_while_a_tab_opens_is_not_waited_for(silent: str) -> None:
    """The site never answers, and Chromium is killed meanwhile."""
    async with started() as live:
        opening = asyncio.ensure_future(live.open_tabs(tabs(f"{silent}/inbox"), []))
        await asyncio.sleep(1)
        assert not opening.done()
        began = time.monotonic()
        os.kill(live.browser_pid, signal.SIGKILL)
        with pytest.raises(BrowserError):
            await opening
        assert time.monotonic() - began < 5

"""A browser's state, read and put back, in one process: real Chromium, no Ray, no Redis."""

import asyncio
import contextlib
import itertools
import json
import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import psutil
import pytest

from raypool import state
from raypool.browser.live import LiveBrowser, launch
from raypool.browser.processes import MARKER, InstanceDirectory
from raypool.errors import RaypoolError
from raypool.spec import SessionSpec
from tests.integration.flows import FOUND, TRACES
from tests.integration.pages import COOKIES, Pages
from tests.integration.scripts import closed_port, running, until

SECRET = "kept-very-secret"
_tokens = itertools.count(1)
Open = Callable[..., AbstractAsyncContextManager[tuple[LiveBrowser, list[str]]]]


@pytest.fixture(scope="module")
def pages() -> Iterator[Pages]:
    """The site."""
    with Pages() as pages:
        yield pages


@pytest.fixture
def browser(monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    """Opens browsers that hold given parts; each is gone, with its directory, after its block."""
    short = tempfile.mkdtemp(prefix="rp-")  # Chromium makes a socket in it
    monkeypatch.setattr("tempfile.tempdir", short)
    monkeypatch.setenv("TMPDIR", short)
    monkeypatch.setenv("REDIS_URL", f"redis://:{SECRET}@localhost")
    monkeypatch.setenv("RAYPOOL_ENCRYPTION_KEYS", SECRET)
    monkeypatch.setenv("DATABASE_URL", SECRET)

    @contextlib.asynccontextmanager
    async def opened(
        parts: Mapping[str, bytes] | None = None, **spec: Any
    ) -> AsyncIterator[tuple[LiveBrowser, list[str]]]:
        directory = InstanceDirectory("component", next(_tokens))
        lost: list[str] = []
        parts = parts or {}
        live, warnings = await launch(SessionSpec(**spec), directory, parts, lost.append)
        try:
            await live.open_tabs(parts, warnings)
            yield live, [w for w in warnings if "sandbox" not in w]
            assert not lost
        finally:
            await live.close()
            directory.kill_browser()
            assert directory.wait_gone(10)
            directory.remove()
            assert not directory.path.exists()

    yield opened
    shutil.rmtree(short)


@pytest.mark.parametrize("kind", ["headless_shell", "chromium"])
async def test_cookies_come_back_as_they_were(kind: str, browser: Open, pages: Pages) -> None:
    """All kinds, all fields: what is read after the restore is byte for byte what was saved."""
    async with browser(browser=kind) as (live, _):
        page = await live.page()
        await page.goto(f"{pages.url}/cookies")
        await page.goto(f"http://www.shop.localhost:{pages.port}/domain")
        await page.goto(pages.url)  # where nothing sets a cookie again when the tab comes back
        saved = (await live.collect(everything=True)).parts
    cookies = {c["name"]: c for c in state.decode(state.COOKIES, saved[state.COOKIES])}
    assert set(cookies) == {c.partition("=")[0] for group in COOKIES.values() for c in group}
    assert cookies["session"]["session"]
    assert not cookies["persistent"]["session"]
    assert cookies["httponly"]["httpOnly"]
    assert cookies["partitioned"]["partitionKey"]
    assert (cookies["host-only"]["domain"], cookies["wide"]["domain"]) == (
        "www.shop.localhost",
        ".shop.localhost",
    )
    async with browser(saved, browser=kind) as (live, warnings):
        assert not warnings
        assert (await live.collect(everything=True)).parts[state.COOKIES] == saved[state.COOKIES]


async def test_a_bad_cookie_is_named_and_left_out(browser: Open, pages: Pages) -> None:
    """Chromium refuses a whole batch for one of them; here only the one is missing."""
    good = [{"name": f"c{n}", "value": "v", "url": pages.url, "expires": -1} for n in range(9)]
    bad = {"name": "broken", "value": "v", "domain": "not a domain/", "path": "no", "expires": -1}
    parts = {state.COOKIES: state.encode([*good[:4], bad, *good[4:]])}
    async with browser(parts) as (live, warnings):
        assert warnings == ["cookie 'broken' does not fit this browser; left out"]
        found = state.decode(
            state.COOKIES, (await live.collect(everything=True)).parts[state.COOKIES]
        )
    assert [c["name"] for c in found] == [c["name"] for c in good]


async def test_storage_tabs_and_scroll_come_back(browser: Open, pages: Pages) -> None:
    """localStorage, IndexedDB with a Date and a Map, two tabs of one origin that differ, scroll."""
    async with browser() as (live, _):
        first = await live.page()
        await first.goto(f"{pages.url}/first")
        await first.evaluate(TRACES, "kept")
        second = await live.context.new_page()
        await second.goto(f"{pages.url}/second?q=1#part")
        await second.evaluate("sessionStorage.setItem('kept', 'second'); scrollTo(100, 1200)")
        saved = (await live.collect(everything=True)).parts
    async with browser(saved) as (live, warnings):
        assert not warnings
        again = await live.collect(everything=True)
        assert not again.warnings
        assert again.parts == saved
        first, second = live.context.pages
        found = {"local": "kept", "session": "kept", "cookie": "kept=kept"}
        assert await first.evaluate(FOUND) == {**found, "date": 86_400_000, "map": "kept"}
        assert second.url == f"{pages.url}/second?q=1#part"
        assert await second.evaluate("sessionStorage.getItem('kept')") == "second"
        assert await second.evaluate("[scrollX, scrollY]") == [100, 1200]


async def test_the_active_tab_is_the_one_that_functions_get(browser: Open, pages: Pages) -> None:
    """After a restore too, and another one when it was closed."""
    tabs = [{"url": f"{pages.url}/{n}", "scroll": [0, 0], "sessionStorage": {}} for n in range(3)]
    parts = {state.TABS: state.encode({"active": 1, "tabs": tabs})}
    async with browser(parts) as (live, _):
        page = await live.page()
        assert page.url == f"{pages.url}/1"
        collected = await live.collect(everything=True)
        assert state.decode(state.TABS, collected.parts[state.TABS])["active"] == 1
        await page.close()
        assert (await live.page()).url == f"{pages.url}/0"


async def test_a_site_that_is_down_keeps_its_tab(browser: Open, pages: Pages) -> None:
    """The next checkpoint still knows where the business was, and what its tab held."""
    down = f"http://localhost:{closed_port()}"
    held = {
        "url": f"{down}/inbox",
        "scroll": [0, 7],
        "sessionStorage": {f"{down}/": {"kept": "yes"}},
    }
    other = {"url": f"{pages.url}/up", "scroll": [0, 0], "sessionStorage": {}}
    parts = {state.TABS: state.encode({"active": 0, "tabs": [held, other]})}
    async with browser(parts) as (live, warnings):
        (warning,) = warnings
        assert down.removeprefix("http://") in warning
        again = state.decode(state.TABS, (await live.collect(everything=True)).parts[state.TABS])
    assert again["tabs"] == [held, other]


async def test_a_hung_page_costs_its_tab_only(browser: Open, pages: Pages) -> None:
    """Its script never ends: cookies and the other tab are saved, in bounded time, with a warning."""
    async with browser() as (live, _):
        page = await live.page()
        await page.goto(f"{pages.url}/cookies")
        await page.evaluate("localStorage.setItem('kept', 'yes')")
        before = (await live.collect(everything=True)).parts
        hung = await live.context.new_page()
        await hung.goto(f"http://hangs.localhost:{pages.port}/hangs", wait_until="commit")
        await page.wait_for_timeout(700)
        began = time.monotonic()
        collected = await live.collect(everything=True)
        assert time.monotonic() - began < 20
    assert any("hangs.localhost" in warning for warning in collected.warnings)
    assert collected.parts[state.COOKIES] == before[state.COOKIES]
    assert b"kept" in collected.parts[f"local:{pages.url}/#0/1"]
    tabs = state.decode(state.TABS, collected.parts[state.TABS])["tabs"]
    assert [tab["url"].rpartition("/")[2] for tab in tabs] == ["cookies", "hangs"]


async def test_chromium_knows_no_secret_of_ours(browser: Open, pages: Pages) -> None:
    """Its environment is clean in every process of its tree; what it writes is in its directory."""
    async with browser() as (live, _):
        await (await live.page()).goto(pages.url)
        home = Path(psutil.Process(live.browser_pid).environ()["HOME"])
        tree = [p for p in psutil.process_iter() if _session(p) == os.getsid(live.browser_pid)]
        assert len(tree) > 2
        for process in tree:
            # What the zygote forks has overwritten its environment with its title.
            seen = {n: v for n, v in _environment(process).items() if n.isidentifier()}
            if not seen:
                continue
            assert SECRET not in json.dumps(seen)
            assert SECRET not in " ".join(process.cmdline())
            assert [n for n in seen if n.startswith(("RAYPOOL", "REDIS", "RAY_"))] == [MARKER]
            assert seen["TMPDIR"] == str(home)
        assert list(home.iterdir())
        pids = [p.pid for p in tree]
    until(lambda: not [p for p in pids if running(p)], "the whole tree is gone")
    assert not home.exists()


def _session(process: psutil.Process) -> int | None:
    try:
        return os.getsid(process.pid)
    except ProcessLookupError:
        return None


def _environment(process: psutil.Process) -> dict[str, str]:
    try:
        return process.environ()
    except psutil.Error:
        return {}


@pytest.mark.parametrize(
    ("victim", "reason"),
    [("browser_pid", "Chromium is gone"), ("driver_pid", "the Playwright driver is gone")],
)
async def test_death_is_told_once_with_its_reason(victim: str, reason: str, browser: Open) -> None:
    """Chromium or its driver dies; whoever owns them hears of it once."""
    directory, lost = InstanceDirectory("component", next(_tokens)), list[str]()
    live, _ = await launch(SessionSpec(), directory, {}, lost.append)
    psutil.Process(getattr(live, victim)).kill()
    await _within(10, lambda: bool(lost))
    directory.kill_browser()
    assert directory.wait_gone(10)
    await _within(10, lambda: not running(live.driver_pid))
    await asyncio.sleep(0.1)  # whatever else there is to tell
    assert lost == [reason]


async def _within(seconds: float, holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(seconds):
        while not holds():
            await asyncio.sleep(0.02)


async def test_a_browser_that_is_not_there_is_said_so(browser: Open) -> None:
    """Before anything is started."""
    directory, missing = InstanceDirectory("component", next(_tokens)), Path("/nowhere/chromium")
    with pytest.raises(RaypoolError, match="/nowhere/chromium is not an executable") as caught:
        await launch(SessionSpec(), directory, {}, print, missing)
    assert caught.value.code == "BROWSER_NOT_FOUND"

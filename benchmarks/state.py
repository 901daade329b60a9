"""What it costs to save one change of a large state, to put it all back, and to watch for changes."""

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import quantiles
from typing import Any
from unittest.mock import patch

from playwright.async_api import BrowserContext, Page
from pydantic import SecretStr
from redis.asyncio import Redis

from actors.session import InstanceSession
from benchmarks import peers
from benchmarks.result import Result, compare
from raypool import state
from raypool.browser import live
from raypool.browser.executable import find_chromium
from raypool.browser.launch import start
from raypool.browser.processes import InstanceDirectory
from raypool.config import Settings
from raypool.spec import SessionSpec
from raypool.store.crypto import Keyring
from raypool.store.embedded import EmbeddedServer
from raypool.store.sessions import RedisSessionManager
from tests.chaos.incarnation import context_of, incarnation
from tests.sites.changing import CHANGES, ChangingSite

MANY, MOST, ITEMS = 100, 300, 5
RESTORES, PEER_RESTORES = 10, 2
SAVES, PEER_SAVES = 30, 2
CHANGED, GIVEN_UP_S, MISSED = 100, 5.0, 3
LOADS = 100
BUDGET_S = 30.0
"""Of a series: what is slow is measured less often."""
MARK = "changed"

SCRIPT = """async () => {
    const began = performance.now();
    const main = document.querySelector("main");
    for (let n = 0; n < 3000; n++) {
        const added = document.createElement("p");
        added.textContent = String(n);
        main.append(added);
        if (n % 100 === 0) added.getBoundingClientRect();
    }
    for (let n = 0; n < 200; n++) localStorage.setItem(`k${n % 20}`, `${n} ${Math.random()}`);
    for (let n = 0; n < 20; n++) await (await fetch(`/data/${n}`)).text();
    main.replaceChildren();
    return performance.now() - began;
}"""


def rows(directory: Path) -> list[Result]:
    """Return the table's rows."""
    with ChangingSite() as site, EmbeddedServer(directory / "state") as server:
        settings = Settings(
            redis_url=SecretStr(server.url), data_dir=directory / "state-data", log_level="ERROR"
        )
        bench = Bench(site, settings, Keyring.parse(SecretStr(Keyring.generate())))
        return asyncio.run(bench.rows())


class Bench:
    """The benchmarks, on one site and one store."""

    def __init__(self, site: ChangingSite, settings: Settings, keyring: Keyring) -> None:
        self._site, self._settings, self._keyring = site, settings, keyring
        self._dice = random.Random(1)

    async def rows(self) -> list[Result]:
        """Measure one after the other."""
        return [*await self._restores(), *await self._saves(), *await self._watching()]

    # -- restore -----------------------------------------------------------------------------

    async def _restores(self) -> list[Result]:
        many, most = self._storage(MANY), self._storage(MOST)
        theirs = await peers.restored(many, self._site.origin(0), PEER_RESTORES)
        ours, empty, large = [], [], []
        for _ in range(RESTORES):
            ours.append(await self._restored(many))
            empty.append(await self._restored(self._storage(0)))
            large.append(await self._restored(most))
        peer = "new_context(storage_state)"
        return [
            compare("state_restore_100_origins", ours, peer, theirs, "<= 0.02"),
            compare("state_restore_300_origins", large, "nothing to restore", empty, "<= 1.5"),
        ]

    async def _restored(self, storage: Mapping[str, Any]) -> float:
        """Milliseconds from a Chromium that is up to a context with its tab open.

        The storage of the tab, and of an origin that is visited later, must be there for the first
        script of their pages.
        """
        parts = {
            **state.parts_from_json(None, json.dumps(storage)),
            state.TABS: state.encode({"active": 0, "tabs": [_tab(self._site.origin(0))]}),
        }
        directory, up = InstanceDirectory("bench", 1), list[float]()

        async def started(*args: Any) -> Any:
            found = await start(*args)
            up.append(time.perf_counter())
            return found

        with patch.object(live, "start", started):
            browser, warnings = await live.launch(SessionSpec(), directory, parts, lambda _: None)
        await browser.open_tabs(parts, warnings)
        took = (time.perf_counter() - up[0]) * 1000
        page, saved = await browser.page(), {o["origin"]: o for o in storage["origins"]}
        await _see(page, self._site.origin(0), saved)
        await page.goto(self._site.origin(7))
        await _see(page, self._site.origin(7), saved)
        await _closed(browser, directory)
        return took

    def _storage(self, origins: int, value_bytes: int = 20) -> dict[str, Any]:
        """Return a ``storage_state`` with localStorage of *origins* origins."""
        entries = [
            {"origin": self._site.origin(n), "localStorage": self._items(value_bytes)}
            for n in range(origins)
        ]
        return {"cookies": [], "origins": entries}

    def _items(self, value_bytes: int) -> list[dict[str, str]]:
        return [
            {"name": f"item-{n}", "value": self._dice.randbytes(value_bytes // 2).hex()}
            for n in range(ITEMS)
        ]

    # -- save --------------------------------------------------------------------------------

    async def _saves(self) -> list[Result]:
        storage = self._storage(MANY)
        theirs = await peers.saved(storage, self._site.origin(0), PEER_SAVES)
        await self._import("saves", storage)
        seen = Seen()
        async with incarnation(
            self._settings, self._keyring, "saves", seen_by=seen.around
        ) as instance:
            await instance.run(lambda page: page.goto(self._site.origin(0)), 60)
            ours = await _commands(instance, seen)
            late = await _continuous(context_of(instance).pages[0], seen)
        peer, p99 = "storage_state()", quantiles(late, n=100)[98]
        return [
            compare("state_save_one_change_100_origins", ours, peer, theirs, "<= 0.01"),
            compare("state_save_latency", late, peer, theirs),
            compare("state_save_latency_p50", late, "150 ms", [150.0], "<= 1"),
            compare("state_save_latency_p99", [p99], "500 ms", [500.0], "<= 1"),
            await self._bytes(),
        ]

    async def _bytes(self) -> Result:
        """What the server gets for one changed item of 5 MB, beside what it gets for all of them."""
        storage = self._storage(MANY, value_bytes=5 * 2**20 // MANY // ITEMS)
        full = await self._received(self._import("bytes", storage))
        async with incarnation(self._settings, self._keyring, "bytes") as instance:
            await instance.run(lambda page: page.goto(self._site.origin(0)), 60)
            one = [
                await self._received(instance.run(_setting(f"item-{n}", "new"), 60))
                for n in range(ITEMS)
            ]
        peer = "whole state"
        return compare("state_bytes_one_change", one, peer, [full], "<= 0.03", unit="bytes")

    async def _import(self, business_id: str, storage: Mapping[str, Any]) -> None:
        async with RedisSessionManager(self._settings, self._keyring) as manager:
            session = await manager.ensure_active(business_id)
            await manager.update_session(session.id, storage_json=json.dumps(storage))

    async def _received(self, work: Awaitable[Any]) -> float:
        assert self._settings.redis_url is not None
        async with Redis.from_url(self._settings.redis_url.get_secret_value()) as admin:
            before = (await admin.info("stats"))["total_net_input_bytes"]
            await work
            return float((await admin.info("stats"))["total_net_input_bytes"] - before)

    # -- watching ----------------------------------------------------------------------------

    async def _watching(self) -> list[Result]:
        """Load a page and run a script, by turns with an owner that saves what changes and without."""
        series: dict[str, dict[str, list[float]]] = {"load": {}, "script": {}}
        async with (
            incarnation(self._settings, self._keyring, "watched") as instance,
            _plain() as context,
        ):
            pages = {
                "with": await context_of(instance).new_page(),
                "without": await context.new_page(),
            }
            for n in range(LOADS):
                for name in sorted(pages, reverse=bool(n % 2)):
                    for what, took in (await self._worked(pages[name])).items():
                        series[what].setdefault(name, []).append(took)
        return [
            compare(f"state_watch_overhead_{what}", found["with"], "no watcher", found["without"],
                    "<= 1.05")
            for what, found in series.items()
        ]  # fmt: skip

    async def _worked(self, page: Page) -> dict[str, float]:
        began = time.perf_counter()
        await page.goto(f"{self._site.origin(0)}/heavy")
        load = (time.perf_counter() - began) * 1000
        return {"load": load, "script": await page.evaluate(SCRIPT)}


class Seen:
    """A store of checkpoints that is watched: when was what acknowledged?"""

    def __init__(self) -> None:
        self._wanted, self._acknowledged = b"", asyncio.Event()
        self.at = 0.0

    def around(self, store: Any) -> Any:
        """Return *store*, watched."""
        return _Watched(store, self)

    async def acknowledged(self, value: str, change: Awaitable[float]) -> float:
        """Return the milliseconds from *change*, which writes *value*, to its acknowledgement."""
        self._wanted, self.at = value.encode(), 0.0
        self._acknowledged.clear()
        changed_at = await change
        try:
            async with asyncio.timeout(GIVEN_UP_S):
                await self._acknowledged.wait()
        except TimeoutError:
            return GIVEN_UP_S * 1000
        return max(self.at * 1000 - changed_at, 0.0)

    def saved(self, what: Mapping[str, bytes]) -> None:
        """Take note of an acknowledged save."""
        if self._wanted and any(self._wanted in data for data in what.values()):
            self.at = time.time()
            self._wanted = b""
            self._acknowledged.set()


class _Watched:
    def __init__(self, store: Any, seen: Seen) -> None:
        self._store, self._seen = store, seen

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def save(self, session_id: str, token: int, parts: Any, *args: Any, **more: Any) -> Any:
        info = await self._store.save(session_id, token, parts, *args, **more)
        self._seen.saved(parts)
        return info


async def _commands(instance: InstanceSession, seen: Seen) -> list[float]:
    """Milliseconds of commands that change one item, until both they and the store have answered."""
    times: list[float] = []
    while len(times) < SAVES and sum(times) < BUDGET_S * 1000:
        value, began = f"command-{len(times)}-{time.time_ns()}", time.perf_counter()
        await seen.acknowledged(value, instance.run(_setting(MARK, value), 60))
        times.append((time.perf_counter() - began) * 1000)
    return times


async def _continuous(page: Page, seen: Seen) -> list[float]:
    """Milliseconds from a change that nobody saves on purpose to its acknowledgement."""
    times: list[float] = []
    for n in range(CHANGED):
        how, value = ("set_cookie", "local_storage")[n % 2], f"value-{n}-{time.time_ns()}"
        await asyncio.sleep(0.05 + 0.3 * random.random())
        change = page.evaluate(CHANGES[how], [MARK, value])
        times.append(await seen.acknowledged(value, change))
        if sum(took == GIVEN_UP_S * 1000 for took in times) >= MISSED:
            break
    return times


def _setting(name: str, value: str) -> Callable[[Page], Awaitable[Any]]:
    return lambda page: page.evaluate(CHANGES["local_storage"], [name, value])


@asynccontextmanager
async def _plain() -> AsyncIterator[BrowserContext]:
    """Give a context of a browser that was started as an owner starts its own, and nobody watches."""
    directory = InstanceDirectory("plain", 1)
    spec = SessionSpec()
    started = await start(spec, directory, find_chromium(spec.browser).path, [])
    try:
        yield await started.browser.new_context()
    finally:
        await started.browser.close()
        await started.playwright.stop()
        directory.remove()


async def _see(page: Page, origin: str, saved: Mapping[str, Any]) -> None:
    first = await page.evaluate("window.first")
    wanted = {item["name"]: item["value"] for item in saved.get(origin, {}).get("localStorage", [])}
    assert first == wanted, f"the first script of {origin} did not see its storage"


async def _closed(browser: live.LiveBrowser, directory: InstanceDirectory) -> None:
    browser.abandon()
    await browser.close()
    directory.kill_browser()
    directory.wait_gone(10)
    directory.remove()


def _tab(origin: str) -> dict[str, Any]:
    return {"url": f"{origin}/", "scroll": [0, 0], "sessionStorage": {}}

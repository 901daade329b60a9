"""What a large state costs, end to end: a database of 50 MB, more cookies than Chromium keeps."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from redis.asyncio import Redis

from benchmarks.result import Result, compare
from raypool.config import Settings
from raypool.store.crypto import Keyring
from raypool.store.embedded import EmbeddedServer
from raypool.store.sessions import RedisSessionManager
from tests.chaos.incarnation import context_of, incarnation
from tests.sites.changing import ChangingSite

MB = 2**20
COOKIES, RECORDS, RECORD_BYTES = 5000, 5120, 10240
BUSINESS, PATIENCE_S = "large", 120.0
SLOW_US, SLOW_KEPT = 1000, 1000

WRITE = """async ([records, bytes]) => {
    const db = await new Promise((resolve) => {
        const request = indexedDB.open("large", 1);
        request.onupgradeneeded = () => request.result.createObjectStore("records");
        request.onsuccess = () => resolve(request.result);
    });
    for (let at = 0; at < records; at += 500) {
        const writing = db.transaction("records", "readwrite");
        for (let n = at; n < Math.min(records, at + 500); n++)
            writing.objectStore("records").put(`${n}:${Math.random()}`.padEnd(bytes, "x"), n);
        await new Promise((resolve) => { writing.oncomplete = resolve; });
    }
    db.close();
}"""
READ = """() => new Promise((resolve) => {
    const request = indexedDB.open("large");
    request.onsuccess = () => {
        const all = request.result.transaction("records").objectStore("records").getAll();
        all.onsuccess = () => resolve(all.result.map((text) => text.length));
    };
})"""


def rows(directory: Path) -> list[Result]:
    """Return the table's rows."""
    with ChangingSite() as site, EmbeddedServer(directory / "large") as server:
        settings = Settings(
            redis_url=SecretStr(server.url), data_dir=directory / "large-data", log_level="ERROR"
        )
        return asyncio.run(_measured(settings, site.origin(0), server.url))


async def _measured(settings: Settings, url: str, server: str) -> list[Result]:
    keyring = Keyring.parse(SecretStr(Keyring.generate()))
    async with Redis.from_url(server) as admin:
        await admin.config_set("slowlog-log-slower-than", SLOW_US)
        await admin.config_set("slowlog-max-len", SLOW_KEPT)
        before = _memory_from_now_on()
        await _give_cookies(settings, keyring)
        async with incarnation(settings, keyring, BUSINESS) as life:
            await life.run(lambda page: page.goto(url), PATIENCE_S)
            await life.run(lambda p: p.evaluate(WRITE, [RECORDS, RECORD_BYTES]), PATIENCE_S)
            cookies = await context_of(life).cookies()
        began = time.perf_counter()
        async with incarnation(settings, keyring, BUSINESS) as life:
            large = (time.perf_counter() - began) * 1000
            found = await life.run(lambda page: page.evaluate(READ), PATIENCE_S)
            _same(found, [RECORD_BYTES] * RECORDS)
            _same(_named(await context_of(life).cookies()), _named(cookies))
        began = time.perf_counter()
        async with incarnation(settings, keyring, "small"):
            small = (time.perf_counter() - began) * 1000
        slow = [e["duration"] / 1000 for e in await admin.slowlog_get(SLOW_KEPT)]
        grown = (_peak_memory() - before) / MB
    longest = max(slow, default=SLOW_US / 1000)
    size = RECORDS * RECORD_BYTES / MB
    return [
        compare("state_large_longest_script", [longest], "20 ms", [20.0], "<= 1"),
        compare("state_large_memory", [grown], "the database", [size], "<= 6", "MB"),
        compare("state_large_start", [large], "nothing to restore", [small]),
    ]


async def _give_cookies(settings: Settings, keyring: Keyring) -> None:
    cookies = [
        {
            "name": f"c{n}", "value": "v" * 40, "domain": f"site{n % 100}.example", "path": "/",
            "expires": time.time() + 1e6, "httpOnly": False, "secure": False, "sameSite": "Lax",
        }
        for n in range(COOKIES)
    ]  # fmt: skip
    storage = json.dumps({"cookies": cookies, "origins": []})
    async with RedisSessionManager(settings, keyring) as manager:
        session = await manager.ensure_active(BUSINESS)
        await manager.update_session(session.id, storage_json=storage)


def _memory_from_now_on() -> int:
    """Return the memory of this process in bytes, and have the kernel forget its peak (proc(5))."""
    Path("/proc/self/clear_refs").write_text("5")
    return _peak_memory()


def _peak_memory() -> int:
    """Return the most memory that this process had since then, in bytes."""
    status = Path("/proc/self/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def _named(cookies: Any) -> list[tuple[str, str]]:
    return sorted((cookie["domain"], cookie["name"]) for cookie in cookies)


def _same(found: Any, wanted: Any) -> None:
    """Refuse to measure what was not restored."""
    if found != wanted or not wanted:
        raise AssertionError(f"{len(found)} of {len(wanted)} came back")

"""What a reconcile pass costs with few and with many hibernated sessions beside ten changes."""

import asyncio
import time
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from redis.asyncio import Redis

from actors.life import Death, Incarnation, StopResult
from actors.lives import Lives
from actors.reconciler import Reconciler
from benchmarks.result import Result, compare
from raypool.config import Settings
from raypool.model import Desired
from raypool.store.crypto import Keyring
from raypool.store.embedded import EmbeddedServer
from raypool.store.keys import Keys
from raypool.store.sessions import RedisSessionManager

LIVE, CHANGES, RUNS = 10, 10, 30
FEW, MANY = 1_000, 100_000


class Handle:
    """An actor that lives for ever."""

    node_id = "here"


class Immortals:
    """Actors without Ray and without browsers: only the supervisor's own work is measured."""

    async def start(self, incarnation: Incarnation) -> Handle:
        return Handle()

    async def find(self, business_id: str) -> None:
        return None

    async def businesses(self) -> list[str]:
        return []

    async def describe(self, handle: Any) -> dict[str, Any]:
        return {"phase": "ready", "idle_for": 0.0}

    async def stop(self, handle: Any, timeout: float) -> StopResult:
        return StopResult("", saved=True)

    async def hibernate(self, handle: Any, idle_for: float, timeout: float) -> None:
        return None

    async def kill(self, handle: Any) -> None:
        return None

    async def death(self, handle: Any) -> Death:
        return await asyncio.Event().wait()

    async def owner_state(self, handle: Any, holder_id: str) -> str:
        return "running"

    async def end(self, handle: Any, holder_id: str) -> bool:
        return True


async def seed(manager: RedisSessionManager, url: str, first: int, last: int) -> None:
    """Make hibernated sessions with these numbers: copies of one, with index entries of their own."""
    model = await manager.ensure_active("resting", desired=Desired.HIBERNATED)
    keys, score = Keys("social-genius:"), int(model.expires_at.timestamp() * 1000)
    async with Redis.from_url(url) as client:
        record = await client.hgetall(keys.session(model.id))
        for start in range(first, last, 1000):
            pipe = client.pipeline(transaction=False)
            for number in range(start, min(start + 1000, last)):
                business_id, sid = f"resting-{number}", keys.new_session_id("resting")
                fields = {**record, b"id": sid, b"business_id": business_id}
                pipe.hset(keys.session(sid), mapping=fields)
                named = ("expiry", "status:active", "desired:hibernated", f"business:{business_id}")
                for name in named:
                    pipe.zadd(keys.index(0, name), {sid: score})
            await pipe.execute()


async def passes(manager: RedisSessionManager) -> tuple[list[float], list[float]]:
    """Milliseconds of passes after ten changes, and of passes that read everything again."""
    lives = Lives(Immortals(), manager, manager.leases, "bench", 15.0, lambda: None)
    reconciler = Reconciler(manager, lives, "bench")
    while await reconciler.reconcile() is not None:
        await asyncio.sleep(0.05)
    changed, whole = [], []
    for run in range(RUNS):
        for number in range(CHANGES):
            await manager.ensure_active(f"live-{number}", email=f"{run}@example.com")
        changed.append(await _timed(reconciler, [f"live-{n}" for n in range(CHANGES)]))
        whole.append(await _timed(reconciler, [], resync=True))
    for watch in asyncio.all_tasks() - {asyncio.current_task()}:
        watch.cancel()
    return changed, whole


async def _timed(reconciler: Reconciler, ids: list[str], *, resync: bool = False) -> float:
    reconciler.note(ids, resync=resync)
    began = time.perf_counter()
    await reconciler.reconcile()
    return (time.perf_counter() - began) * 1000


def rows(directory: Path) -> list[Result]:
    """Return the table's rows."""
    found = asyncio.run(measure(directory))
    (changed, whole), (changed_many, whole_many) = found[FEW], found[MANY]
    peer, goal = f"with {FEW}", "<= 2"
    return [
        compare("pass_10_changes_100000_resting", changed_many, peer, changed, goal),
        compare("pass_all_read_100000_resting", whole_many, peer, whole, goal),
    ]


async def measure(directory: Path) -> dict[int, tuple[list[float], list[float]]]:
    """Return the series by number of hibernated sessions."""
    found = {}
    with EmbeddedServer(directory / "passes") as server:
        settings = Settings(redis_url=SecretStr(server.url))
        async with RedisSessionManager(settings, Keyring.parse(SecretStr(Keyring.generate()))) as m:
            for number in range(LIVE):
                await m.ensure_active(f"live-{number}", desired=Desired.RUNNING)
            seeded = 0
            for count in (FEW, MANY):
                await seed(m, server.url, seeded, count)
                seeded = count
                found[count] = await passes(m)
    return found

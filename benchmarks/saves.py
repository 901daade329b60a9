"""What a save costs after one change in a large state, beside a save of the whole state."""

import asyncio
import random
import time
import uuid
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from redis.asyncio import Redis

from benchmarks.result import Result, compare
from raypool.config import Settings
from raypool.model import CheckpointMeta, Holder
from raypool.store.crypto import Keyring
from raypool.store.embedded import EmbeddedServer
from raypool.store.sessions import RedisSessionManager

MB = 2**20
RUNS, FULL_RUNS = 30, 3
STATES = {"5mb": (1000, 5 * MB), "50mb": (5000, 50 * MB)}
SLOW_US, SLOW_KEPT = 100, 1000
"""The server notes what takes longer, the commands within scripts too."""

Series = dict[str, list[float]]


def part(size: int, dice: random.Random) -> bytes:
    """Return text as sites store it: about two thirds of it compress away."""
    words = [dice.randbytes(6).hex() for _ in range(60)]
    items = (
        f'{{"k":"{dice.choice(words)}","v":"{dice.randbytes(12).hex()}"}}' for _ in range(size)
    )
    text = ""
    while len(text) < size:
        text += next(items)
    return text[:size].encode()


class Saving:
    """Saves states of new sessions, and counts what the server gets and how long its scripts take."""

    def __init__(self, manager: RedisSessionManager, server: Any) -> None:
        self._manager, self._server = manager, server
        self._dice = random.Random(1)

    async def measure(self, count: int, size: int, found: Series) -> None:
        """Save a whole state as the first of its session, then change one part again and again."""
        made = await self._manager.create_session(f"b-{uuid.uuid4().hex}")
        holder = Holder(id=uuid.uuid4().hex, kind="bench")
        token = (await self._manager.leases.acquire(made.business_id, holder, 600)).token
        state = {
            f"local:https://a.example/#{n}/1024": part(size // count, self._dice)
            for n in range(count)
        }
        await self._save(made.id, token, state, found, "full")
        for run in range(RUNS):
            name = f"local:https://a.example/#{run}/1024"
            state = {**state, name: part(size // count, self._dice)}
            await self._save(made.id, token, state, found, "one")
        await self._manager.delete_session(made.id)

    async def _save(
        self, session_id: str, token: int, state: dict[str, bytes], found: Series, kind: str
    ) -> None:
        await self._server.execute_command("SLOWLOG", "RESET")
        before, began = await self._received(), time.perf_counter()
        await self._manager.checkpoints.save(session_id, token, state, CheckpointMeta())
        found[f"{kind} ms"].append((time.perf_counter() - began) * 1000)
        found[f"{kind} bytes"].append(await self._received() - before)
        slow = await self._server.slowlog_get(SLOW_KEPT)
        scripts = [
            entry["duration"] / 1000 for entry in slow if b"EVAL" in entry["command"].upper()
        ]
        found[f"{kind} longest script"].append(max(scripts, default=SLOW_US / 1000))

    async def _received(self) -> int:
        return int((await self._server.info("stats"))["total_net_input_bytes"])


def rows(directory: Path) -> list[Result]:
    """Return the table's rows."""
    found: list[Result] = []
    for name, series in asyncio.run(measure(directory)).items():
        one, full = series["one ms"], series["full ms"]
        sent, all_sent = series["one bytes"], series["full bytes"]
        longest, peer = (
            [max(series["full longest script"] + series["one longest script"])],
            "whole state",
        )
        found += [
            compare(f"state_save_one_change_{name}", one, peer, full),
            compare(f"state_bytes_one_change_{name}", sent, peer, all_sent, "<= 0.03", "bytes"),
            compare(f"state_longest_script_{name}", longest, "20 ms", [20.0], "<= 1"),
        ]
    return found


async def measure(directory: Path) -> dict[str, Series]:
    """Return the series by the size of the state."""
    found: dict[str, Series] = {}
    with EmbeddedServer(directory / "saves") as server:
        settings = Settings(redis_url=SecretStr(server.url))
        keyring = Keyring.parse(SecretStr(Keyring.generate()))
        async with RedisSessionManager(settings, keyring) as m, Redis.from_url(server.url) as admin:
            await admin.config_set("slowlog-log-slower-than", SLOW_US)
            await admin.config_set("slowlog-max-len", SLOW_KEPT)
            for name, (count, size) in STATES.items():
                what = ("ms", "bytes", "longest script")
                series: Series = {f"{kind} {w}": [] for kind in ("full", "one") for w in what}
                for _ in range(FULL_RUNS):
                    await Saving(m, admin).measure(count, size, series)
                found[name] = series
    return found

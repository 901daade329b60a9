"""What the supervisor costs while nothing happens, beside few and beside many that rest."""

import asyncio
import time
from pathlib import Path

import psutil
from pydantic import SecretStr

import raypool
from benchmarks.passes import FEW, LIVE, MANY, seed
from benchmarks.result import Result, compare
from raypool.config import Settings
from raypool.store.crypto import Keyring
from raypool.store.embedded import EmbeddedServer
from raypool.store.sessions import RedisSessionManager

SETTLE_S, WINDOW_S = 10, 65
"""A whole read of the records falls into each window."""
GOAL = "< 2 % of a core"


def rows(directory: Path) -> list[Result]:
    """Return the table's row."""
    key = SecretStr(Keyring.generate())
    with EmbeddedServer(directory / "idle") as server:
        settings = Settings(
            redis_url=SecretStr(server.url), encryption_keys=key, data_dir=directory / "fleet",
            dashboard=False, log_level="ERROR",
        )  # fmt: skip
        with raypool.connect(settings) as pool:
            for number in range(LIVE):
                pool.get_or_create_instance(f"live-{number}", email=f"{number}@example.com")
            asyncio.run(_seeded(settings, server.url, 0, FEW))
            few = _share()
            asyncio.run(_seeded(settings, server.url, FEW, MANY))
            many = _share()
    return [
        compare(
            "supervisor_idle_100000_resting", [many], f"with {FEW}", [few], GOAL, unit="% of a core"
        )
    ]


async def _seeded(settings: Settings, url: str, first: int, last: int) -> None:
    assert settings.encryption_keys is not None
    async with RedisSessionManager(settings, Keyring.parse(settings.encryption_keys)) as manager:
        await seed(manager, url, first, last)


def _share() -> float:
    """Return how much of a core the supervisor uses, in percent."""
    time.sleep(SETTLE_S)
    supervisor = next(p for p in psutil.process_iter(["name"]) if _title(p) == "ray::supervisor")
    before = supervisor.cpu_times()
    time.sleep(WINDOW_S)
    after = supervisor.cpu_times()
    return (after.user + after.system - before.user - before.system) / WINDOW_S * 100


def _title(process: psutil.Process) -> str:
    try:
        return "".join(process.cmdline()[:1])
    except psutil.Error:
        return ""

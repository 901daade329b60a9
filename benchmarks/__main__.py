"""Run every benchmark, print a table, write benchmarks/results/latest.json."""

import asyncio
import json
import os
import signal
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

import raypool
from benchmarks import idle, large, passes, peers, saves, state
from benchmarks.result import Result, compare
from raypool import logs
from raypool.config import Settings
from raypool.demo.site import DemoSite

RUNS, KILLS = 30, 5
RESULTS = Path(__file__).parent / "results" / "latest.json"


async def act(page):
    """Change something: its effect must be durable when run returns."""
    await page.evaluate("() => localStorage.n = String(Math.random())")


async def look(page):
    """Read it back."""
    return await page.evaluate("() => localStorage.n")


async def visit(page, url):
    """Open the site."""
    await page.goto(url)


def command(pool: raypool.Pool) -> list[float]:
    """Milliseconds of `run`: change something, acknowledged by the server's fsync."""
    times = []
    for _ in range(RUNS):
        began = time.perf_counter()
        pool.run("bench", act)
        times.append((time.perf_counter() - began) * 1000)
    return times


def recovery(pool: raypool.Pool, attribute: str) -> list[float]:
    """Milliseconds from SIGKILL to the next answered call."""
    times = []
    for _ in range(KILLS):
        time.sleep(1.5)
        pid = getattr(pool.status("bench"), attribute)
        os.kill(pid, signal.SIGKILL)
        began = time.perf_counter()
        pool.run("bench", look, idempotent=True)
        times.append((time.perf_counter() - began) * 1000)
    return times


def measure(directory: Path, url: str) -> list[Result]:
    """Measure everything; nothing else should run on the machine."""
    file = directory / "state.json"
    theirs = asyncio.run(peers.command_and_save(url, file, RUNS))
    restarts = asyncio.run(peers.restart(url, file, KILLS))
    settings = Settings(data_dir=directory, dashboard=False, log_level="ERROR")
    with raypool.connect(settings) as pool:
        pool.run("bench", visit, url)
        return [
            compare("command_saved", command(pool), "storage_state and fsync", theirs),
            compare("recovery_browser", recovery(pool, "browser_pid"), "restart", restarts),
            compare("recovery_actor", recovery(pool, "pid"), "restart", restarts),
        ]


def main() -> None:
    """Print the table and write the file."""
    logs.configure(level="ERROR")
    with tempfile.TemporaryDirectory(prefix="raypool-bench-") as directory, DemoSite() as site:
        home = Path(directory)
        results = measure(home, site.url) + passes.rows(home) + saves.rows(home)
        results += state.rows(home) + large.rows(home) + idle.rows(home)
    table = Table("name", "raypool", "peer", "peer's", "ratio", "runs")
    for r in results:
        table.add_row(r.name, f"{r.value:g} {r.unit}", r.peer, f"{r.peer_value:g} {r.unit}",
                      f"{r.ratio:g}", str(r.runs))  # fmt: skip
    Console().print(table)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps([asdict(r) for r in results], indent=1))


if __name__ == "__main__":
    main()

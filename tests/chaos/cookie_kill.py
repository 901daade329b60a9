"""A browser that is killed 300 ms after its page changed something comes back with what it changed.

``python -m tests.chaos.cookie_kill [--trials 100]``. The changes alternate: a cookie set by an
answer, one set by a script, localStorage, IndexedDB. So do the victims: Chromium alone, or the process
that owns it. Nobody runs a command or asks for a checkpoint between the change and the kill. Exit 1
unless each trial found the new value, and the last values of all the others.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raypool.store.crypto import Keyring
from raypool.store.embedded import EmbeddedServer
from tests.chaos.client import say
from tests.sites.changing import CHANGES, ChangingSite

if TYPE_CHECKING:
    from collections.abc import Mapping

KILL_AFTER_S = 0.3
ANSWER_TIMEOUT_S = 90.0
REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Trial:
    """One change, and who is killed after it."""

    number: int
    how: str
    victim: str

    @property
    def value(self) -> str:
        """What the change writes; no two write the same."""
        return f"v{self.number}"


def planned(count: int) -> list[Trial]:
    """Return *count* trials in which each change meets each victim."""
    pairs = list(itertools.product(CHANGES, ("chromium", "owner")))
    return [Trial(number, *pairs[number % len(pairs)]) for number in range(count)]


class Owner:
    """The process that owns the browser.

    Args:
        url: The site.
        environment: Of the process; says where the store is.
    """

    def __init__(self, url: str, environment: Mapping[str, str]) -> None:
        self._url, self._environment = url, dict(environment)
        self._holder, self._browser = "", 0
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> dict[str, str]:
        """Start it after the death of the one before; return what its browser has."""
        command = ["-m", "tests.chaos.cookie_owner", str(os.getpid()), self._url, self._holder]
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, *command, stdin=asyncio.subprocess.PIPE, cwd=REPOSITORY,
            stdout=asyncio.subprocess.PIPE, env=self._environment,
        )  # fmt: skip
        up = await self._heard()
        self._holder, self._browser = up["holder"], up["browser"]
        values: dict[str, str] = up["values"]
        return values

    async def change(self, trial: Trial) -> float:
        """Make the page change something; return when it was changed, in seconds of the epoch."""
        asked = {"do": "change", "how": trial.how, "name": trial.how, "value": trial.value}
        return float((await self._asked(asked))["at"]) / 1000

    async def kill(self, victim: str) -> dict[str, str]:
        """SIGKILL the victim; return what the next browser has."""
        if victim == "owner":
            assert self._process is not None
            self._process.kill()
            await self._process.wait()
            return await self.start()
        os.kill(self._browser, signal.SIGKILL)
        again = await self._asked({"do": "read", "dead": self._browser})
        self._browser = again["browser"]
        values: dict[str, str] = again["values"]
        return values

    async def stop(self) -> None:
        """End it in order."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            await asyncio.wait_for(self._process.wait(), ANSWER_TIMEOUT_S)

    async def _asked(self, what: dict[str, Any]) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(what).encode() + b"\n")
        await self._process.stdin.drain()
        return await self._heard()

    async def _heard(self) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdout is not None
        line = await asyncio.wait_for(self._process.stdout.readline(), ANSWER_TIMEOUT_S)
        if not line:
            raise RuntimeError("the owner ended by itself; what it said is above")
        answer: dict[str, Any] = json.loads(line)
        return answer


async def lost(owner: Owner, trial: Trial, known: dict[str, str]) -> list[str]:
    """Make one trial and bring *known*, what the browser has, up to date; return what was lost."""
    changed_at = await owner.change(trial)
    await asyncio.sleep(max(changed_at + KILL_AFTER_S - time.time(), 0))
    found = await owner.kill(trial.victim)
    known[trial.how] = trial.value
    missing = [
        f"{name}: {value} was written, {found.get(name)} is there"
        for name, value in known.items()
        if found.get(name) != value
    ]
    known.clear()
    known.update(found)  # what is lost once is not lost again in the next trial
    return missing


async def proof(trials: int, url: str, environment: Mapping[str, str]) -> int:
    """Make the trials one after the other; return in how many nothing was lost."""
    owner, known, kept = Owner(url, environment), dict[str, str](), 0
    await owner.start()
    for trial in planned(trials):
        missing = await lost(owner, trial, known)
        kept += not missing
        said = "; ".join(missing) or "there"
        say(f"{trial.number + 1} of {trials} ({trial.how}, {trial.victim} killed): {said}")
    await owner.stop()
    return kept


def main() -> int:
    """Make the trials and say how many held."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.cookie_kill")
    parser.add_argument("--trials", type=int, default=100)
    trials = parser.parse_args().trials
    with tempfile.TemporaryDirectory(prefix="rp-") as name, ChangingSite() as site:
        directory = Path(name)
        with EmbeddedServer(directory / "store") as server:
            environment = os.environ | {
                "REDIS_URL": server.url,
                "RAYPOOL_ENCRYPTION_KEYS": Keyring.generate(),
                "RAYPOOL_DATA_DIR": str(directory / "data"),
                "TMPDIR": str(directory),
            }
            kept = asyncio.run(proof(trials, site.url, environment))
    print(f"{kept} of {trials} came back with the new value")  # noqa: T201
    return 0 if kept == trials else 1


if __name__ == "__main__":
    sys.exit(main())

"""An owner of one browser in a process of its own, which may be killed: ``cookie_kill`` starts it.

It reads one JSON object a line and answers each with one: ``change`` makes the page change something,
with no command and no checkpoint after it; ``read`` returns what a new browser has.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from typing import TYPE_CHECKING, Any

from raypool import logs
from raypool.config import Settings
from raypool.phase import Phase
from raypool.store.crypto import Keyring
from tests.chaos.incarnation import context_of, incarnation
from tests.sites.changing import CHANGES, read
from tests.sites.process import die_with

if TYPE_CHECKING:
    from actors.session import InstanceSession

BUSINESS = "cookie-kill"
READ_TIMEOUT_S = 30.0


async def main(parent: int, url: str, supersedes: str) -> None:
    """Own the browser until standard input ends."""
    die_with(parent)
    logs.configure(level="CRITICAL")
    # Playwright's own futures, of calls that a killed browser did not answer.
    logging.getLogger("asyncio").setLevel("CRITICAL")
    settings = Settings()
    assert settings.encryption_keys is not None
    keyring = Keyring.parse(settings.encryption_keys)
    async with incarnation(settings, keyring, BUSINESS, supersedes=supersedes or None) as life:
        found = await _read(life, url, 0)
        _say({"holder": life.incarnation.holder.id, "values": found, "browser": _browser_pid(life)})
        while line := await asyncio.to_thread(sys.stdin.readline):
            _say(await _answer(life, url, json.loads(line)))


async def _answer(life: InstanceSession, url: str, asked: dict[str, Any]) -> dict[str, Any]:
    if asked["do"] == "read":
        found = await _read(life, url, asked["dead"])
        return {"values": found, "browser": _browser_pid(life)}
    page = next(page for page in context_of(life).pages if page.url.startswith(url))
    return {"at": await page.evaluate(CHANGES[asked["how"]], [asked["name"], asked["value"]])}


async def _read(life: InstanceSession, url: str, dead: int) -> dict[str, str]:
    """Return what the browser has, once it is another one than *dead*."""
    while life.phase is not Phase.READY or _browser_pid(life) in {dead, None}:
        await asyncio.sleep(0.02)
    return await life.run(lambda page: read(page, url), READ_TIMEOUT_S)


def _browser_pid(life: InstanceSession) -> int | None:
    return life.describe().get("browser_pid")


def _say(what: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), *sys.argv[2:]))

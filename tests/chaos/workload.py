"""The scripts that work while things break, and the client that writes down how they fare."""

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from raypool import AsyncPool, RaypoolError
from raypool.config import Settings
from raypool.model import CheckpointMeta
from raypool.store.crypto import Keyring
from tests.chaos.checker import STALE_WRITE
from tests.chaos.history import History, Kind
from tests.chaos.nemesis import RUN_VARIABLE

COMMAND_TIMEOUT_S = 60.0


async def witnessed(page: Any, work: Callable[..., Any], *args: Any) -> dict[str, Any]:
    """Return what *work* returned, with the process that ran it and from when to when."""
    import os
    import time

    began = time.monotonic()
    value = await work(page, *args)
    return {"value": value, "pid": os.getpid(), "began": began, "ended": time.monotonic()}


async def write(page: Any, url: str, value: str) -> str:
    """Set a session cookie and a localStorage item, as a page's own script would."""
    await page.goto(url)
    await page.evaluate(
        "value => { document.cookie = `chaos=${value}`; localStorage.setItem('chaos', value) }",
        value,
    )
    return value


async def read(page: Any, url: str) -> dict[str, str | None]:
    """Return what :func:`write` set; the site itself sets neither."""
    cookies = {c["name"]: c["value"] for c in await page.context.cookies(url)}
    if not page.url.startswith(url):
        await page.goto(url)
    local = await page.evaluate("() => localStorage.getItem('chaos')")
    return {"cookie": cookies.get("chaos"), "local": local}


class Client:
    """A pool whose every operation is in the history."""

    def __init__(self, pool: AsyncPool, history: History) -> None:
        self.pool, self._history = pool, history

    async def do(
        self, f: str, business: str, work: Callable[..., Any], *args: Any, idempotent: bool = False
    ) -> bool:
        """Run *work* and tell whether it was acknowledged; its error is in the history."""
        op = self._history.add(Kind.INVOKE, f, business)
        try:
            value = await self.pool.run(
                business, witnessed, work, *args, timeout=COMMAND_TIMEOUT_S, idempotent=idempotent
            )
        except RaypoolError as error:
            self._history.add(Kind.FAIL, f, business, op, _told(error))
            return False
        self._history.add(Kind.OK, f, business, op, value)
        return True

    async def write_stale(self, business: str, token: int) -> None:
        """Try to write as an owner whose fencing token is *token*."""
        op = self._history.add(Kind.INVOKE, STALE_WRITE, business, value=token)
        try:
            session = await self.pool.sessions.get_active_session(business)
            assert session is not None
            meta = CheckpointMeta(reasons=("stale",))
            await self.pool.sessions.checkpoints.save(session.id, token, {"stale": b""}, meta)
        except RaypoolError as error:
            self._history.add(Kind.FAIL, STALE_WRITE, business, op, _told(error))
            return
        self._history.add(Kind.OK, STALE_WRITE, business, op)


@contextmanager
def own_fleet(run: str, redis_url: str | None = None) -> Iterator[Settings]:
    """Settings of a fleet of the run's own, whose processes all carry its mark."""
    keys = os.environ.get("RAYPOOL_ENCRYPTION_KEYS") or Keyring.generate()
    os.environ[RUN_VARIABLE] = run
    try:
        with tempfile.TemporaryDirectory(prefix="raypool-chaos-") as directory:
            yield Settings(
                redis_url=SecretStr(redis_url) if redis_url else None,
                redis_prefix=f"{run}:",
                ray_address=None,
                encryption_keys=SecretStr(keys) if redis_url else None,
                session_ttl=3600,
                data_dir=Path(directory),
                dashboard=False,
                log_level="ERROR",
            )
    finally:
        del os.environ[RUN_VARIABLE]


def say(line: str) -> None:
    """Tell people how it goes."""
    sys.stderr.write(f"{line}\n")


def _told(error: RaypoolError) -> dict[str, Any]:
    return {"code": str(error.code), "retryable": error.retryable, "error": str(error)}

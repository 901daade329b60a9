"""A live browser in the test's own process, as its owner has it, and what happens to it."""

import asyncio
import contextlib
import itertools
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from raypool.browser.live import LiveBrowser, launch
from raypool.browser.processes import InstanceDirectory
from raypool.spec import SessionSpec
from tests.integration.scripts import until

_tokens = itertools.count(1)


@dataclass
class Owner:
    """Whoever owns the browser; hears of its end."""

    live: LiveBrowser
    directory: Path
    lost: list[str] = field(default_factory=list)
    expected: list[str] = field(default_factory=list)
    """What it must have heard when the test is over."""


@contextlib.contextmanager
def private_directory() -> Iterator[Path]:
    """Give the block a home and a temporary directory of its own; nothing else is written to."""
    before = {name: os.environ.get(name) for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME")}
    short = tempfile.mkdtemp(prefix="rp-")  # Chromium makes a socket in it
    tempfile.tempdir = short
    os.environ |= {"HOME": short, "TMPDIR": short}
    os.environ.pop("XDG_CACHE_HOME", None)
    try:
        yield Path(short)
    finally:
        tempfile.tempdir = None
        for name in before:
            os.environ.pop(name, None)
        os.environ |= {name: value for name, value in before.items() if value is not None}
        shutil.rmtree(short)


@contextlib.asynccontextmanager
async def owned(
    kind: str = "headless_shell", parts: Mapping[str, bytes] | None = None, **context: Any
) -> AsyncIterator[Owner]:
    """Own a browser for the block; nothing of it is left behind it."""
    with private_directory():
        directory, lost = InstanceDirectory("attached", next(_tokens)), list[str]()
        live, warnings = await launch(
            SessionSpec(browser=kind, context=context), directory, parts or {}, lost.append
        )
        owner = Owner(live, directory.path, lost)
        try:
            await live.open_tabs(parts or {}, warnings)
            yield owner
            assert lost == owner.expected
        finally:
            await live.close()
            directory.kill_browser()
            assert directory.wait_gone(10)
            directory.remove()
            assert not directory.path.exists()


@contextlib.contextmanager
def stopped(*pids: int) -> Iterator[None]:
    """Stop processes for the block; they go on after it if they still can."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        until(lambda: all(map(_is_stopped, pids)), "all of them stand still", 10)
        yield
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def _is_stopped(pid: int) -> bool:
    return psutil.Process(pid).status() in {psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE}


def whole_session(pid: int) -> list[int]:
    """Return every process of the session that *pid* is in, as the owner's keeper freezes it."""
    session = os.getsid(pid)
    return [other for other in psutil.pids() if _session_of(other) == session]


def _session_of(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return None


async def within(seconds: float, holds: Callable[[], Any]) -> None:
    """Wait until *holds* does."""
    async with asyncio.timeout(seconds):
        while not holds():
            await asyncio.sleep(0.02)


async def hangs(call: Awaitable[Any], seconds: float = 1.0) -> "asyncio.Future[Any]":
    """See that a Playwright call gives no answer, and return it: it is not over."""
    task = asyncio.ensure_future(call)
    done, _ = await asyncio.wait({task}, timeout=seconds)
    assert not done, f"it answered: {task}"
    task.add_done_callback(lambda late: late.cancelled() or late.exception())
    return task

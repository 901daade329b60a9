"""Work that may hang, done where it can be given up: threads and processes that hold nobody up."""

import asyncio
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import ParamSpec, TypeVar

_P = ParamSpec("_P")
_T = TypeVar("_T")


@dataclass(frozen=True)
class Finished:
    """How a program ended."""

    code: int
    out: str
    err: str

    @property
    def last_words(self) -> str:
        """The last line that it said, on standard error if anywhere."""
        lines = (self.err.strip() or self.out.strip()).splitlines()
        return lines[-1].strip()[:300] if lines else f"exit code {self.code}, and not a word"


async def in_thread(work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Return what *work* returns, called in a thread.

    A daemon thread, unlike asyncio's own: the program can end while a dead disk holds it.
    """
    done: Future[_T] = Future()

    def call() -> None:
        try:
            done.set_result(work(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 -- raised where it is awaited
            done.set_exception(error)

    done.set_running_or_notify_cancel()
    threading.Thread(target=call, name="doctor", daemon=True).start()
    return await asyncio.wrap_future(done)


async def run(*command: str | Path) -> Finished:
    """Run a program to its end. When cancelled, it is killed with all of its process group.

    Raises:
        OSError: It cannot be started.
    """
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        out, err = await process.communicate()
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    code = await process.wait()
    return Finished(code, out.decode(errors="replace"), err.decode(errors="replace"))

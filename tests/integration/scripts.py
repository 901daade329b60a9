"""Driver scripts as processes of their own: what happens to them happens to nobody else."""

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from raypool.config import Settings

ROOT = Path(__file__).resolve().parents[2]
RAYPOOL = (sys.executable, "-c", "from raypool.cli import main; main()")
_HEADER = """
import asyncio, json, os, signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in whatever a shell put behind
import raypool
from raypool.demo.flows import sign_in
from tests.integration import flows

def say(**what):
    print(json.dumps(what), flush=True)

def trouble(error):
    say(kind=type(error).__name__, code=error.code, message=error.message, recovery=error.recovery)
"""


def until(holds: Callable[[], Any], what: str, seconds: float = 30.0) -> Any:
    """Return what *holds* returns once that is true."""
    deadline = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < deadline, f"not in {seconds:g} s: {what}"
        time.sleep(0.05)
    return found


def running(pid: int) -> bool:
    """Tell whether a process runs; a zombie does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    """Send a signal that ends the process, and see that it did: the fault has fired."""
    assert running(pid), f"{pid} is there to be killed"
    os.kill(pid, number)
    until(lambda: not running(pid), f"{pid} is dead")


def closed_port() -> int:
    """Return a port of 127.0.0.1 where nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def hosts(data_dir: Path) -> list[int]:
    """Return the hosts of local fleets that run with files in *data_dir*."""
    return [p.pid for p in psutil.process_iter() if _is_host(p) and _uses(p, data_dir)]


def descendants(pid: int, title: str) -> list[int]:
    """Return the processes below *pid* whose command line begins with *title*."""
    below = psutil.Process(pid).children(recursive=True)
    return [p.pid for p in below if _command(p).startswith(title)]


def _is_host(process: psutil.Process) -> bool:
    return "raypool.host" in _command(process)


def _uses(process: psutil.Process, directory: Path) -> bool:
    try:
        return any(Path(f.path).is_relative_to(directory) for f in process.open_files())
    except psutil.Error:
        return False


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def environment(settings: Settings, **more: str) -> dict[str, str]:
    """Return a clean environment in which a script finds the local fleet of *settings*."""
    kept = {k: os.environ[k] for k in ("PATH", "HOME", "LANG") if k in os.environ}
    ours = {
        "RAYPOOL_DATA_DIR": str(settings.data_dir),
        "REDIS_PREFIX": settings.redis_prefix,
        "RAYPOOL_DASHBOARD": "false",
        "RAYPOOL_LOG_LEVEL": "ERROR",
        "RAYPOOL_LEASE_TTL": str(settings.lease_ttl),
        "PYTHONPATH": str(ROOT),
        "COLUMNS": "200",
    }
    return {**kept, **ours, **more}


class Script:
    """A driver script that runs; it talks in JSON lines."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self.pid = process.pid

    def hear(self) -> Any:
        """Return the next thing that it says."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError(f"the script ended: {self.process.communicate()[1]}")
        return json.loads(line)

    def end(self, seconds: float = 60) -> int:
        """Wait for its end and return its exit code."""
        return self.process.wait(seconds)

    def errors(self) -> str:
        """Return what it wrote to standard error, after its end."""
        return self.process.communicate()[1]


@contextmanager
def script(code: str, env: Mapping[str, str], *args: str) -> Iterator[Script]:
    """Run *code* for the block."""
    process = subprocess.Popen(
        [sys.executable, "-c", _HEADER + textwrap.dedent(code), *args],
        env=env,
        cwd=ROOT,
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        yield Script(process)
    finally:
        process.kill()
        process.communicate()


def command(env: Mapping[str, str], *args: str) -> "subprocess.CompletedProcess[str]":
    """Run the command line with *args* and return how it went."""
    return subprocess.run(
        [*RAYPOOL, *args],
        env=env,
        cwd=ROOT,
        text=True,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=100,
        check=False,
    )

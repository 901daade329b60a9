"""Find the processes that faults are for, and signal them so that it has happened on return.

A business's processes are named by the ledger of its incarnation; what belongs to a run's fleet
carries the run's mark in its environment.
"""

import contextlib
import os
import signal
import time
from collections.abc import Callable

import psutil

from raypool.browser.processes import Ledger, ledgers
from raypool.config import Settings
from raypool.local import FleetPaths
from raypool.store.endpoint import ServerDirectory

RUN_VARIABLE = "CHAOS_RUN"
"""Environment variable that every process of a run's fleet inherits, browsers excepted."""
SIGNAL_TIMEOUT_S = 5.0

Find = Callable[[str], psutil.Process | None]
"""Returns the process that a fault at a business is for; None when there is none now."""


def live_ledger(business_id: str) -> Ledger | None:
    """Return the ledger of the business's living incarnation; None when there is none."""
    living = [e for _, e in ledgers() if e.business_id == business_id and e.owner.alive()]
    return max(living, key=lambda entry: entry.token, default=None)


def actor(business_id: str) -> psutil.Process | None:
    """Return the actor process of a business."""
    ledger = live_ledger(business_id)
    return _process(ledger.owner.pid) if ledger else None


def driver(business_id: str) -> psutil.Process | None:
    """Return the Playwright driver of a business."""
    ledger = live_ledger(business_id)
    found = ledger.driver if ledger else None
    return _process(found.pid) if found and found.alive() else None


def chromium(business_id: str) -> psutil.Process | None:
    """Return the browser process of a business's Chromium, not a script that started it."""
    ledger = live_ledger(business_id)
    leader = ledger.browser if ledger else None
    if leader is None or not leader.alive():
        return None
    with contextlib.suppress(psutil.Error):
        top = psutil.Process(leader.pid)
        tree = [top, *top.children(recursive=True)]
        return [p for p in tree if not any(a.startswith("--type=") for a in p.cmdline())][-1]
    return None


def titled(run: str, title: str) -> Find:
    """Find the actor of the run's fleet whose process title begins with *title*."""
    return _one(run, lambda words: words[0].startswith(title))


def program(run: str, name: str) -> Find:
    """Find the program of the run's fleet whose file is called *name*."""
    return _one(run, lambda words: words[0].rpartition("/")[2] == name)


def host(run: str) -> Find:
    """Find the process behind the run's local fleet."""
    return _one(run, lambda words: words[-2:] == ["-m", "raypool.host"])


def embedded_server(settings: Settings) -> Find:
    """Find the embedded server of a fleet."""

    def find(_: str) -> psutil.Process | None:
        endpoint = ServerDirectory(FleetPaths.of(settings).redis).read_endpoint()
        alive = endpoint is not None and endpoint.server.alive()
        return _process(endpoint.server.pid) if endpoint and alive else None

    return find


def fleet_processes(run: str) -> list[psutil.Process]:
    """Return the living processes of the run's fleet; browsers, whose environment is clean, are not
    among them.
    """
    return [p for p in psutil.process_iter() if p.pid != os.getpid() and _belongs(p, run)]


def kill(process: psutil.Process) -> bool:
    """SIGKILL *process* and wait until it runs no more; tell whether that came true."""
    return _signal(process, signal.SIGKILL, lambda state: state in _GONE)


def pause(process: psutil.Process) -> bool:
    """SIGSTOP *process* and wait until it stands still; tell whether that came true."""
    return _signal(process, signal.SIGSTOP, lambda state: state in _STILL)


def resume(process: psutil.Process) -> bool:
    """SIGCONT *process*; tell whether it was there to go on."""
    return _signal(process, signal.SIGCONT, lambda state: state not in _STILL | _GONE)


_GONE = {None, psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD}
_STILL = {psutil.STATUS_STOPPED}


def _signal(process: psutil.Process, number: int, came: Callable[[str | None], bool]) -> bool:
    if _state(process) in _GONE:
        return False
    with contextlib.suppress(psutil.Error):
        process.send_signal(number)  # refuses a pid that is somebody else's by now
    deadline = time.monotonic() + SIGNAL_TIMEOUT_S
    while not came(_state(process)):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def _state(process: psutil.Process) -> str | None:
    try:
        return process.status() if process.is_running() else None
    except psutil.Error:
        return None


def _one(run: str, fits: Callable[[list[str]], bool]) -> Find:
    """Find the process of a run's fleet whose command line fits; the oldest of several."""

    def find(_: str) -> psutil.Process | None:
        found = [p for p in psutil.process_iter() if fits(_words(p)) and _belongs(p, run)]
        return min(found, key=lambda p: p.create_time(), default=None)

    return find


def _words(process: psutil.Process) -> list[str]:
    with contextlib.suppress(psutil.Error):
        return process.cmdline() or [""]
    return [""]


def _process(pid: int) -> psutil.Process | None:
    with contextlib.suppress(psutil.Error):
        return psutil.Process(pid)
    return None


def _belongs(process: psutil.Process, run: str) -> bool:
    try:
        alive = process.status() != psutil.STATUS_ZOMBIE
        return alive and process.environ().get(RUN_VARIABLE) == run
    except (psutil.Error, OSError):
        return False

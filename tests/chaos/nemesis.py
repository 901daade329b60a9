"""The faults. Each is a small class: a name, and ``strike``, which tells whether it fired."""

import contextlib
import os
import signal
from dataclasses import dataclass
from typing import Protocol

import psutil

from raypool.browser.processes import Ledger, ledgers
from raypool.config import Settings
from raypool.local import FleetPaths
from raypool.store.endpoint import ServerDirectory

RUN_VARIABLE = "CHAOS_RUN"
"""Environment variable that every process of a run's fleet inherits, browsers excepted."""
DEATH_TIMEOUT_S = 5.0


class Nemesis(Protocol):
    """A fault that can be made to happen."""

    @property
    def name(self) -> str:
        """The word for it in history and report."""
        ...

    def strike(self, business_id: str) -> bool:
        """Make it happen to *business_id*; tell whether it did. Returns when it has happened."""
        ...


@dataclass(frozen=True)
class KillActor:
    """SIGKILL for the actor process of a business."""

    name: str = "kill-actor"

    def strike(self, business_id: str) -> bool:
        ledger = live_ledger(business_id)
        return ledger is not None and kill(ledger.owner.pid)


@dataclass(frozen=True)
class KillDriver:
    """SIGKILL for the Playwright driver of a business."""

    name: str = "kill-driver"

    def strike(self, business_id: str) -> bool:
        ledger = live_ledger(business_id)
        driver = ledger.driver if ledger else None
        return driver is not None and driver.alive() and kill(driver.pid)


@dataclass(frozen=True)
class KillChromium:
    """SIGKILL for the browser process of a business's Chromium, not for a script that started it."""

    name: str = "kill-chromium"

    def strike(self, business_id: str) -> bool:
        ledger = live_ledger(business_id)
        leader = ledger.browser if ledger else None
        browser = _browser_below(leader.pid) if leader and leader.alive() else None
        return browser is not None and kill(browser.pid)


@dataclass(frozen=True)
class KillServer:
    """SIGKILL for the fleet's embedded server."""

    settings: Settings
    name: str = "kill-server"

    def strike(self, business_id: str) -> bool:
        endpoint = ServerDirectory(FleetPaths.of(self.settings).redis).read_endpoint()
        return endpoint is not None and endpoint.server.alive() and kill(endpoint.server.pid)


@dataclass(frozen=True)
class KillHost:
    """SIGKILL for the process behind the run's local fleet."""

    run: str
    name: str = "kill-host"

    def strike(self, business_id: str) -> bool:
        hosts = [p for p in fleet_processes(self.run) if _is_host(p)]
        return len(hosts) == 1 and kill(hosts[0].pid)


def live_ledger(business_id: str) -> Ledger | None:
    """Return the ledger of the business's living incarnation; None when there is none."""
    living = [e for _, e in ledgers() if e.business_id == business_id and e.owner.alive()]
    return max(living, key=lambda entry: entry.token, default=None)


def fleet_processes(run: str) -> list[psutil.Process]:
    """Return the living processes of the run's fleet; browsers, whose environment is clean, are not
    among them.
    """
    return [p for p in psutil.process_iter() if p.pid != os.getpid() and _belongs(p, run)]


def kill(pid: int) -> bool:
    """SIGKILL *pid* and wait until it runs no more; tell whether that came true."""
    with contextlib.suppress(psutil.Error, ProcessLookupError):
        process = psutil.Process(pid)
        os.kill(pid, signal.SIGKILL)
        return _gone(process)
    return False


def _browser_below(leader: int) -> psutil.Process | None:
    """Return the one process of Chromium's tree that is of no ``--type``: the browser itself."""
    with contextlib.suppress(psutil.Error):
        top = psutil.Process(leader)
        tree = [top, *top.children(recursive=True)]
        return [p for p in tree if not any(a.startswith("--type=") for a in p.cmdline())][-1]
    return None


def _gone(process: psutil.Process) -> bool:
    try:
        process.wait(DEATH_TIMEOUT_S)
    except psutil.TimeoutExpired:
        return process.status() == psutil.STATUS_ZOMBIE
    return True


def _belongs(process: psutil.Process, run: str) -> bool:
    try:
        return bool(process.environ().get(RUN_VARIABLE) == run)
    except (psutil.Error, OSError):
        return False


def _is_host(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return process.cmdline()[-2:] == ["-m", "raypool.host"]
    return False

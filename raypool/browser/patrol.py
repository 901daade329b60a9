"""The patrol of a node: browsers that nobody may use any more are killed, and their remains removed.

Cheap as long as all is well: one look at each owner and its deadline. The processes of a browser are
looked for only when its life depends on them, all processes only every few seconds, for browsers whose
directory is gone.
"""

import os
import shutil
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from raypool.browser.ledger import (
    Ledger,
    directories,
    home,
    ledgers,
    read_deadline,
    read_ledger,
)
from raypool.browser.proc import Process, environment, kill_session, members, sessions, still
from raypool.browser.processes import MARKER, LivingBrowser, kill, living_browsers
from raypool.browser.verdict import BrowserState, Found, Kill, OwnerState, verdict
from raypool.logs import get_logger

log = get_logger(__name__)

SCAN_EVERY_S = 5.0
ABANDONED_AFTER_S = 60.0
"""A directory without a ledger is one that is just being made, unless it is this old."""
END_TIMEOUT_S = 5.0
_GIVEN_UP_KEPT = 1000
_POLL_S = 0.02
_LINGER_S = 0.2


class Patrol:
    """Looks after the incarnations of this user on this node. Safe from any thread."""

    def __init__(self) -> None:
        self.killed = 0
        """Browsers killed since it began."""
        self.swept = 0
        """Directories removed since then."""
        self.browsers = 0
        """Browsers with a living owner, at the last look at all processes."""
        self._lingering: set[Path] = set()
        self._strays: dict[Path, set[Process]] = {}
        self._given_up: dict[str, None] = {}
        self._scan_at = 0.0
        self._lock = threading.Lock()

    @property
    def orphans(self) -> int:
        """How many browsers without a living owner still run, although they were killed."""
        strays = sum(any(p.alive() for p in found) for found in self._strays.values())
        return len(self._lingering) + strays

    def round(self, now: float, *, thorough: bool = False) -> None:
        """Look once at everything; act on what must not be.

        Args:
            now: On the clock of the deadlines.
            thorough: Look at all processes too, also when their turn has not come.

        Raises:
            ConfigurationError: The directory of all instances is not ours.
        """
        with self._lock:
            self._lingering = {directory for directory in self._lingering if directory.exists()}
            suspects = [entry for entry in ledgers() if self._suspect(entry, now)]
            if suspects:
                self._judge(suspects, now)
            if thorough or time.monotonic() >= self._scan_at:
                self._scan_at = time.monotonic() + SCAN_EVERY_S
                self._scan()

    def end(self, holder_id: str, timeout: float = END_TIMEOUT_S) -> bool:
        """Kill owner and browser of an incarnation, now and if it should turn up later.

        Returns:
            Whether nothing of it is left, also when there was nothing. False for an empty id, which
            names nobody, and when something still runs after *timeout* seconds.
        """
        if not holder_id:
            return False
        deadline = time.monotonic() + timeout
        self._give_up(holder_id)
        while left := [entry for entry in ledgers() if entry[1].holder_id == holder_id]:
            if time.monotonic() > deadline:
                return False
            with self._lock:
                self._judge(left, 0.0)
            time.sleep(_POLL_S)
        return True

    def inspect(self) -> list[dict[str, Any]]:
        """Return what lies and runs here, for the audit: one dictionary a directory or stray browser.

        ``directory``, ``business_id``, ``token``, ``holder_id``, ``owner`` (a state), ``owner_pid``,
        ``browser`` (a state), ``browser_pid``, ``deadline``. A directory without a ledger that can be
        read has no business and no states; a browser without a directory has a dead owner.
        """
        known = [_seen(directory) for directory in directories()]
        present = {entry["directory"] for entry in known}
        strays = {
            b.directory: b for b in _at_home(living_browsers()) if str(b.directory) not in present
        }
        return known + [_stray(browser) for browser in strays.values()]

    def _give_up(self, holder_id: str) -> None:
        with self._lock:
            self._given_up[holder_id] = None
            while len(self._given_up) > _GIVEN_UP_KEPT:
                del self._given_up[next(iter(self._given_up))]

    def _suspect(self, entry: "_Entry", now: float) -> bool:
        """Tell whether the life of the browser depends on what its processes do."""
        worst = self._found(entry, BrowserState.RUNNING)
        return isinstance(verdict(worst, now), Kill)

    def _found(self, entry: "_Entry", browser: BrowserState) -> Found:
        directory, ledger = entry
        condemned = ledger.holder_id in self._given_up
        return Found(_owner(ledger), browser, read_deadline(directory), condemned)

    def _judge(self, suspects: list["_Entry"], now: float) -> None:
        table, doomed = sessions(), []
        for entry in suspects:
            browser = _browser(entry[1], table)
            decided = verdict(self._found(entry, browser), now)
            if isinstance(decided, Kill):
                self._kill(entry, decided.reason)
                doomed.append(entry)
        _await_end(ledger for _, ledger in doomed)
        for entry in doomed:
            self._sweep(entry)

    def _kill(self, entry: "_Entry", reason: str) -> None:
        directory, ledger = entry
        if ledger.here and ledger.holder_id in self._given_up:
            ledger.owner.kill()
        if kill(ledger) and directory not in self._lingering:
            self.killed += 1
            who = {"business_id": ledger.business_id, "token": ledger.token}
            log.warning("browser killed", reason=reason, **who)

    def _sweep(self, entry: "_Entry") -> None:
        """Remove the directory of a dead owner once nothing runs in it any more."""
        directory, ledger = entry
        self._lingering.discard(directory)
        if ledger.owner_alive:
            return
        if _browser(ledger) is not BrowserState.GONE:
            self._lingering.add(directory)
            return
        shutil.rmtree(directory, ignore_errors=True)
        self.swept += not directory.exists()

    def _scan(self) -> None:
        """Look at all processes and directories, for those that no ledger speaks of."""
        found: dict[Path, list[int]] = defaultdict(list)
        for browser in _at_home(living_browsers()):
            found[browser.directory].append(browser.pid)
        strays = {d: _processes(pids) for d, pids in found.items() if _lost(d)}
        for directory in strays.keys() - self._strays.keys():
            self.killed += 1
            log.warning("stray browser killed", directory=directory.name)
        self._strays = strays
        for process in set[Process]().union(*strays.values()):
            _kill_marked(process)
        self._remove_abandoned(set(found))
        owned = [ledger for _, ledger in ledgers() if ledger.owner_alive]
        self.browsers = sum(_browser(ledger) is not BrowserState.GONE for ledger in owned)

    def _remove_abandoned(self, lived_in: set[Path]) -> None:
        """Remove directories whose making was cut off, or whose ledger was destroyed."""
        for directory in directories():
            with suppress(OSError):
                old = time.time() - directory.stat().st_mtime > ABANDONED_AFTER_S
                if old and directory not in lived_in and read_ledger(directory) is None:
                    shutil.rmtree(directory, ignore_errors=True)
                    self.swept += not directory.exists()


_Entry = tuple[Path, Ledger]


def _owner(ledger: Ledger) -> OwnerState:
    stat = ledger.owner.stat() if ledger.here else None
    if stat is None:
        return OwnerState.DEAD
    return OwnerState.STOPPED if stat.state == "T" else OwnerState.RUNNING


def _browser(ledger: Ledger, table: dict[int, list[int]] | None = None) -> BrowserState:
    found = members(ledger.browser, table) if ledger.browser and ledger.here else {}
    if not found:
        return BrowserState.GONE
    frozen = all(still(pid, stat) for pid, stat in found.items())
    return BrowserState.FROZEN if frozen else BrowserState.RUNNING


def _await_end(killed: Iterable[Ledger]) -> None:
    """Give the kernel a moment to take down what was killed."""
    left, deadline = list(killed), time.monotonic() + _LINGER_S
    while time.monotonic() < deadline:
        left = [ledger for ledger in left if _browser(ledger) is not BrowserState.GONE]
        if not left:
            return
        time.sleep(_POLL_S)


def _at_home(browsers: list[LivingBrowser]) -> Iterator[LivingBrowser]:
    """Yield the browsers of this temporary directory: another one is another node's affair."""
    return (b for b in browsers if b.directory.parent == home())


def _lost(directory: Path) -> bool:
    """Tell whether a browser's directory is gone, or its owner dead.

    One whose ledger cannot be read may have a living owner.
    """
    if not directory.exists():
        return True
    ledger = read_ledger(directory)
    return ledger is not None and not ledger.owner_alive


def _processes(pids: list[int]) -> set[Process]:
    found = set()
    for pid in pids:
        with suppress(ProcessLookupError):
            found.add(Process.of(pid))
    return found


def _kill_marked(process: Process) -> None:
    """Kill a process that carries our mark, with its session if the leader carries the same mark."""
    with suppress(ProcessLookupError):
        leader = Process.of(os.getsid(process.pid))
        if environment(leader.pid).get(MARKER) == environment(process.pid).get(MARKER):
            kill_session(leader)
    process.kill()


_NOTHING: dict[str, Any] = {
    "directory": None,
    "business_id": None,
    "token": 0,
    "holder_id": "",
    "owner": None,
    "owner_pid": None,
    "browser": None,
    "browser_pid": None,
    "deadline": None,
}
"""Every entry has every name."""


def _seen(directory: Path) -> dict[str, Any]:
    ledger = read_ledger(directory)
    if ledger is None:
        return _NOTHING | {"directory": str(directory)}
    return _NOTHING | {
        "directory": str(directory),
        "business_id": ledger.business_id,
        "token": ledger.token,
        "holder_id": ledger.holder_id,
        "owner": _owner(ledger),
        "owner_pid": ledger.owner.pid,
        "browser": _browser(ledger),
        "browser_pid": ledger.browser.pid if ledger.browser else None,
        "deadline": read_deadline(directory),
    }


def _stray(browser: LivingBrowser) -> dict[str, Any]:
    return _NOTHING | {
        "business_id": browser.business_id,
        "token": browser.token,
        "owner": OwnerState.DEAD,
        "browser": BrowserState.RUNNING,
        "browser_pid": browser.pid,
    }

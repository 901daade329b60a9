"""The processes of a browser and the private directory it lives in.

Each incarnation has a directory ``<tmp>/raypool-<uid>/<business>-<token>`` (0700). It is the
browser's ``TMPDIR``, and its ``owner.json`` says which process owns which browser, with start times,
so that a pid that was given to somebody else is never mistaken for ours. Chromium leads a session of
its own (Playwright spawns it detached), which is how the whole tree is found and killed.
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import stat
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from raypool.errors import ErrorCodes, create_error

MARKER = "RAYPOOL_INSTANCE"
"""Environment variable of every browser: ``<business>:<token>``."""
_MARK = re.compile(r".+:\d+")
_LEDGER = "owner.json"


@dataclass(frozen=True)
class Process:
    """A process that cannot be confused with a later one of the same pid."""

    pid: int
    started: float
    """Seconds between boot and start: unlike a date it does not move when the clock is set."""

    @classmethod
    def of(cls, pid: int) -> "Process":
        """Return the living process *pid*.

        Raises:
            psutil.NoSuchProcess: There is none.
        """
        # The kernel counts in hundredths; the rounding takes back what adding the boot time cost.
        return cls(pid, round(psutil.Process(pid).create_time() - psutil.boot_time(), 2))

    def alive(self) -> bool:
        """Tell whether it still runs (a zombie does not)."""
        try:
            same = self.of(self.pid) == self
            return same and psutil.Process(self.pid).status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return False


@dataclass(frozen=True)
class Ledger:
    """What ``owner.json`` holds."""

    business_id: str
    token: int
    owner: Process
    driver: Process | None = None
    browser: Process | None = None


@dataclass(frozen=True)
class LivingBrowser:
    """A running browser of some raypool instance."""

    pid: int
    business_id: str
    token: int
    owner_alive: bool


class InstanceDirectory:
    """The private directory of one incarnation."""

    def __init__(self, business_id: str, token: int) -> None:
        digest = hashlib.blake2b(business_id.encode(), digest_size=6).hexdigest()
        self.path = home() / f"{digest}-{token}"
        self.path.mkdir(mode=0o700, exist_ok=True)
        self._ledger = Ledger(business_id, token, Process.of(os.getpid()))
        self._write()

    @property
    def marker(self) -> str:
        """Value of :data:`MARKER` for this incarnation's browser."""
        return f"{self._ledger.business_id}:{self._ledger.token}"

    def record(self, *, driver_pid: int, browser_pid: int) -> None:
        """Note the processes that this incarnation started."""
        old = self._ledger
        leader = os.getsid(browser_pid)
        self._ledger = Ledger(
            old.business_id, old.token, old.owner, Process.of(driver_pid), Process.of(leader)
        )
        self._write()

    def kill_browser(self) -> None:
        """SIGKILL this incarnation's driver and browser tree. Idempotent; does not wait."""
        _kill(self._ledger)

    def wait_gone(self, timeout: float) -> bool:
        """Block until no process of the browser runs; tell whether that came true in *timeout* s."""
        deadline = time.monotonic() + timeout
        while self._ledger.browser and _session_members(self._ledger.browser):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True

    def remove(self) -> None:
        """Delete the directory with all that the browser left in it. Idempotent."""
        shutil.rmtree(self.path, ignore_errors=True)

    def _write(self) -> None:
        new = self.path / f"{_LEDGER}.new"
        new.write_text(json.dumps(asdict(self._ledger)))
        new.replace(self.path / _LEDGER)


def home() -> Path:
    """Return the directory that holds the instances of this user on this node, made when missing.

    Raises:
        ConfigurationError: Its name is taken by something that is not ours.
    """
    path = Path(tempfile.gettempdir()) / f"raypool-{os.getuid()}"
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise create_error(
            ErrorCodes.CONFIG_INVALID,
            f"{path} is not a private directory of this user",
            recovery=f"Remove {path}, or set TMPDIR to a directory of your own.",
        )
    return path


def sweep() -> int:
    """Kill browsers whose owner is dead and delete their directories; return how many were alive."""
    killed = 0
    for directory, ledger in ledgers():
        if ledger.owner.alive():
            continue
        killed += _kill(ledger)
        shutil.rmtree(directory, ignore_errors=True)
    return killed


def living_browsers() -> list[LivingBrowser]:
    """Return every running browser that carries raypool's mark, whoever owns it."""
    owners = {f"{entry.business_id}:{entry.token}": entry.owner for _, entry in ledgers()}
    marked = ((pid, _marker_of(pid)) for pid in psutil.pids())
    return [_living(pid, mark, owners.get(mark)) for pid, mark in marked if mark]


def _marker_of(pid: int) -> str | None:
    if not _is_running(pid):
        return None
    try:
        mark = psutil.Process(pid).environ().get(MARKER, "")
    except (psutil.Error, OSError):
        return None
    return mark if _MARK.fullmatch(mark) else None  # anybody may set a variable of that name


def _living(pid: int, mark: str, owner: Process | None) -> LivingBrowser:
    business_id, _, token = mark.rpartition(":")
    return LivingBrowser(pid, business_id, int(token), owner is not None and owner.alive())


def tree_memory(*pids: int) -> int:
    """Return the bytes (PSS) of these processes and their descendants; gone ones count nothing."""
    seen: dict[int, int] = {}
    for pid in pids:
        with contextlib.suppress(psutil.Error):
            root = psutil.Process(pid)
            for process in (root, *root.children(recursive=True)):
                with contextlib.suppress(psutil.Error):
                    seen[process.pid] = process.memory_full_info().pss
    return sum(seen.values())


def ledgers() -> Iterator[tuple[Path, Ledger]]:
    """Yield each instance's directory on this node with its ledger, whether its owner lives or not."""
    for file in home().glob(f"*/{_LEDGER}"):
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            data = json.loads(file.read_text())
            for name in ("owner", "driver", "browser"):
                data[name] = Process(**data[name]) if data[name] else None
            yield file.parent, Ledger(**data)


def _kill(ledger: Ledger) -> int:
    alive = 0
    if ledger.driver and ledger.driver.alive():
        with contextlib.suppress(ProcessLookupError):
            os.kill(ledger.driver.pid, signal.SIGKILL)
    if ledger.browser:
        for pid in _session_members(ledger.browser):
            alive = 1
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    return alive


def _session_members(leader: Process) -> list[int]:
    """Return the running pids of the session that *leader* led, also when the leader is gone."""
    if _taken_over(leader):
        return []
    return [pid for pid in psutil.pids() if _session_of(pid) == leader.pid and _is_running(pid)]


def _taken_over(leader: Process) -> bool:
    """Tell whether the leader's pid belongs to somebody else by now, and so the session id."""
    try:
        return Process.of(leader.pid) != leader
    except psutil.Error:
        return False


def _session_of(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except OSError:
        return None


def _is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False

"""What the kernel tells of processes, and signals that reach no stranger. Linux: it reads ``/proc``.

Read directly, because the janitor asks four times a second: a look at one process costs some
microseconds this way, and a look at all of them about a millisecond.
"""

import contextlib
import os
import signal
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import Field

_TICKS = os.sysconf("SC_CLK_TCK")
_ENDED = "ZX"
_STOPPED = "Tt"
_PAUSE_S = 0.002
_PASSES = 100
_QUIET_LOOKS = 2
"""A fork can escape one look, by a parent that was about to stop."""


class Stat(NamedTuple):
    """What ``/proc/<pid>/stat`` says (man 5 proc_pid_stat)."""

    state: str
    parent: int
    session: int
    started: float
    """Seconds between boot and start."""


@dataclass(frozen=True)
class Process:
    """A process that cannot be confused with a later one of the same pid."""

    pid: Annotated[int, Field(gt=0)]
    started: float
    """Seconds between boot and start: unlike a date it does not move when the clock is set."""

    @classmethod
    def of(cls, pid: int) -> "Process":
        """Return the process *pid*.

        Raises:
            ProcessLookupError: There is none.
        """
        stat = read_stat(pid)
        if stat is None:
            raise ProcessLookupError(f"no process {pid}")
        return cls(pid, stat.started)

    def stat(self) -> Stat | None:
        """Return what is known of it now; None when it has ended, a zombie included."""
        stat = read_stat(self.pid)
        return stat if stat and stat.started == self.started and running(stat) else None

    def alive(self) -> bool:
        """Tell whether it still runs (a zombie does not)."""
        return self.stat() is not None

    def stopped(self) -> bool:
        """Tell whether it lives but was stopped by a signal."""
        stat = self.stat()
        return stat is not None and stat.state == "T"

    def kill(self) -> None:
        """SIGKILL it. Idempotent; does not wait."""
        if self.alive():
            send(self.pid, signal.SIGKILL)


def read_stat(pid: int) -> Stat | None:
    """Return what the kernel says of *pid*, None when there is no such process."""
    data = _read(f"/proc/{pid}/stat")
    if not data:
        return None
    fields = data[data.rindex(b")") + 2 :].split()  # a name may hold anything, brackets too
    return Stat(fields[0].decode(), int(fields[1]), int(fields[3]), int(fields[19]) / _TICKS)


def running(stat: Stat) -> bool:
    """Tell whether a process has not ended."""
    return stat.state not in _ENDED


@cache
def world() -> str:
    """Return what names this boot and this process namespace: pids mean nothing in another one."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    init = read_stat(1)
    return f"{boot}:{init.started if init else 0:.2f}"


def pids() -> list[int]:
    """Return every pid that there is."""
    return [int(name) for name in os.listdir("/proc") if name.isdecimal()]  # noqa: PTH208 -- speed


def living(pids: Iterable[int]) -> list[int]:
    """Return those of *pids* under which a process runs, whichever it is."""
    return [pid for pid in pids if (stat := read_stat(pid)) and running(stat)]


def owned_by_us(pid: int) -> bool:
    """Tell whether a process runs as this user."""
    try:
        return Path(f"/proc/{pid}").stat().st_uid == os.getuid()
    except OSError:
        return False


def sessions() -> dict[int, list[int]]:
    """Return the pids of every process session, by the session's id; zombies too."""
    found: dict[int, list[int]] = {}
    for pid in pids():
        with contextlib.suppress(OSError):
            found.setdefault(os.getsid(pid), []).append(pid)
    return found


def members(leader: Process, table: dict[int, list[int]] | None = None) -> dict[int, Stat]:
    """Return the running processes of the session that *leader* led, also when the leader is gone.

    Args:
        leader: Whose session. Nothing when its pid is somebody else's by now: the kernel gives a
            pid out again only when no session carries its number any more.
        table: What :func:`sessions` returned a moment ago; asked now when None.
    """
    now = read_stat(leader.pid)
    if now is not None and now.started != leader.started:
        return {}
    pids_of = (sessions() if table is None else table).get(leader.pid, [])
    stats = {pid: stat for pid in pids_of if (stat := read_stat(pid))}
    return {
        pid: stat
        for pid, stat in stats.items()
        if running(stat) and stat.session == leader.pid and stat.started >= leader.started
    }


def kill_session(leader: Process, but: Collection[int] = ()) -> int:
    """SIGKILL every process of a session, those too that are forked meanwhile.

    Args:
        leader: Whose session, as for :func:`members`.
        but: The pids that go on.

    Returns:
        How many processes were killed. Does not wait for their end.
    """
    killed: set[int] = set()
    for _ in range(_PASSES):
        found = members(leader).keys() - killed - set(but)
        if not found:
            break
        for pid in found:
            send(pid, signal.SIGKILL)
        killed |= found
    return len(killed)


def freeze_session(leader: Process, timeout: float) -> bool:
    """SIGSTOP every process of a session; tell whether all stood still within *timeout* seconds."""
    deadline = time.monotonic() + timeout
    quiet = 0
    while quiet < _QUIET_LOOKS:
        moving = [pid for pid, stat in members(leader).items() if not still(pid, stat)]
        quiet = 0 if moving else quiet + 1
        for pid in moving:
            send(pid, signal.SIGSTOP)
        if moving:
            if time.monotonic() > deadline:
                return False
            time.sleep(_PAUSE_S)
    return True


def thaw_session(leader: Process) -> None:
    """SIGCONT every process of a session. Idempotent."""
    for pid in members(leader):
        send(pid, signal.SIGCONT)


def still(pid: int, stat: Stat) -> bool:
    """Tell whether a process can run no instruction of its own before somebody continues it."""
    return stat.state in _STOPPED or (stat.state == "D" and _stop_pending(pid))


def _stop_pending(pid: int) -> bool:
    """Tell whether a process that waits inside the kernel will stop when it comes out of there.

    It may wait for long: a parent in ``vfork`` waits for its child, which was stopped as well.
    """
    bit = 1 << (signal.SIGSTOP - 1)
    lines = (_read(f"/proc/{pid}/status") or b"").splitlines()
    masks = (line.split()[1] for line in lines if line.startswith((b"SigPnd:", b"ShdPnd:")))
    return any(int(mask, 16) & bit for mask in masks)


def send(pid: int, number: signal.Signals) -> None:
    """Send a signal to a process that may have ended, or be somebody else's."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def environment(pid: int) -> dict[str, str]:
    """Return the environment that a process was started with; empty when it cannot be read."""
    entries = (_read(f"/proc/{pid}/environ") or b"").split(b"\0")
    pairs = (os.fsdecode(entry).partition("=") for entry in entries)
    return {name: value for name, equals, value in pairs if equals}


def _read(path: str) -> bytes | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        data = b""
        while chunk := os.read(descriptor, 65536):
            data += chunk
    except OSError:
        return None
    else:
        return data
    finally:
        os.close(descriptor)

"""The processes of a browser and the private directory it lives in.

Each incarnation has a directory ``<tmp>/raypool-<uid>/<incarnation>-<token>`` (0700). It is the
browser's ``TMPDIR``, and its ``owner.json`` says which process owns which browser, with start times,
so that a pid that was given to somebody else is never mistaken for ours. Chromium leads a session of
its own (Playwright spawns it detached), which is how the whole tree is found, frozen and killed.
"""

import contextlib
import hashlib
import os
import re
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from raypool.browser.ledger import (
    DIRECTORY_NAME,
    Ledger,
    home,
    ledgers,
    read_ledger,
    write_deadline,
    write_ledger,
)
from raypool.browser.proc import (
    Process,
    environment,
    freeze_session,
    kill_session,
    members,
    owned_by_us,
    pids,
    read_stat,
    running,
    still,
    thaw_session,
    world,
)

__all__ = [
    "MARKER",
    "InstanceDirectory",
    "Ledger",
    "LivingBrowser",
    "Process",
    "home",
    "kill",
    "ledgers",
    "living_browsers",
    "sweep",
    "tree_memory",
]

MARKER = "RAYPOOL_INSTANCE"
"""Environment variable of every browser: ``<business>:<token>``."""
FREEZE_TIMEOUT_S = 0.4
"""The janitor kills what still runs half a second after its deadline."""
_MARK = re.compile(r".+:\d+")


@dataclass(frozen=True)
class LivingBrowser:
    """A running browser of some raypool instance."""

    pid: int
    business_id: str
    token: int
    owner_alive: bool
    directory: Path = Path()
    """The instance directory that it was told to live in, empty when it was told none."""


class InstanceDirectory:
    """The private directory of one incarnation.

    ``freeze``, ``thaw`` and ``set_deadline`` may be called from any thread.

    Args:
        business_id: Whose browser.
        token: Fencing token of the incarnation.
        holder_id: Id of the lease's holder: incarnations of different fleets may have business and
            token in common, never this.
    """

    def __init__(self, business_id: str, token: int, holder_id: str = "") -> None:
        digest = hashlib.blake2b(f"{business_id}\n{holder_id}".encode(), digest_size=6).hexdigest()
        self.path = home() / f"{digest}-{token}"
        self.path.mkdir(mode=0o700, exist_ok=True)
        owner = Process.of(os.getpid())
        self._ledger = Ledger(business_id, token, owner, holder_id=holder_id, world=world())
        self._lock = threading.RLock()
        self._off_line = False
        write_ledger(self.path, self._ledger)
        write_deadline(self.path, None)

    @property
    def marker(self) -> str:
        """Value of :data:`MARKER` for this incarnation's browser."""
        return f"{self._ledger.business_id}:{self._ledger.token}"

    def record(self, *, driver_pid: int, browser_pid: int) -> None:
        """Note the processes that this incarnation started; while it is off line, freeze them."""
        leader = os.getsid(browser_pid)
        with self._lock:
            self._ledger = replace(
                self._ledger, driver=Process.of(driver_pid), browser=Process.of(leader)
            )
            write_ledger(self.path, self._ledger)
            if self._off_line:
                self.freeze()

    def set_deadline(self, at: float) -> None:
        """Note until when the owner may act (``CLOCK_BOOTTIME`` seconds). Costs microseconds.

        The janitor of the node kills a browser that still runs past it. Nothing happens when the
        directory was removed.
        """
        # What the disk refuses leaves the older, stricter moment in force.
        with contextlib.suppress(OSError):
            write_deadline(self.path, at)

    def freeze(self) -> bool:
        """Take the browser off line: not one of its processes runs until :meth:`thaw`. Idempotent.

        A browser that is noted later is frozen as well. Connections stay open, and Chromium goes on
        where it was, after minutes too.

        Returns:
            Whether everything stood still within :data:`FREEZE_TIMEOUT_S`; also when nothing runs.
        """
        with self._lock:
            self._off_line = True
            leader = self._ledger.browser
            return leader is None or freeze_session(leader, FREEZE_TIMEOUT_S)

    def thaw(self) -> None:
        """Bring the browser back on line. Idempotent."""
        with self._lock:
            self._off_line = False
            if self._ledger.browser:
                thaw_session(self._ledger.browser)

    def frozen(self) -> bool:
        """Tell whether a browser is there and not one of its processes runs."""
        leader = self._ledger.browser
        found = members(leader) if leader else {}
        return bool(found) and all(still(pid, stat) for pid, stat in found.items())

    def kill_browser(self) -> None:
        """SIGKILL this incarnation's driver and browser tree. Idempotent; does not wait."""
        kill(self._ledger)

    def wait_gone(self, timeout: float) -> bool:
        """Block until no process of the browser runs; tell whether that came true in *timeout* s."""
        deadline = time.monotonic() + timeout
        while self._ledger.browser and members(self._ledger.browser):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True

    def remove(self) -> None:
        """Delete the directory with all that the browser left in it. Idempotent."""
        shutil.rmtree(self.path, ignore_errors=True)


def kill(ledger: Ledger) -> bool:
    """SIGKILL the driver and the browser tree of a ledger; tell whether any of the browser ran."""
    if not ledger.here:
        return False
    if ledger.driver:
        ledger.driver.kill()
    return bool(ledger.browser and kill_session(ledger.browser))


def sweep() -> int:
    """Kill browsers whose owner is dead and delete their directories; return how many were alive."""
    killed = 0
    for directory, ledger in ledgers():
        if ledger.owner_alive:
            continue
        killed += kill(ledger)
        shutil.rmtree(directory, ignore_errors=True)
    return killed


def living_browsers() -> list[LivingBrowser]:
    """Return every running process of this user that carries raypool's mark, whoever owns it.

    Of most browsers these are the first processes only: Chromium writes over the environment of those
    that it forks.
    """
    owned = {(e.business_id, e.token) for _, e in ledgers() if e.owner_alive}
    return [_living(pid, env, owned) for pid, env in _marked()]


def _marked() -> Iterator[tuple[int, dict[str, str]]]:
    for pid in pids():
        env = environment(pid)
        # Anybody may set a variable of that name, and root sees the browsers of all users.
        if _MARK.fullmatch(env.get(MARKER, "")) and owned_by_us(pid):
            stat = read_stat(pid)
            if stat and running(stat):
                yield pid, env


def _living(pid: int, env: dict[str, str], owned: set[tuple[str, int]]) -> LivingBrowser:
    business_id, _, token = env[MARKER].rpartition(":")
    lives_in = Path(env.get("TMPDIR", ""))
    if not DIRECTORY_NAME.fullmatch(lives_in.name):
        return LivingBrowser(pid, business_id, int(token), (business_id, int(token)) in owned)
    ledger = read_ledger(lives_in)
    alive = ledger is not None and ledger.owner_alive
    return LivingBrowser(pid, business_id, int(token), alive, lives_in)


def tree_memory(*roots: int) -> int:
    """Return the bytes (PSS) of these processes and their descendants; gone ones count nothing."""
    seen: dict[int, int] = {}
    for pid in roots:
        with contextlib.suppress(psutil.Error):
            root = psutil.Process(pid)
            for process in (root, *root.children(recursive=True)):
                with contextlib.suppress(psutil.Error):
                    seen[process.pid] = process.memory_full_info().pss
    return sum(seen.values())

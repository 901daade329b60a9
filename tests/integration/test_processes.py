"""Browsers die with their owners, and nobody else's process is ever touched. Real processes."""

import json
import os
import signal
import stat
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from raypool.browser import processes
from raypool.browser.processes import (
    MARKER,
    InstanceDirectory,
    Process,
    home,
    living_browsers,
    sweep,
    tree_memory,
)
from raypool.errors import ConfigurationError

ROOT = Path(__file__).resolve().parents[2]
OWNER = """
    import os, subprocess, sys, tempfile
    tempfile.tempdir = sys.argv[1]
    from raypool.browser.processes import MARKER, InstanceDirectory
    directory = InstanceDirectory("b-1", 7)
    start = lambda: subprocess.Popen(
        ["sh", "-c", "sleep 60 & sleep 60"], start_new_session=True, stdout=subprocess.DEVNULL,
        env={"PATH": os.environ["PATH"], MARKER: directory.marker},
    )
    driver, browser = start(), start()
    directory.record(driver_pid=driver.pid, browser_pid=browser.pid)
    print(directory.path, driver.pid, browser.pid, flush=True)
    sys.stdin.read()
"""


def _until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline, f"not in 10 s: {what}"
        time.sleep(0.01)


def _running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _session(leader: int) -> list[int]:
    found = []
    for pid in psutil.pids():
        try:
            if os.getsid(pid) == leader and _running(pid):
                found.append(pid)
        except ProcessLookupError:
            continue
    return found


@pytest.fixture(autouse=True)
def _own_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test has a node of its own, as far as the temporary directory makes one."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


class Owner:
    """A process that owns an instance directory, a driver and a browser of two processes."""

    def __init__(self, tmp: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(OWNER), str(tmp)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        path, driver, browser = self.process.stdout.readline().split()
        self.path, self.driver, self.browser = Path(path), int(driver), int(browser)
        _until(lambda: len(_session(self.browser)) >= 2, "the browser's tree is up")

    def die(self) -> None:
        """End without tidying up."""
        self.process.kill()
        self.process.communicate()

    def tree(self) -> list[int]:
        """Return what still runs of the browser."""
        return _session(self.browser)


@pytest.fixture
def owner(tmp_path: Path) -> Iterator[Owner]:
    """Return a living owner; whatever it left behind is gone after the test."""
    owner = Owner(tmp_path)
    yield owner
    owner.die()
    for pid in _session(owner.driver) + _session(owner.browser):
        os.kill(pid, signal.SIGKILL)


@pytest.fixture
def sleeper() -> Iterator[int]:
    """Return the pid of an innocent process that leads a session of its own."""
    process = subprocess.Popen(["sleep", "60"], start_new_session=True)
    yield process.pid
    process.kill()
    process.wait()


def _edit_ledger(path: Path, **fields: Any) -> None:
    ledger = json.loads((path / "owner.json").read_text())
    (path / "owner.json").write_text(json.dumps({**ledger, **fields}))


def test_a_living_owner_is_left_alone(owner: Owner) -> None:
    """A sweep on a healthy node changes nothing."""
    assert sweep() == 0
    assert len(owner.tree()) >= 2
    assert (owner.path / "owner.json").exists()


def test_the_browser_of_a_dead_owner_is_killed(owner: Owner) -> None:
    """Driver and the whole tree, the directory too; a second sweep finds nothing."""
    owner.die()
    assert sweep() == 1
    _until(lambda: not owner.tree() and not _running(owner.driver), "driver and browser are gone")
    assert not owner.path.exists()
    assert sweep() == 0


def test_a_tree_without_its_leader_is_found(owner: Owner) -> None:
    """Chromium's main process is gone, its children live on: they are killed all the same."""
    owner.die()
    os.kill(owner.browser, signal.SIGKILL)
    _until(lambda: not _running(owner.browser), "the leader is gone")
    assert owner.tree()
    assert sweep() == 1
    _until(lambda: not owner.tree(), "its children are gone")


def test_a_recycled_pid_is_never_killed(owner: Owner, sleeper: int) -> None:
    """The ledger's pids belong to somebody else by now: the directory goes, the process stays."""
    stranger = {"pid": sleeper, "started": Process.of(sleeper).started - 1}
    _edit_ledger(owner.path, browser=stranger, driver=stranger)
    owner.die()
    assert sweep() == 0
    assert _running(sleeper)
    assert not owner.path.exists()


def test_pids_of_another_boot_mean_nothing(owner: Owner, sleeper: int) -> None:
    """After a reboot the same numbers, even the same start times, are other processes."""
    _edit_ledger(owner.path, world="another boot")
    assert sweep() == 0
    assert len(owner.tree()) >= 2
    assert not owner.path.exists()


def test_an_owner_with_a_recycled_pid_is_dead(owner: Owner, sleeper: int) -> None:
    """Somebody lives under the owner's number, but not the owner."""
    _edit_ledger(owner.path, owner={"pid": sleeper, "started": Process.of(sleeper).started - 1})
    assert sweep() == 1
    _until(lambda: not owner.tree(), "the browser is gone")
    assert _running(sleeper)


def test_setting_the_clock_makes_nobody_a_stranger(
    owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the system's time jumps, the boot time that psutil reads jumps too; owners live on."""
    boot = psutil.boot_time()
    monkeypatch.setattr(psutil, "boot_time", lambda: boot + 3600)
    monkeypatch.setattr("psutil._pslinux.boot_time", lambda: boot + 3600)
    assert psutil.Process(owner.process.pid).create_time() > boot + 3600
    assert sweep() == 0
    assert len(owner.tree()) >= 2


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"owner": {}}', '{"owner": 5}'])
def test_a_ledger_that_cannot_be_read_stops_nothing(content: str, owner: Owner) -> None:
    """A half-written directory of somebody is passed over, the others are looked after."""
    (home() / "broken").mkdir()
    (home() / "broken" / "owner.json").write_text(content)
    owner.die()
    assert sweep() == 1


def test_living_browsers_are_found_by_their_mark(owner: Owner) -> None:
    """With business, token and whether their owner lives, before and after its death."""
    found = [b for b in living_browsers() if b.pid in owner.tree()]
    assert len(found) >= 2
    assert {(b.business_id, b.token, b.owner_alive) for b in found} == {("b-1", 7, True)}
    owner.die()
    assert {b.owner_alive for b in living_browsers() if b.pid in owner.tree()} == {False}


def test_a_browser_is_its_directorys(owner: Owner, tmp_path: Path) -> None:
    """Two fleets may have business and token in common: the directory tells whose a browser is."""
    gone = home() / f"{'0' * 12}-7"
    env = {"PATH": os.environ["PATH"], MARKER: "b-1:7", "TMPDIR": str(gone)}
    stray = subprocess.Popen(["sleep", "60"], env=env)
    try:
        found = {b.pid: b for b in living_browsers()}
        assert (found[stray.pid].owner_alive, found[stray.pid].directory) == (False, gone)
        assert found[owner.browser].owner_alive
    finally:
        stray.kill()
        stray.wait()


@pytest.mark.parametrize("mark", ["", "nonsense", "b:", ":7", "b:seven"])
def test_a_mark_of_somebody_else_is_no_browser(mark: str) -> None:
    """A variable of that name with another content neither counts nor does harm."""
    process = subprocess.Popen(["sleep", "60"], env={MARKER: mark, "PATH": os.environ["PATH"]})
    try:
        assert process.pid not in {b.pid for b in living_browsers()}
    finally:
        process.kill()
        process.wait()


def test_an_incarnation_ends_its_own_browser(sleeper: int) -> None:
    """Killing, waiting and removing, each of them as often as one likes."""
    directory = InstanceDirectory("b-1", 7)
    directory.record(driver_pid=sleeper, browser_pid=sleeper)
    assert not directory.wait_gone(0.0)
    for _ in range(2):
        directory.kill_browser()
        assert directory.wait_gone(10)
    for _ in range(2):
        directory.remove()
    assert not directory.path.exists()


def test_a_directory_is_private_and_one_of_its_kind() -> None:
    """Mode 0700, also for the home of all; another token or business is another directory."""
    paths = [InstanceDirectory(b, t).path for b, t in [("b-1", 1), ("b-1", 2), ("b-2", 1)]]
    paths += [InstanceDirectory("b-1", 1, holder).path for holder in ("h-1", "h-2")]
    assert len(set(paths)) == 5
    for path in [home(), *paths]:
        assert stat.S_IMODE(path.stat().st_mode) == 0o700


def test_a_home_that_others_can_read_is_refused(tmp_path: Path) -> None:
    """The error names it and says what to do."""
    home().chmod(0o755)
    with pytest.raises(ConfigurationError, match=f"{tmp_path}.* not a private directory") as caught:
        home()
    assert "Remove" in caught.value.recovery


@pytest.mark.parametrize("kind", ["symlink", "dangling", "file"])
def test_a_home_that_is_no_directory_is_refused(kind: str, tmp_path: Path) -> None:
    """A link would lead our files to where somebody else wants them."""
    name, target = tmp_path / f"raypool-{os.getuid()}", tmp_path / "target"
    if kind == "file":
        name.write_text("")
    else:
        name.symlink_to(target)
    if kind == "symlink":
        target.mkdir(mode=0o700)
    with pytest.raises(ConfigurationError, match="not a private directory"):
        home()


def test_a_zombie_is_not_alive() -> None:
    """It runs no more, although its pid is still taken."""
    process = subprocess.Popen(["true"])
    seen = Process.of(process.pid)
    _until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE, "it has ended")
    assert not seen.alive()
    process.wait()
    assert not seen.alive()


def test_memory_counts_each_process_once(owner: Owner) -> None:
    """Given twice it is the same tree; what is gone counts nothing."""
    whole = tree_memory(owner.browser)
    assert whole > 0
    # What was just forked still grows; counted twice it would be twice as much.
    assert tree_memory(owner.browser, *owner.tree()) < 1.6 * tree_memory(owner.browser)
    owner.die()
    gone = owner.process.pid
    assert tree_memory(gone) == 0


def test_the_mark_is_what_a_ledger_says() -> None:
    """Business and token, so that a browser can be matched with its owner."""
    assert InstanceDirectory("b.c-1", 12).marker == "b.c-1:12"
    assert [entry.token for _, entry in processes.ledgers()] == [12]

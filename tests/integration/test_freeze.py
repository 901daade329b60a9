"""Off line and back: not one process of a browser runs in between, and nothing is lost by it."""

import asyncio
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator

import psutil
import pytest

from raypool.browser.live import launch
from raypool.browser.proc import Process, kill_session, members, read_stat
from raypool.browser.processes import InstanceDirectory
from raypool.spec import SessionSpec

TICKING = """data:text/html,<script>
  var last = performance.now(), gap = 0, ticks = 0;
  setInterval(() => {
    let now = performance.now(); gap = Math.max(gap, now - last); last = now; ticks++;
  }, 10);
</script>"""
FORKING = "while :; do (sleep 0.001; sleep 0.001) & sleep 0.002; done"


@pytest.fixture
def directory(monkeypatch: pytest.MonkeyPatch) -> Iterator[InstanceDirectory]:
    """An instance directory of this process; its browser is gone after the test."""
    short = tempfile.mkdtemp(prefix="rp-")
    monkeypatch.setattr(tempfile, "tempdir", short)
    monkeypatch.setenv("TMPDIR", short)
    directory = InstanceDirectory("b-1", 7, "holder")
    yield directory
    directory.kill_browser()
    assert directory.wait_gone(10)
    shutil.rmtree(short)


@pytest.fixture
def forker() -> Iterator[subprocess.Popen[bytes]]:
    """A session whose processes fork all the time."""
    process = subprocess.Popen(["sh", "-c", FORKING], start_new_session=True)
    yield process
    process.kill()
    process.wait()


def states(leader: int) -> dict[int, str]:
    """State letters of the running processes of a session."""
    return {pid: stat.state for pid, stat in members(Process.of(leader)).items()}


@pytest.mark.parametrize("kind", ["headless_shell", "chromium"])
async def test_a_browser_goes_on_where_it_was(kind: str, directory: InstanceDirectory) -> None:
    """Off line nothing of it runs; back on line it is the same browser, page and state."""
    live, _ = await launch(SessionSpec(browser=kind), directory, {}, lambda _: None)
    try:
        page = await live.page()
        await page.goto(TICKING)
        assert not directory.frozen()
        leader = os.getsid(live.browser_pid)
        before = set(states(leader))
        assert len(before) > 3
        assert directory.freeze()
        assert directory.frozen()
        used = [psutil.Process(pid).cpu_times()[:2] for pid in sorted(before)]
        await asyncio.sleep(1.5)
        assert directory.frozen()
        assert [psutil.Process(pid).cpu_times()[:2] for pid in sorted(before)] == used
        directory.thaw()
        assert not directory.frozen()
        assert await page.evaluate("gap") > 1400
        assert set(states(leader)) >= before
        ticks = await page.evaluate("ticks")
        await asyncio.sleep(0.2)
        assert await page.evaluate("ticks") > ticks
    finally:
        live.abandon()
        await live.close()


def test_a_browser_that_forks_cannot_get_away(
    directory: InstanceDirectory, forker: subprocess.Popen[bytes]
) -> None:
    """Processes that are born while it is frozen are frozen too."""
    directory.record(driver_pid=forker.pid, browser_pid=forker.pid)
    for _ in range(20):
        assert directory.freeze()
        assert directory.frozen()
        first = states(forker.pid)
        time.sleep(0.01)
        assert states(forker.pid) == first
        directory.thaw()
        deadline = time.monotonic() + 5
        while directory.frozen():
            assert time.monotonic() < deadline


def test_a_browser_that_forks_cannot_outlive_its_end(
    directory: InstanceDirectory, forker: subprocess.Popen[bytes]
) -> None:
    """One kill is enough, whatever is born meanwhile; frozen or not."""
    directory.record(driver_pid=forker.pid, browser_pid=forker.pid)
    directory.freeze()
    directory.kill_browser()
    assert directory.wait_gone(10)
    assert not directory.frozen()


def test_what_is_noted_while_off_line_is_frozen(
    directory: InstanceDirectory, forker: subprocess.Popen[bytes]
) -> None:
    """A browser that was just starting is no way round."""
    assert directory.freeze()
    directory.record(driver_pid=forker.pid, browser_pid=forker.pid)
    assert directory.frozen()
    directory.thaw()
    assert not directory.frozen()


def test_a_vfork_that_was_caught_half_way_counts_as_still(directory: InstanceDirectory) -> None:
    """The parent waits in the kernel for a child that cannot go on: neither runs."""
    code = (
        "import ctypes, time\n"
        "libc = ctypes.CDLL(None)\n"
        "if libc.vfork() == 0:\n"
        "    libc.sleep(60)\n"
        "    libc._exit(0)\n"
    )
    process = subprocess.Popen(["python3", "-c", code], start_new_session=True)
    try:
        directory.record(driver_pid=process.pid, browser_pid=process.pid)
        deadline = time.monotonic() + 10
        # Both must be there: reading its modules from a disk is a D as well.
        while sorted(states(process.pid).values()) != ["D", "S"]:
            assert time.monotonic() < deadline, states(process.pid)
            time.sleep(0.01)
        assert not directory.frozen()
        assert directory.freeze()
        assert sorted(states(process.pid).values()) == ["D", "T"]
        assert directory.frozen()
        directory.thaw()
        assert not directory.frozen()
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_freezing_nothing_does_nothing(directory: InstanceDirectory) -> None:
    """No browser is still, but not frozen; all of it may be called as often as one likes."""
    for _ in range(2):
        assert directory.freeze()
        assert not directory.frozen()
        directory.thaw()
    directory.remove()
    directory.set_deadline(5.0)
    assert not directory.path.exists()


def test_the_owner_of_a_frozen_browser_runs_on(directory: InstanceDirectory) -> None:
    """Only the browser's session is stopped."""
    sleeper = subprocess.Popen(["sleep", "60"], start_new_session=True)
    try:
        directory.record(driver_pid=sleeper.pid, browser_pid=sleeper.pid)
        directory.freeze()
        mine, its = read_stat(os.getpid()), read_stat(sleeper.pid)
        assert mine is not None
        assert its is not None
        assert (mine.state == "T", its.state) == (False, "T")
    finally:
        sleeper.kill()
        sleeper.wait()


def test_a_session_dies_but_whom_one_spares() -> None:
    """Stopped processes too; the leader that was spared goes on."""
    script = "sleep 60 & sleep 60 & echo started; wait; wait; echo spared"
    leader = subprocess.Popen(["sh", "-c", script], start_new_session=True, stdout=subprocess.PIPE)
    with leader:
        assert leader.stdout is not None
        assert leader.stdout.readline() == b"started\n"
        below = members(Process.of(leader.pid)).keys() - {leader.pid}
        os.kill(min(below), signal.SIGSTOP)
        assert kill_session(Process.of(leader.pid), but=[leader.pid]) == len(below) == 2
        assert leader.stdout.readline() == b"spared\n"

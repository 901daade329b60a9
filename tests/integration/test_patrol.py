"""A node's patrol with real processes: what must go is gone in time, and nobody else is touched."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from actors.keeper import now
from raypool.browser.ledger import Ledger, home, read_ledger, write_ledger
from raypool.browser.patrol import ABANDONED_AFTER_S, Patrol
from raypool.browser.proc import Process, kill_session, members
from raypool.browser.processes import MARKER, living_browsers

ROOT = Path(__file__).resolve().parents[2]
PERIOD_S = 0.25
OWNER = """
    import os, subprocess, sys, tempfile
    from raypool.browser.processes import MARKER, InstanceDirectory
    directory = InstanceDirectory("b-1", 7, "holder-1")
    marked = {MARKER: directory.marker, "TMPDIR": str(directory.path)}
    start = lambda **env: subprocess.Popen(
        ["sh", "-c", "sleep 60 & sleep 60"], start_new_session=True, stdout=subprocess.DEVNULL,
        env={"PATH": os.environ["PATH"], **env},
    )
    driver, browser = start(), start(**marked)
    if sys.argv[1] == "recorded":
        directory.record(driver_pid=driver.pid, browser_pid=browser.pid)
    print(directory.path, driver.pid, browser.pid, flush=True)
    for line in sys.stdin:
        what, _, value = line.strip().partition(" ")
        getattr(directory, what)(*[float(value)] if value else [])
        print("done", flush=True)
"""
CHROMIUM = """
    import asyncio, sys
    from raypool.browser.live import launch
    from raypool.browser.processes import InstanceDirectory
    from raypool.spec import SessionSpec
    async def main():
        directory = InstanceDirectory("b-1", 7, "holder-1")
        live, _ = await launch(SessionSpec(), directory, {}, lambda _: None)
        await (await live.page()).goto("data:text/html,hello")
        print(directory.path, live.driver_pid, live.browser_pid, flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            what, _, value = line.strip().partition(" ")
            getattr(directory, what)(*[float(value)] if value else [])
            print("done", flush=True)
    asyncio.run(main())
"""


def until(holds: Callable[[], bool], what: str, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not in {seconds} s: {what}"
        time.sleep(0.01)


class Owner:
    """An owner in a process of its own, with a driver and a browser."""

    def __init__(self, program: str = OWNER, how: str = "recorded") -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(program), how],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        path, driver, browser = self.process.stdout.readline().split()
        self.path, self.driver, pid = Path(path), Process.of(int(driver)), int(browser)
        self.browser = Process.of(os.getsid(pid))
        until(lambda: len(members(self.browser)) >= 2, "the browser's tree is up")

    def do(self, what: str, value: float | None = None) -> None:
        """Call a method of the directory."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{what} {'' if value is None else value}\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "done\n"

    def pause(self) -> None:
        """SIGSTOP."""
        self.process.send_signal(signal.SIGSTOP)
        mine = Process.of(self.process.pid)
        until(mine.stopped, "the owner stands still")

    def resume(self) -> None:
        """SIGCONT."""
        self.process.send_signal(signal.SIGCONT)

    def die(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.communicate()

    @property
    def runs(self) -> bool:
        """Whether anything of its browser does."""
        return bool(members(self.browser))

    def clear(self) -> None:
        """Leave nothing."""
        self.die()
        self.driver.kill()
        kill_session(self.driver)
        kill_session(self.browser)
        until(lambda: not (self.runs or self.driver.alive()), "nothing is left")


@pytest.fixture(autouse=True)
def _own_tmp(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Every test has a node of its own, as far as the temporary directory makes one."""
    tmp_path_factory.getbasetemp()  # pytest's own directory is made where all tests find it
    short = tempfile.mkdtemp(prefix="rp-")
    monkeypatch.setattr(tempfile, "tempdir", short)
    monkeypatch.setenv("TMPDIR", short)
    yield
    shutil.rmtree(short)


@pytest.fixture
def owner() -> Iterator[Owner]:
    """A living owner of cheap processes; nothing of it is left after the test."""
    owner = Owner()
    yield owner
    owner.clear()


@pytest.fixture
def chromium() -> Iterator[Owner]:
    """A living owner of a real Chromium."""
    owner = Owner(CHROMIUM)
    yield owner
    owner.clear()


@pytest.fixture
def sleeper() -> Iterator[int]:
    """An innocent process that leads a session of its own."""
    process = subprocess.Popen(["sleep", "60"], start_new_session=True)
    yield process.pid
    process.kill()
    process.wait()


class Walking:
    """A patrol that goes its rounds in a thread, as the janitor's does."""

    def __enter__(self) -> Patrol:
        self.patrol, self._over = Patrol(), threading.Event()
        self._thread = threading.Thread(target=self._walk)
        self._thread.start()
        return self.patrol

    def _walk(self) -> None:
        while not self._over.wait(PERIOD_S):
            self.patrol.round(now())

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


def test_a_paused_owners_chromium_is_dead_by_the_deadline(chromium: Owner) -> None:
    """The owner's worker stands still, its Chromium runs on: until the deadline, and no longer."""
    with Walking() as patrol:
        deadline = now() + 1.5
        chromium.do("set_deadline", deadline)
        chromium.pause()
        while now() < deadline - 0.1:
            assert chromium.runs
            time.sleep(0.02)
        until(lambda: not chromium.runs, "Chromium is dead")
        assert now() < deadline + 2.5, "a patrol later; the machine may be busy"
        until(lambda: not chromium.driver.alive(), "the driver is dead")
        chromium.resume()
        assert chromium.path.exists(), "the owner lives: its directory is its own affair"
        assert (patrol.killed, patrol.orphans) == (1, 0)


def test_a_killed_owners_chromium_is_dead_at_once(chromium: Owner) -> None:
    """However far off the deadline is; the directory goes too. A frozen Chromium is no exception."""
    chromium.do("set_deadline", now() + 60)
    chromium.do("freeze")
    with Walking() as patrol:
        time.sleep(2 * PERIOD_S)
        assert chromium.runs
        chromium.die()
        until(lambda: not chromium.runs and not chromium.path.exists(), "all is gone", 3)
    assert (patrol.killed, patrol.swept, patrol.orphans) == (1, 1, 0)


def test_a_frozen_browser_waits_for_its_owner(chromium: Owner) -> None:
    """Off line for much longer than the deadline, it is alive; back on line with a new one, too."""
    chromium.do("freeze")
    chromium.do("set_deadline", now() - 3600)
    before = set(members(chromium.browser))
    with Walking() as patrol:
        time.sleep(1.5)
        assert set(members(chromium.browser)) == before
        chromium.do("set_deadline", now() + 60)
        chromium.do("thaw")
        time.sleep(1.0)
        assert set(members(chromium.browser)) >= before
    assert (patrol.killed, patrol.swept) == (0, 0)


def test_an_owner_that_lets_its_browser_run_on_loses_it(owner: Owner) -> None:
    """Its keeper failed: half a second later somebody else does its work."""
    patrol, deadline = Patrol(), now()
    owner.do("set_deadline", deadline)
    patrol.round(deadline + 0.4)
    assert owner.runs
    patrol.round(deadline + 0.6)
    assert not owner.runs
    assert owner.path.exists()
    assert Process.of(owner.process.pid).alive()


def test_a_healthy_node_is_left_alone(owner: Owner) -> None:
    """No deadline yet, or one ahead, paused or not: nothing changes, and the browser is counted."""
    patrol = Patrol()
    patrol.round(now())
    assert patrol.browsers == 1
    owner.pause()
    patrol.round(now() + 3600)
    owner.resume()
    owner.do("set_deadline", now() + 60)
    owner.pause()
    patrol.round(now())
    assert owner.runs
    assert (patrol.killed, patrol.swept, patrol.orphans) == (0, 0, 0)


def test_a_recycled_pid_is_never_killed(owner: Owner, sleeper: int) -> None:
    """The ledger's pids are somebody else's by now: owner, driver and browser."""
    stranger = {"pid": sleeper, "started": Process.of(sleeper).started - 1}
    ledger = json.loads((owner.path / "owner.json").read_text())
    names = ("owner", "driver", "browser")
    (owner.path / "owner.json").write_text(json.dumps(ledger | dict.fromkeys(names, stranger)))
    patrol = Patrol()
    patrol.round(now())
    assert patrol.end("holder-1")
    assert Process.of(sleeper).alive()
    assert Process.of(owner.process.pid).alive()
    assert not owner.path.exists()


def test_a_browser_that_no_ledger_names_is_found() -> None:
    """Its owner died before it could note it; nothing but its environment tells whose it is."""
    owner = Owner(how="unrecorded")
    try:
        owner.die()
        with Walking() as patrol:
            until(lambda: not owner.runs, "the stray is dead", 12)
            until(lambda: patrol.orphans == 0, "no orphan is left", 12)
        assert patrol.killed == 1
        assert not owner.path.exists()
    finally:
        owner.clear()


def test_a_stray_takes_nobody_along() -> None:
    """A marked process in a stranger's session (ours) dies alone."""
    env = {"PATH": os.environ["PATH"], MARKER: "b-1:7", "TMPDIR": str(home() / f"{'0' * 12}-7")}
    stray = subprocess.Popen(["sleep", "60"], env=env)
    try:
        Patrol().round(now())
        assert stray.wait(10) == -signal.SIGKILL
    finally:
        stray.kill()
        stray.wait()


@pytest.mark.parametrize("directory", [None, "/tmp/elsewhere/raypool-0/000000000000-7"])
def test_browsers_of_other_homes_are_not_ours(directory: str | None) -> None:
    """Another temporary directory is another node: its janitor judges them."""
    env = {"PATH": os.environ["PATH"], MARKER: "b-1:7"}
    stray = subprocess.Popen(
        ["sleep", "60"], env=env | ({"TMPDIR": directory} if directory else {})
    )
    try:
        until(lambda: stray.pid in {b.pid for b in living_browsers()}, "it is seen")
        Patrol().round(now())
        assert Process.of(stray.pid).alive()
    finally:
        stray.kill()
        stray.wait()


def _hostile(kind: str, path: Path, sleeper: int) -> None:
    innocent = {"pid": sleeper, "started": Process.of(sleeper).started}
    dead = {"pid": 2**22, "started": 1.0}
    text = json.dumps({"business_id": "b-2", "token": 1, "owner": dead, "browser": innocent})
    ledger = path / "owner.json"
    match kind:
        case "half-written":
            ledger.write_text(text[: len(text) // 2])
        case "symlink":
            (path / "real").write_text(text)
            ledger.symlink_to("real")
        case "huge":
            with ledger.open("w") as file:
                file.write(text)
                file.truncate(2**40)
        case "pipe":
            os.mkfifo(ledger)
        case "foreign file":
            ledger.write_text(text)
            os.chown(ledger, 65534, -1)
        case "everybody":
            ledger.write_text(
                json.dumps({"business_id": "b", "token": 1, "owner": {"pid": -1, "started": 0.0}})
            )


HOSTILE = ["half-written", "symlink", "huge", "pipe", "everybody"]
if os.geteuid() == 0:  # only root can give files away
    HOSTILE.append("foreign file")


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_ledger_harms_nothing(kind: str, owner: Owner, sleeper: int) -> None:
    """The innocent live, the others are looked after, and the patrol goes on."""
    path = home() / f"{'0' * 12}-1"
    path.mkdir()
    _hostile(kind, path, sleeper)
    patrol = Patrol()
    owner.die()
    patrol.round(now())
    assert not owner.runs
    assert patrol.killed == 1
    assert Process.of(sleeper).alive()
    (seen,) = [entry for entry in patrol.inspect() if entry["directory"] == str(path)]
    assert (seen["business_id"], seen["holder_id"], seen["owner"]) == (None, "", None)
    assert path.exists(), "it may be one that is just being made"
    os.utime(path, (0, time.time() - ABANDONED_AFTER_S - 1))
    Patrol().round(now())
    assert not path.exists(), "an old one is rubbish"


def test_an_owner_that_is_a_stranger_is_left_in_peace(sleeper: int) -> None:
    """A ledger that names somebody who is not ours: neither it nor what it is said to own is hurt."""
    path = home() / f"{'0' * 12}-1"
    path.mkdir()
    init, innocent = Process.of(1), Process.of(sleeper)
    write_ledger(path, Ledger("b-2", 1, init, innocent, innocent, holder_id="h"))
    Patrol().round(now())
    assert path.exists()
    assert innocent.alive()


def test_a_link_among_the_directories_leads_nowhere(tmp_path: Path) -> None:
    """What it points to is neither read nor removed."""
    target = tmp_path / "target"
    target.mkdir()
    (target / "owner.json").write_text(
        json.dumps({"business_id": "b", "token": 1, "owner": {"pid": 2**22, "started": 1.0}})
    )
    (home() / f"{'0' * 12}-1").symlink_to(target)
    patrol = Patrol()
    patrol.round(now())
    assert (target / "owner.json").exists()
    assert patrol.swept == 0


def test_an_incarnation_ends_at_the_supervisors_word(owner: Owner) -> None:
    """Owner, driver, browser and directory are gone when it returns; paused or frozen as it may be."""
    owner.do("freeze")
    owner.pause()
    patrol = Patrol()
    assert patrol.end("holder-1")
    assert not owner.runs
    assert owner.process.wait(5) == -signal.SIGKILL
    assert not owner.path.exists()
    assert patrol.end("holder-1"), "once more: there is nothing"
    assert (patrol.killed, patrol.swept) == (1, 1)


def test_nothing_to_end_is_an_end_and_nobody_is_nobody(owner: Owner) -> None:
    """An unknown holder has nothing left; an empty id names nobody."""
    patrol = Patrol()
    assert patrol.end("somebody else")
    assert not patrol.end("")
    assert owner.runs


def test_what_was_given_up_ends_when_it_turns_up_later() -> None:
    """It was paused before it had made its directory; it must not come up after the next one."""
    patrol = Patrol()
    assert patrol.end("holder-1")
    owner = Owner()
    try:
        patrol.round(now())
        assert not owner.runs
        assert owner.process.wait(5) == -signal.SIGKILL
    finally:
        owner.clear()


def test_what_is_inspected_is_what_is_there(owner: Owner) -> None:
    """Owner, browser and deadline as they are."""
    owner.do("set_deadline", 5.0)
    owner.do("freeze")
    ledger = read_ledger(owner.path)
    assert ledger is not None
    (seen,) = [entry for entry in Patrol().inspect() if entry["directory"] == str(owner.path)]
    assert seen == {
        "directory": str(owner.path),
        "business_id": "b-1",
        "token": 7,
        "holder_id": "holder-1",
        "owner": "running",
        "owner_pid": owner.process.pid,
        "browser": "frozen",
        "browser_pid": owner.browser.pid,
        "deadline": 5.0,
    }


def test_a_quiet_patrol_costs_next_to_nothing() -> None:
    """Ten live browsers: less than a fiftieth of a core, the looks at all processes included."""
    owners: list[Any] = []
    try:
        owners.extend(Owner() for _ in range(1))
        ledger = json.loads((owners[0].path / "owner.json").read_text())
        for n in range(9):
            path = home() / f"{n:012x}-7"
            path.mkdir()
            (path / "owner.json").write_text(json.dumps(ledger))
            (path / "deadline").write_text(f"{now() + 3600:<20.3f}" * 2)
        patrol, rounds = Patrol(), 80
        patrol.round(now())
        scans_at = patrol._scan_at
        used = -time.thread_time()
        for n in range(rounds):
            if n % 20 == 0:
                patrol._scan_at = 0.0
            patrol.round(now())
        used += time.thread_time()
        assert patrol._scan_at != scans_at
        assert patrol.browsers == 10
        assert used / (rounds * PERIOD_S) < 0.02
    finally:
        for owner in owners:
            owner.clear()

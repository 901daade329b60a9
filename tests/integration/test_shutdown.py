"""However a fleet ends: all is saved, no process is left, the records stay. Fleets of their own."""

import asyncio
import contextlib
import json
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from redis import Redis

from raypool import fleets, local
from raypool.browser.processes import living_browsers
from raypool.config import Settings
from raypool.demo.site import DemoSite
from raypool.model import Checkpoint, Desired, Session
from tests.integration.conftest import fleet_settings, new_id
from tests.integration.scripts import command, environment, hosts, kill, running, script, until

SIGNS_IN = """
business, url, email, password = sys.argv[1:]
async def sign_in_and_stay(page, url, accounts, seconds):
    who = await sign_in(page, url, accounts)
    await asyncio.sleep(seconds)
    return who
pool = raypool.connect()
with pool:
    probe = raypool.Probe(cookie="session")
    pool.get_or_create_instance(business, email=email, probe=probe)
    say(who=pool.run(business, sign_in, url, {email: password}))
"""
COMES_BACK = """
with raypool.connect() as pool:
    deadline = time.monotonic() + 60
    while [str(s.phase) for s in pool.instances()] != ["ready"] and time.monotonic() < deadline:
        time.sleep(0.1)
    (seen,) = pool.instances()
    say(phase=seen.phase, sign_in=seen.sign_in, business=seen.business_id)
    say(who=pool.run(seen.business_id, flows.who, sys.argv[1]))
"""

GOES_ON = """
from raypool.errors import InstanceLost, InstanceNotReady, NetworkError
business, url, email, password = sys.argv[1:]
with raypool.connect() as pool:
    pool.get_or_create_instance(business, email=email, probe=raypool.Probe(cookie="session"))
    say(who=pool.run(business, sign_in, url, {email: password}))
    while True:
        try:
            pool.run(business, flows.who, url)
        except NetworkError as error:
            trouble(error)
            break
        except (InstanceLost, InstanceNotReady):
            time.sleep(0.1)
    for call in (pool.run, lambda *_: pool.wake(business)):
        try:
            call(business, flows.who, url)
        except NetworkError as error:
            trouble(error)
with raypool.connect() as pool:
    say(who=pool.run(business, flows.who, url))
"""


class Own:
    """A fleet of the test's own, and one business with an account on the site."""

    def __init__(self, directory: str, site: DemoSite) -> None:
        self.settings: Settings = fleet_settings(directory)
        self.env = environment(self.settings)
        self.business, self.site = new_id(), site
        self.email = f"owner@{self.business}.example"
        self.password = site.add_account(self.email)

    @property
    def account(self) -> tuple[str, str, str, str]:
        """Arguments of the script that signs in."""
        return self.business, self.site.url, self.email, self.password

    @property
    def host(self) -> int:
        """The process that owns the fleet."""
        (host,) = hosts(self.settings.data_dir)
        return host

    def is_down(self) -> bool:
        """Tell whether nothing of the fleet runs."""
        browsers = [b for b in living_browsers() if b.business_id == self.business]
        return not hosts(self.settings.data_dir) and not browsers

    def tree(self) -> list[int]:
        """Return every process of the fleet: host, Redis, Ray, actors, browsers."""
        below = psutil.Process(self.host).children(recursive=True)
        return [self.host, *(p.pid for p in below)]

    def is_saved(self) -> bool:
        """Tell whether the record is there, wanted, and its checkpoint holds the site's session."""
        session, checkpoint = asyncio.run(self._read())
        cookies = {c["name"]: c["value"] for c in json.loads(checkpoint.parts["cookies"])}
        signed_in = self.site.email_of(cookies.get("session")) == self.email
        return signed_in and session.desired is Desired.RUNNING

    async def _read(self) -> tuple[Session, Checkpoint]:
        async with fleets.records(self.settings) as manager:
            session = await manager.get_active_session(self.business)
            assert session is not None
            assert await manager.leases.get(self.business) is None
            checkpoint = await manager.checkpoints.load(session.id)
            assert checkpoint is not None
            return session, checkpoint


@pytest.fixture
def own(site: DemoSite) -> Iterator[Own]:
    """A fleet of its own; nothing of it runs after the test, even when the test failed."""
    with tempfile.TemporaryDirectory(prefix="rp-") as directory:
        own = Own(directory, site)
        yield own
        left = hosts(own.settings.data_dir)
        for host in left:
            kill(host, signal.SIGTERM)
        assert not left, "the test ended with its fleet still up"


def _all_gone(own: Own, tree: list[int], seconds: float) -> None:
    until(own.is_down, "the fleet is down", seconds)
    with contextlib.suppress(AssertionError):  # what is left says more
        until(lambda: not [p for p in tree if running(p)], "all its processes are gone", 10)
    assert [psutil.Process(p) for p in tree if running(p)] == []


def test_the_last_script_takes_the_fleet_down_and_the_next_brings_it_back(own: Own) -> None:
    """Nothing runs in between; what was wanted comes back by itself, signed in."""
    with script(SIGNS_IN + "    input()", own.env, *own.account) as first:
        assert first.hear() == {"who": own.email}
        tree = own.tree()
        first.end()  # its input is closed: it leaves with an error, and in order
    _all_gone(own, tree, 5)
    with script(COMES_BACK, own.env, own.site.url) as second:
        seen = {"phase": "ready", "sign_in": "signed_in", "business": own.business}
        assert second.hear() == seen
        assert second.hear() == {"who": own.email}
        assert second.end() == 0
    until(own.is_down, "the fleet is down", 5)
    assert own.is_saved()


def test_a_killed_script_takes_the_fleet_down_in_order(own: Own) -> None:
    """SIGKILL: it cannot say good-bye, and everything is saved all the same."""
    with script(SIGNS_IN + "    time.sleep(60)", own.env, *own.account) as first:
        assert first.hear() == {"who": own.email}
        tree = own.tree()
        kill(first.pid)
        _all_gone(own, tree, 15)
    assert own.is_saved()


def test_sigterm_for_the_host_saves_everything(own: Own) -> None:
    """As when a machine is shut down."""
    with script(SIGNS_IN + "    time.sleep(60)", own.env, *own.account) as first:
        assert first.hear() == {"who": own.email}
        tree = own.tree()
        kill(own.host, signal.SIGTERM)
        _all_gone(own, tree, 15)
    assert own.is_saved()


IN_A_COMMAND = """
    say(begun=True)
    try:
        pool.run(business, sign_in_and_stay, url, {email: password}, 4)
    except KeyboardInterrupt:
        say(interrupted=True)
        raise
"""


def test_ctrl_c_leaves_a_clean_house(own: Own) -> None:
    """The script gets its KeyboardInterrupt at once; what runs in the browser ends and is saved."""
    code = SIGNS_IN.replace("    say(who", "    pass  # say(who") + IN_A_COMMAND
    with script(code, own.env, *own.account) as first:
        assert first.hear() == {"begun": True}
        until(lambda: own.site.email_of(_newest(own.site)) == own.email, "it is in the command")
        tree = own.tree()
        first.process.send_signal(signal.SIGINT)
        assert first.hear() == {"interrupted": True}
        assert first.end() != 0
        assert "KeyboardInterrupt" in first.errors()
    _all_gone(own, tree, 10)
    assert own.is_saved()


def _newest(site: DemoSite) -> str | None:
    return next(reversed(site._sessions), None)


JOB = """
async def sign_in(page, url, email, password):
    from raypool.demo.flows import sign_in
    return await sign_in(page, url, {email: password})

async def here(page):
    return await sign_in(page, %r, %r, %r)

async def restless(page):
    await page.evaluate("setInterval(() => localStorage.setItem('now', Date.now()), 20)")
"""


@pytest.fixture
def job(own: Own, tmp_path: Path) -> str:
    """A file with functions for the command line."""
    file = tmp_path / "job.py"
    file.write_text(JOB % (own.site.url, own.email, own.password))
    return str(file)


def _json(own: Own, *args: str, code: int = 0) -> Any:
    done = command(own.env, *args, "--json")
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout)


def test_a_fleet_from_the_command_line(own: Own, job: str) -> None:
    """Up, status, run, down: it outlives each command and ends with the last."""
    up = _json(own, "up")
    assert up["wanted"] == 0
    assert up["ray"]
    tree = own.tree()
    ran = _json(own, "run", f"{job}:here", own.business)
    assert (ran["ok"], ran["value"]) == (True, own.email)
    (seen,) = _json(own, "status")
    assert (seen["business_id"], seen["phase"]) == (own.business, "ready")
    assert _json(own, "down") == {"down": True, "unsaved": []}
    _all_gone(own, tree, 5)
    assert own.is_saved()
    assert _json(own, "status", code=3)["error"]["code"] == "NETWORK_RAY_UNREACHABLE"
    assert _json(own, "down", code=3)["error"]["recovery"].startswith("Start one")


def test_what_cannot_be_saved_is_listed(own: Own, job: str) -> None:
    """Redis is full when the fleet goes down: it goes down, says what was lost, and exits with 1."""
    _json(own, "up")
    assert _json(own, "run", f"{job}:here", own.business)["ok"]
    assert _json(own, "run", f"{job}:restless", own.business)["ok"]
    tree = own.tree()
    member, joined = local.join(own.settings, print)
    assert joined.redis_url is not None
    with Redis.from_url(joined.redis_url.get_secret_value()) as admin:
        admin.config_set("maxmemory", 1)
    member.close()
    down = command(own.env, "down")
    assert down.returncode == 1
    assert f"not saved: {own.business}: " in down.stderr
    assert "takes no writes" in down.stderr
    _all_gone(own, tree, 10)
    until(own.is_saved, "what was acknowledged before is there", 20)


def test_a_ray_that_does_not_start_is_started_once_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A busy machine fails Ray's own timers; here its directory cannot be made the first time."""
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        if "once more" in line:
            in_the_way.unlink()

    with tempfile.TemporaryDirectory(prefix="rp-") as directory:
        in_the_way = Path(directory) / "ray"
        in_the_way.touch()
        monkeypatch.setenv("RAY_TMPDIR", str(in_the_way))
        member, _ = local.join(fleet_settings(directory), say)
        local.leave(member)
        assert in_the_way.is_dir()
    assert [line.partition(" ")[0] for line in said] == ["starting", "the"]


@pytest.mark.parametrize("name", ["gcs_server", "raylet"])
def test_a_fleet_whose_ray_died_goes_down_and_comes_back(own: Own, name: str) -> None:
    """Without its head or its raylet nobody answers: better none of it than half."""
    with script(SIGNS_IN + "    time.sleep(60)", own.env, *own.account) as first:
        assert first.hear() == {"who": own.email}
        tree = own.tree()
        (server,) = [p for p in tree if psutil.Process(p).name() == name]
        kill(server)
        _all_gone(own, tree, 60)
    with script(COMES_BACK, own.env, own.site.url) as second:
        seen = {"phase": "ready", "sign_in": "signed_in", "business": own.business}
        assert second.hear() == seen
        assert second.hear() == {"who": own.email}
        assert second.end() == 0
    until(own.is_down, "the fleet is down", 10)


def test_a_script_whose_ray_died_hears_of_it_and_goes_on(own: Own) -> None:
    """Ray alone lets its calls hang, and ends the script after a minute."""
    with script(GOES_ON, own.env, *own.account) as goes_on:
        assert goes_on.hear() == {"who": own.email}
        (raylet,) = [p for p in own.tree() if psutil.Process(p).name() == "raylet"]
        kill(raylet)
        began = time.monotonic()
        trouble = goes_on.hear()
        assert time.monotonic() - began < 30
        assert trouble["code"] == "NETWORK_RAY_UNREACHABLE"
        assert "connect() again" in trouble["recovery"]
        assert [goes_on.hear(), goes_on.hear()] == [trouble] * 2  # so do calls that begin after it
        assert goes_on.hear() == {"who": own.email}
        assert goes_on.end() == 0
    until(own.is_down, "the fleet is down", 10)

"""`raypool doctor --audit`: planted disagreements are found, and mended when told to."""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from raypool import local
from raypool.config import Settings
from raypool.keyfile import keyring_for
from raypool.model import Desired, Holder
from raypool.store.sessions import RedisSessionManager
from tests.integration.conftest import fleet_settings
from tests.integration.scripts import ROOT, closed_port, command, environment, running, until

JOB = """
async def where(page):
    await page.goto("about:blank")
    return page.url
"""
DIES = """
    import os, tempfile
    from raypool.browser.processes import InstanceDirectory
    print(InstanceDirectory("stale", 3, "dead-holder").path, flush=True)
    os._exit(1)
"""


@pytest.fixture(scope="module")
def nowhere() -> Iterator[dict[str, str]]:
    """A machine of its own, as far as the temporary directory makes one; no fleet runs on it."""
    with tempfile.TemporaryDirectory(prefix="rp-") as short:
        Path(short, "tmp").mkdir()
        yield environment(fleet_settings(f"{short}/data"), TMPDIR=f"{short}/tmp")


def audited(env: dict[str, str], *options: str) -> tuple[int, Any]:
    """Exit code and what it printed."""
    done = command(env, "doctor", "--audit", "--json", *options)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def kinds(found: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(finding["kind"], finding["business_id"]) for finding in found]


def stale_directory(env: dict[str, str]) -> Path:
    """The directory of an owner that is dead."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(DIES)],
        env=env, cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return Path(done.stdout.strip())


@contextmanager
def orphan(env: dict[str, str]) -> Iterator["subprocess.Popen[bytes]"]:
    """A process that carries the mark of a browser whose directory is gone."""
    directory = f"{env['TMPDIR']}/raypool-{os.getuid()}/{'0' * 12}-9"
    marked = {"PATH": env["PATH"], "RAYPOOL_INSTANCE": "lonely:9", "TMPDIR": directory}
    process = subprocess.Popen(["sleep", "300"], env=marked, start_new_session=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_without_a_fleet_the_processes_are_looked_at(nowhere: dict[str, str]) -> None:
    """And it says that they are all; nothing is started for it."""
    code, said = audited(nowhere)
    assert (code, said["ok"], said["findings"]) == (0, True, [])
    assert "only the processes of this machine" in said["notes"][0]
    assert not Path(nowhere["RAYPOOL_DATA_DIR"]).exists()


def test_remains_are_found_and_removed(nowhere: dict[str, str]) -> None:
    """A stale directory and an orphan: told first, mended when asked, then all agrees."""
    directory = stale_directory(nowhere)
    assert directory.exists()
    with orphan(nowhere) as process:
        code, said = audited(nowhere)
        expected = [("orphan", "lonely"), ("dead_directory", "stale")]
        assert (code, said["ok"], kinds(said["findings"])) == (1, False, expected)
        assert str(directory) in said["findings"][1]["what"]
        assert directory.exists(), "looking changes nothing"
        assert running(process.pid)
        code, said = audited(nowhere, "--repair")
        assert (code, said["findings"], kinds(said["repaired"])) == (0, [], expected)
        assert process.wait(5) < 0
    assert not directory.exists()
    assert audited(nowhere)[1]["ok"]


def test_people_read_a_table(nowhere: dict[str, str]) -> None:
    """With what would be done; each repair is told in a line."""
    directory = stale_directory(nowhere)
    done = command(nowhere, "doctor", "--audit")
    assert done.returncode == 1
    for words in (
        "dead_directory",
        "remove the directory",
        "1 disagreements",
        "--repair",
        "note: ",
    ):
        assert words in done.stdout
    done = command(nowhere, "doctor", "--audit", "--repair")
    assert done.returncode == 0
    assert "repaired (remove the directory): stale" in done.stdout
    assert "Everything agrees" in done.stdout
    assert not directory.exists()


def test_a_repair_without_an_audit_is_wrong_use(nowhere: dict[str, str]) -> None:
    """The checks of the plain doctor change nothing."""
    done = command(nowhere, "doctor", "--repair")
    assert done.returncode == 2
    assert "--audit" in done.stderr


def test_what_is_configured_and_silent_is_exit_3(nowhere: dict[str, str]) -> None:
    """Redis and Ray that do not answer: said, and never taken for agreement."""
    more = {
        "REDIS_URL": f"redis://127.0.0.1:{closed_port()}",
        "RAYPOOL_RAY_ADDRESS": f"127.0.0.1:{closed_port()}",
        "RAYPOOL_ENCRYPTION_KEYS": "A" * 43 + "=",
    }
    code, said = audited(nowhere | more)
    assert (code, said["ok"], said["findings"]) == (3, False, [])
    assert {note.partition(" not looked at")[0] for note in said["notes"]} == {
        "Records and leases",
        "Actors and other nodes",
    }


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[dict[str, str], Settings]]:
    """A fleet with one business, on a machine of its own; gives environment and settings."""
    job = tmp_path_factory.mktemp("job") / "job.py"
    job.write_text(JOB)
    with tempfile.TemporaryDirectory(prefix="rp-", ignore_cleanup_errors=True) as short:
        Path(short, "t").mkdir()
        env = environment(fleet_settings(f"{short}/d"), TMPDIR=f"{short}/t")
        try:
            assert command(env, "up").returncode == 0
            done = command(env, "run", f"{job}:where", "audited")
            assert done.returncode == 0, done.stderr
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(tempfile, "tempdir", env["TMPDIR"])
                member = local.find(fleet_settings(f"{short}/d"))
                assert member is not None
                yield env, member.ask("join", 10)
                member.close()
        finally:
            command(env, "down")


async def _hold_by_a_dead_process(settings: Settings, business_id: str) -> None:
    """Make a record that wants to run; its lease is with a dead one of another cluster."""
    keyring, _ = keyring_for(settings, embedded=False)
    async with RedisSessionManager(settings, keyring) as manager:
        (alive,) = await manager.get_sessions_by_business("audited")
        dead = subprocess.Popen(["true"])
        dead.wait()
        holder = Holder(id="dead-holder", cluster="another", pid=dead.pid)
        holder = holder.model_copy(update={"node_id": alive.observed.node_id})
        await manager.leases.acquire(business_id, holder, 300)
        await manager.ensure_active(business_id, desired=Desired.RUNNING)


async def _holder(settings: Settings, business_id: str) -> str | None:
    keyring, _ = keyring_for(settings, embedded=False)
    async with RedisSessionManager(settings, keyring) as manager:
        lease = await manager.leases.get(business_id)
        return lease.holder.id if lease else None


async def _forget_checkpoints(settings: Settings, business_id: str) -> None:
    keyring, _ = keyring_for(settings, embedded=False)
    async with RedisSessionManager(settings, keyring) as manager:
        (session,) = await manager.get_sessions_by_business(business_id)
        await manager._connection.command("DEL", manager._connection.keys.checkpoints(session.id))


@pytest.mark.timeout(300)
def test_a_running_fleet_agrees_until_it_does_not(fleet: tuple[dict[str, str], Settings]) -> None:
    """All five sides; a dead holder's lease is released, and what a person must see is left."""
    env, settings = fleet
    code, said = audited(env)
    assert (code, said) == (0, {"ok": True, "findings": [], "repaired": [], "notes": []})

    asyncio.run(_hold_by_a_dead_process(settings, "stuck"))
    expected = [("lease_without_holder", "stuck")]
    until(lambda: kinds(audited(env)[1]["findings"]) == expected, "it is seen", 40)
    code, said = audited(env)
    assert (code, kinds(said["findings"])) == (1, expected)
    assert said["findings"][0]["repair"]["target"] == "dead-holder"
    code, said = audited(env, "--repair")
    assert (code, said["findings"], kinds(said["repaired"])) == (0, [], expected)
    assert asyncio.run(_holder(settings, "stuck")) != "dead-holder"

    asyncio.run(_forget_checkpoints(settings, "audited"))
    code, said = audited(env, "--repair")
    assert (code, said["repaired"]) == (1, [])
    assert kinds(said["findings"]) == [("checkpoint_missing", "audited")]
    assert said["findings"][0]["repair"] is None

"""The command line: help, JSON, exit codes, errors in one sentence, and never a secret."""

import base64
import json
import re
from pathlib import Path
from typing import Any

import click
import pytest
import typer

import raypool
from raypool.cli.app import app
from raypool.store.crypto import Keyring
from tests.integration import flows
from tests.integration.conftest import Account, Run
from tests.integration.scripts import closed_port, command

JOB = """
async def here(page):
    return page.url

async def fails(page):
    raise ValueError("no such post")

def plain(page):
    return page.url
"""


@pytest.fixture(scope="module")
def account(shared_account: Account) -> Account:
    """One business will do."""
    return shared_account


@pytest.fixture
def job(tmp_path: Path) -> str:
    """A file with functions."""
    (tmp_path / "job.py").write_text(JOB)
    return str(tmp_path / "job.py")


def _commands() -> dict[str, click.Command]:
    found: dict[str, click.Command] = {}

    def walk(command: Any, path: tuple[str, ...]) -> None:
        found[" ".join(path)] = command
        for name, below in getattr(command, "commands", {}).items():
            walk(below, (*path, name))

    import raypool.cli.carrying
    import raypool.cli.fleet
    import raypool.cli.keys
    import raypool.cli.operations
    import raypool.cli.sessions
    import raypool.cli.tools
    import raypool.cli.versions  # noqa: F401 -- they register commands

    walk(typer.main.get_command(app), ())
    return found


@pytest.mark.parametrize("path", sorted(_commands()))
def test_every_command_explains_itself(path: str, run: Run) -> None:
    """`--help` says in a sentence what it does; whatever does something can answer in JSON."""
    code, out, _ = run({}, *path.split(), "--help")
    assert code == 0
    assert "Usage: " in out
    found = _commands()[path]
    assert re.search(r"\w+ \w+.*\.", found.help or "")
    if not hasattr(found, "commands"):
        assert "--json" in out


def test_the_first_page_shows_an_example_and_every_command(run: Run) -> None:
    """Nothing given is the same as asking for help."""
    _, out, _ = run({}, "--help")
    assert "Example:" in out
    for name in _commands():
        assert name.split(" ")[0] in out
    assert run({}, "sessions")[0] in {0, 2}


WRONG_USE: dict[str, tuple[tuple[str, ...], str]] = {
    "command": (("fly",), "No such command 'fly'"),
    "option": (("status", "--fast"), "No such option"),
    "missing": (("run",), "Missing argument"),
    "no file": (("run", "nowhere.py:f", "b"), "'nowhere.py:f' is not FILE:FUNCTION"),
    "no colon": (("run", "post.py", "b"), "'post.py' is not FILE:FUNCTION"),
    "concurrency": (("run", "x.py:f", "b", "--concurrency", "0"), "--concurrency"),
    "timeout": (("run", "x.py:f", "b", "--timeout", "soon"), "--timeout"),
}


@pytest.mark.parametrize("what", WRONG_USE)
def test_wrong_use_is_exit_2(what: str, run: Run, nowhere: dict[str, str]) -> None:
    """With one sentence, and no fleet started for it."""
    args, says = WRONG_USE[what]
    code, out, err = run(nowhere, *args)
    assert code == 2
    assert says in err
    assert not out
    assert "Traceback" not in err
    assert not (Path(nowhere["RAYPOOL_DATA_DIR"]) / "fleets").exists()


def test_a_function_that_is_not_there_is_wrong_use(
    job: str, run: Run, nowhere: dict[str, str]
) -> None:
    """The file is, the function is not."""
    code, _, err = run(nowhere, "run", f"{job}:missing", "b")
    assert code == 2
    assert "has no function 'missing'" in err


@pytest.mark.parametrize("args", [("status",), ("status", "b"), ("down",)])
def test_no_fleet_is_exit_3(args: tuple[str, ...], run: Run, nowhere: dict[str, str]) -> None:
    """One sentence, one hint, no traceback; the same as data with --json."""
    code, out, err = run(nowhere, *args)
    assert (code, out) == (3, "")
    assert "error: no local fleet is running" in err
    assert "Start one with `raypool up`" in err
    assert "Traceback" not in err
    code, out, _ = run(nowhere, *args, "--json")
    assert code == 3
    assert json.loads(out)["error"]["code"] == "NETWORK_RAY_UNREACHABLE"


def test_a_traceback_only_when_asked_for(nowhere: dict[str, str]) -> None:
    """`--debug` is for those who look into raypool itself."""
    done = command(nowhere, "status", "--debug")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "NETWORK_RAY_UNREACHABLE" in done.stderr or "no local fleet" in done.stderr


def test_a_wrong_setting_is_wrong_use(run: Run, nowhere: dict[str, str]) -> None:
    """Variable, value and what fits."""
    code, _, err = run({**nowhere, "RAYPOOL_LEASE_TTL": "soon"}, "status")
    assert code == 2
    assert "RAYPOOL_LEASE_TTL='soon' does not fit" in err
    code, _, err = run({**nowhere, "RAYPOOL_LEASE_TTL": "15", "REDIS_URL": "http://x"}, "status")
    assert code == 2
    assert "REDIS_URL" in err


def test_no_secret_is_printed(run: Run, nowhere: dict[str, str]) -> None:
    """Neither the password of an address nor a key, whatever goes wrong."""
    key = Keyring.generate()
    more = {
        "REDIS_URL": f"redis://me:pass-w0rd@127.0.0.1:{closed_port()}",
        "RAYPOOL_ENCRYPTION_KEYS": key,
    }
    for args in (("sessions", "list"), ("doctor",), ("status",)):
        code, out, err = run({**nowhere, **more}, *args)
        assert code in {1, 3}
        assert "pass-w0rd" not in out + err
        assert key not in out + err


def test_keys_generate_prints_the_key_and_nothing_else(nowhere: dict[str, str]) -> None:
    """So that it can stand in $(…); every key is another one."""
    done = [command(nowhere, "keys", "generate") for _ in range(2)]
    keys = {d.stdout for d in done}
    assert len(keys) == 2
    for text in keys:
        assert len(text.splitlines()) == 1
        assert len(base64.urlsafe_b64decode(text.strip())) == 32
    assert [d.stderr for d in done] == ["", ""]


def test_status_shows_what_runs(run: Run, here: dict[str, str], account: Account) -> None:
    """All in a table, one with all its fields, both as JSON."""
    code, out, _ = run(here, "status")
    assert code == 0
    assert account.business_id in out
    code, out, _ = run(here, "status", account.business_id)
    assert code == 0
    assert re.search(r"phase +ready", out)
    assert re.search(r"sign_in +signed_in", out)
    code, out, _ = run(here, "status", account.business_id, "--json")
    assert (code, json.loads(out)[0]["phase"]) == (0, "ready")
    code, _, err = run(here, "status", "nobody")
    assert code == 1
    assert "nobody has no active session" in err


def test_run_reports_each_business(
    run: Run, here: dict[str, str], account: Account, job: str
) -> None:
    """Exit 0 when all went well, 1 when one failed; one line or one JSON object each."""
    business = account.business_id
    code, out, err = run(here, "run", f"{job}:here", business)
    assert code == 0
    assert f"{business}: http" in out
    assert "1/1" in err
    code, out, _ = run(here, "run", f"{job}:here", business, "--json")
    assert (code, json.loads(out)["ok"]) == (0, True)
    code, out, err = run(here, "run", f"{job}:fails", business)
    assert code == 1
    assert "ValueError: no such post" in out
    assert "Traceback" not in out + err
    code, out, _ = run(here, "run", f"{job}:plain", business, "--json")
    assert code == 1
    assert "not an async function" in json.loads(out)["error"]


def test_sessions_are_listed_shown_and_deleted(
    run: Run, here: dict[str, str], pool: raypool.Pool, account: Account
) -> None:
    """Names, sizes and times; never what a checkpoint holds."""
    business = account.business_id
    pool.run(business, flows.leave_traces, account.site.url, "kept-by-the-page")
    pool.remove_instance(f"business:{business}")
    code, out, _ = run(here, "sessions", "list")
    assert code == 0
    assert business in out
    code, out, _ = run(here, "sessions", "list", "--business", business, "--json")
    (session,) = json.loads(out)
    assert (session["business_id"], session["desired"]) == (business, "stopped")
    code, out, _ = run(here, "sessions", "show", session["id"], "--json")
    shown = json.loads(out)
    assert shown["checkpoints"][0]["version"] == shown["checkpoint_version"]
    assert "kept-by-the-page" not in out
    code, out, _ = run(here, "sessions", "show", session["id"])
    assert code == 0
    assert "signed in" in out
    assert "kept-by-the-page" not in out
    assert run(here, "sessions", "delete", session["id"])[0] == 0
    code, _, err = run(here, "sessions", "show", session["id"])
    assert code == 1
    assert f"there is no session '{session['id']}'" in err
    assert run(here, "sessions", "delete", session["id"], "--json")[0] == 1
    assert not pool.sessions.get_sessions_by_business(business)

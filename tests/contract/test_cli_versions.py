"""The commands about versions, exports and keys, on a real server and without a fleet."""

import asyncio
import json
import re
import sys
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
import typer
from pydantic import SecretStr

from raypool import exports, versions
from raypool.cli.app import main
from raypool.config import Settings
from raypool.exports import Cost
from raypool.model import CheckpointMeta, Session, SignIn
from raypool.store.crypto import Keyring
from raypool.store.sessions import RedisSessionManager
from tests.contract.conftest import holder

T = TypeVar("T")
SECRET = "s3cret-of-the-cookie"
COOKIES = json.dumps([{"name": "sid", "value": SECRET, "domain": "a.example", "path": "/"}])
STATE = {"cookies": COOKIES.encode(), "tabs": b'{"active":0,"tabs":[]}'}


class Shell:
    """A server with nothing on it, and the command line beside it."""

    def __init__(
        self, url: str, directory: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
    ) -> None:
        self.keys = Keyring.generate()
        self._monkeypatch, self._capsys = monkeypatch, capsys
        self._settings = Settings(
            redis_url=url, redis_prefix=f"t{uuid.uuid4().hex[:12]}:", data_dir=directory
        )
        monkeypatch.setenv("REDIS_URL", url)
        monkeypatch.setenv("REDIS_PREFIX", self._settings.redis_prefix)
        monkeypatch.setenv("RAYPOOL_DATA_DIR", str(directory))

    def run(self, *args: str) -> tuple[int, str, str]:
        """Run a command; gives exit code, standard output and error."""
        self._monkeypatch.setenv("RAYPOOL_ENCRYPTION_KEYS", self.keys)
        self._monkeypatch.setattr(sys, "argv", ["raypool", *args])
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        said = self._capsys.readouterr()
        assert SECRET not in said.out + said.err
        assert "Traceback" not in said.err
        return int(ended.value.code or 0), said.out, said.err

    def json(self, *args: str) -> Any:
        """Run a command that succeeds; return what it prints."""
        code, out, err = self.run(*args, "--json")
        assert code == 0, err
        return json.loads(out)

    def store(self, do: Callable[[RedisSessionManager], Awaitable[T]], keys: str = "") -> T:
        """Do something with the records."""

        async def opened() -> T:
            ring = Keyring.parse(SecretStr(keys or self.keys))
            async with RedisSessionManager(self._settings, ring) as manager:
                return await do(manager)

        return asyncio.run(opened())

    def business(self, *states: dict[str, bytes], keys: str = "") -> Session:
        """Make business ``b`` with these versions."""
        meta = CheckpointMeta(sign_in=SignIn.SIGNED_IN, reasons=("run",))

        async def make(manager: RedisSessionManager) -> Session:
            made = await manager.create_session("b", "a@example.com")
            async with manager.lock("b") as token:
                for state in states:
                    await manager.checkpoints.save(made.id, token, state, meta)
            return made

        return self.store(make, keys)

    def newest(self, business_id: str = "b") -> dict[str, bytes]:
        """Return the newest state of a business."""

        async def load(manager: RedisSessionManager) -> dict[str, bytes]:
            session = await manager.get_active_session(business_id)
            assert session is not None
            found = await manager.checkpoints.load(session.id)
            assert found is not None
            return dict(found.parts)

        return self.store(load)


@pytest.fixture
def shell(
    servers: Callable[[str], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Shell:
    """The command line on a server of its own; a guess at a passphrase costs nothing here."""
    monkeypatch.setattr(exports.seal_export, "__defaults__", (Cost(log_n=4),))
    monkeypatch.setattr(versions, "LOCK_TIMEOUT_S", 0.1)
    return Shell(servers("valkey"), tmp_path / "data", monkeypatch, capsys)


@pytest.fixture
def passphrase(tmp_path: Path) -> str:
    """A file with a passphrase."""
    (tmp_path / "pass").write_text("correct horse\nand more\n")
    return str(tmp_path / "pass")


# -- versions ----------------------------------------------------------------------------------


def test_versions_are_listed_newest_first(shell: Shell) -> None:
    """For people as a table, for programs as a list."""
    shell.business(STATE, {**STATE, "cookies": b"[]"})
    _, out, _ = shell.run("checkpoints", "b")
    assert re.search(r"version.*created.*bytes", out)
    assert out.index(" 2 ") < out.index(" 1 ")
    found = shell.json("checkpoints", "b")
    assert [info["version"] for info in found] == [2, 1]
    assert (found[0]["signed_in"], found[0]["reasons"]) == (True, ["run"])


def test_two_versions_are_compared_without_a_value(shell: Shell) -> None:
    """What differs, how, bytes and numbers of items; the parts of one storage are one line."""
    local = {f"local:https://a.example/#{n}/2": b'{"a%d":"1","b%d":"2"}' % (n, n) for n in (0, 1)}
    shell.business(STATE, {"cookies": b"[]", **local})
    code, out, _ = shell.run("checkpoints", "b", "--diff", "1", "2")
    assert code == 0
    assert re.search(rf"cookies\W+changed\W+{len(STATE['cookies'])}\W+2\W+1 removed\b", out)
    assert re.search(r"localStorage of\W+added\W+38\W+4 added", out)
    assert "https://a.example " in out
    assert "3 differ, 0 are the same in both." in out
    found = shell.json("checkpoints", "b", "--diff", "1", "2")
    assert (found["before"], found["after"], found["unchanged"]) == (1, 2, 0)
    kinds = {change["name"]: change["kind"] for change in found["changes"]}
    assert kinds == {
        "cookies": "changed", "local:https://a.example/": "added", "tabs": "removed",
    }  # fmt: skip
    assert shell.json("checkpoints", "b", "--diff", "1", "1")["changes"] == []


def test_a_rollback_says_what_it_did(shell: Shell) -> None:
    """And has done it when it says so."""
    shell.business(STATE, {**STATE, "cookies": b"[]"})
    code, out, _ = shell.run("rollback", "b", "1")
    assert (code, out) == (0, "b is at version 3, with the contents of 1.\n")
    assert shell.newest() == STATE
    info = shell.json("rollback", "b", "2")
    assert (info["business_id"], info["version"], info["reasons"]) == ("b", 4, ["rollback to 2"])


def test_names_cannot_control_a_terminal(shell: Shell) -> None:
    """A part's name comes from a site or a file."""
    shell.business(STATE, {**STATE, "other:\x1b]0;owned\x07": b"{}"})
    _, out, _ = shell.run("checkpoints", "b", "--diff", "1", "2")
    assert "\x1b" not in out
    assert "\x07" not in out
    assert "owned" in out


WRONG: dict[str, tuple[tuple[str, ...], int, str]] = {
    "no such version": (("rollback", "b", "9"), 2, "b has no version 9: kept are 2, 1"),
    "no number": (("rollback", "b", "old"), 2, "VERSION"),
    "no such business": (("rollback", "c", "1"), 1, "c has no active session"),
    "no business": (("checkpoints", "a b"), 2, "'a b' is not a business id"),
    "nobody's": (("checkpoints", "c"), 1, "c has no active session"),
    "diff of one": (("checkpoints", "b", "--diff", "1"), 2, "requires 2 arguments"),
    "diff of nothing": (("checkpoints", "b", "--diff", "1", "9"), 2, "has no version 9"),
    "export of nothing": (("sessions", "export", "c", "f", "--playwright"), 1, "no active session"),
    "export of no version": (
        ("sessions", "export", "b", "f", "--playwright", "--version", "9"), 2, "has no version 9",
    ),
    "no file": (("sessions", "import", "nowhere"), 2, "nowhere cannot be read: No such file"),
    "both": (
        ("sessions", "export", "b", "f", "--playwright", "--passphrase-file", "p"), 2,
        "not encrypted",
    ),
    "no terminal": (("sessions", "export", "b", "f"), 2, "no terminal to ask"),
    "no passphrase file": (
        ("sessions", "export", "b", "f", "--passphrase-file", "p"), 2, "p cannot be read",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_what_cannot_be_is_told_in_a_sentence(
    shell: Shell, what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit 2 for wrong use, 1 for what is not there; nothing is written."""
    monkeypatch.chdir(tmp_path)
    shell.business(STATE, {**STATE, "cookies": b"[]"})
    args, expected, says = WRONG[what]
    code, out, err = shell.run(*args)
    assert (code, out) == (expected, "")
    assert says in err
    assert not (tmp_path / "f").exists()
    assert len(shell.json("checkpoints", "b")) == 2


def test_a_business_that_is_held_elsewhere_is_locked(shell: Shell) -> None:
    """No fleet runs here that could stop it: exit 1, and who has it."""
    shell.business(STATE, {**STATE, "cookies": b"[]"})
    owner = holder(cluster="paris")
    shell.store(lambda manager: manager.leases.acquire("b", owner, 20))
    code, _, err = shell.run("rollback", "b", "1")
    assert code == 1
    assert "b is held by instance" in err
    assert "of cluster paris" in err
    assert len(shell.json("checkpoints", "b")) == 2


# -- export and import -------------------------------------------------------------------------


def test_a_session_moves_in_one_file(shell: Shell, passphrase: str, tmp_path: Path) -> None:
    """Out of one business, into another that had no session; byte for byte."""
    shell.business(STATE)
    file = str(tmp_path / "b.raypool")
    code, out, err = shell.run("sessions", "export", "b", file, "--passphrase-file", passphrase)
    assert (code, out) == (0, f"version 1 of b is in {file}.\n"), err
    assert SECRET.encode() not in Path(file).read_bytes()
    assert Path(file).stat().st_mode & 0o777 == 0o600
    info = shell.json(
        "sessions", "import", file, "--business", "c", "--passphrase-file", passphrase
    )
    assert (info["business_id"], info["version"], info["signed_in"]) == ("c", 1, True)
    assert info["reasons"] == ["imported version 1 of b"]
    assert shell.newest("c") == STATE
    assert shell.json("sessions", "import", file, "--passphrase-file", passphrase)["version"] == 2


def test_an_old_version_can_be_exported(shell: Shell, passphrase: str, tmp_path: Path) -> None:
    """Also one that a rollback would not go back to."""
    shell.business(STATE, {"cookies": b"[]"})
    file = str(tmp_path / "f")
    more = ("--version", "1", "--passphrase-file", passphrase)
    assert shell.json("sessions", "export", "b", file, *more)["version"] == 1
    shell.json("sessions", "import", file, "--passphrase-file", passphrase)
    assert shell.newest() == STATE


def test_a_file_that_is_there_is_not_replaced_unasked(
    shell: Shell, passphrase: str, tmp_path: Path
) -> None:
    """Exit 2 before anything is asked or read."""
    shell.business(STATE)
    file = tmp_path / "f"
    file.write_text("mine")
    args = ("sessions", "export", "b", str(file), "--passphrase-file", passphrase)
    code, _, err = shell.run(*args)
    assert code == 2
    assert "exists already" in err
    assert file.read_text() == "mine"
    assert shell.run(*args, "--force")[0] == 0
    assert exports.is_export(file.read_bytes())


def test_a_wrong_passphrase_and_a_damaged_file_are_told_apart(
    shell: Shell, passphrase: str, tmp_path: Path
) -> None:
    """One sentence each; nothing is imported."""
    shell.business(STATE)
    file = tmp_path / "f"
    shell.run("sessions", "export", "b", str(file), "--passphrase-file", passphrase)
    (tmp_path / "other").write_text("incorrect horse")
    code, _, err = shell.run(
        "sessions", "import", str(file), "--passphrase-file", str(tmp_path / "other")
    )
    assert code == 2
    assert "the passphrase is not the one that the file was exported with" in err
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    code, _, err = shell.run("sessions", "import", str(file), "--passphrase-file", passphrase)
    assert code == 1
    assert "the export is damaged" in err
    assert len(shell.json("checkpoints", "b")) == 1


def test_the_passphrase_is_asked_for_unseen(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twice before an export, once before an import."""
    shell.business(STATE)
    asked: list[tuple[bool, bool]] = []

    def prompt(_: str, *, hide_input: bool, confirmation_prompt: bool, err: bool) -> str:
        asked.append((hide_input, confirmation_prompt))
        return "typed"

    monkeypatch.setattr(typer, "prompt", prompt)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    file = str(tmp_path / "f")
    assert shell.run("sessions", "export", "b", file)[0] == 0
    assert shell.run("sessions", "import", file)[0] == 0
    assert asked == [(True, True), (True, False)]


def test_playwrights_format_goes_both_ways(shell: Shell, tmp_path: Path) -> None:
    """Readable by anybody, which is said; without a passphrase; for a business that must be named."""
    shell.business(STATE)
    file = tmp_path / "state.json"
    code, _, err = shell.run("sessions", "export", "b", str(file), "--playwright")
    assert code == 0
    assert "warning: whoever can read this file is signed in" in err
    assert "warning: not in the file: tabs" in err
    assert file.stat().st_mode & 0o777 == 0o600
    (cookie,) = json.loads(file.read_text())["cookies"]
    assert (cookie["name"], cookie["value"], cookie["sameSite"]) == ("sid", SECRET, "Lax")
    code, _, err = shell.run("sessions", "import", str(file))
    assert code == 2
    assert "name the business" in err
    info = shell.json("sessions", "import", str(file), "--business", "c")
    assert (info["version"], info["signed_in"], info["reasons"]) == (1, None, ["imported"])
    (kept,) = json.loads(shell.newest("c")["cookies"])
    assert (kept["name"], kept["value"]) == ("sid", SECRET)


def test_what_is_neither_kind_is_wrong_use(shell: Shell, tmp_path: Path) -> None:
    """Exit 2; no session is made for it."""
    (tmp_path / "f").write_text("cookies: none")
    code, _, err = shell.run("sessions", "import", str(tmp_path / "f"), "--business", "c")
    assert code == 2
    assert "neither an export of raypool nor a storage_state of Playwright" in err
    assert shell.json("sessions", "list") == []


# -- keys --------------------------------------------------------------------------------------


def test_keys_are_rotated_and_the_old_one_may_go(shell: Shell) -> None:
    """How many, with which key, and what may be taken out of the setting at the end."""
    session = shell.business(STATE)
    old = shell.keys
    shell.keys = f"{Keyring.generate()},{old}"
    new_id, old_id = Keyring.parse(SecretStr(shell.keys)).ids
    code, out, err = shell.run("keys", "rotate")
    assert (code, "sessions" in err) == (0, True)
    assert f"2 keys are wrapped with {new_id} now, 0 were." in out
    assert f"Nothing needs {old_id} any more" in out
    assert shell.json("keys", "rotate") == {
        "key_id": new_id, "rotated": 0, "skipped": 2, "failures": [], "retired": [old_id],
    }  # fmt: skip
    shell.keys = shell.keys.split(",")[0]
    assert shell.newest() == STATE
    assert shell.json("sessions", "show", session.id)["email"] == "a@example.com"
    code, out, _ = shell.run("keys", "rotate")
    assert (code, "any more" in out) == (0, False)


def test_a_session_whose_key_is_missing_fails_the_rotation(shell: Shell) -> None:
    """Exit 1; the session and the id of the key that it needs are named, no key is ever shown."""
    third = Keyring.generate()
    shell.store(lambda manager: manager.create_session("other"))
    session = shell.business(STATE, keys=f"{third},{shell.keys}")
    needed = Keyring.parse(SecretStr(third)).ids[0]
    shell.keys = f"{Keyring.generate()},{shell.keys}"
    code, out, err = shell.run("keys", "rotate")
    assert code == 1
    flat = " ".join(err.split())
    assert f"failed: session {session.id} of b (wrapped with key {needed})" in flat
    assert "2 keys are wrapped" in out
    found = shell.run("keys", "rotate", "--json")
    (failure,) = json.loads(found[1])["failures"]
    assert (found[0], failure["session_id"], failure["key_id"]) == (1, session.id, needed)
    for text in (out, err, found[1]):
        assert not any(key in text for key in (third, *shell.keys.split(",")))


@pytest.mark.parametrize("command", ["rotate", "generate"])
def test_the_commands_about_keys_explain_themselves(shell: Shell, command: str) -> None:
    """With an example."""
    code, out, _ = shell.run("keys", command, "--help")
    assert code == 0
    assert "Example:" in out

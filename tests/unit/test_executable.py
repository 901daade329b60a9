"""Which Chromium is used, in the order of the contract."""

from pathlib import Path

import pytest

from raypool.browser.executable import Executable, Kind, find_chromium
from raypool.errors import BrowserError, ErrorCodes

SHELL = "chromium_headless_shell-1228/chrome-headless-shell-linux64/chrome-headless-shell"
FULL = "chromium-1228/chrome-linux64/chrome"
OLD_SHELL = "chromium_headless_shell-998/chrome-linux/headless_shell"


class Machine:
    """A Playwright download folder and a PATH of their own."""

    def __init__(self, root: Path) -> None:
        self.playwright, self.bin = root / "ms-playwright", root / "bin"
        self.bin.mkdir()

    def downloaded(self, name: str, mode: int = 0o755) -> Executable:
        return Executable(_program(self.playwright / name, mode), "playwright")

    def installed(self, name: str) -> Executable:
        return Executable(_program(self.bin / name, 0o755), "system")


def _program(path: Path, mode: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(mode)
    return path


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Return a machine without any Chromium."""
    machine = Machine(tmp_path)
    monkeypatch.setenv("PATH", str(machine.bin))
    monkeypatch.setenv("PLAYWRIGHT_BROWSERS_PATH", str(machine.playwright))
    return machine


def test_what_is_set_wins(machine: Machine, tmp_path: Path) -> None:
    """RAYPOOL_CHROMIUM comes before everything that could be found."""
    machine.downloaded(SHELL)
    own = _program(tmp_path / "own", 0o700)
    assert find_chromium("headless_shell", own) == Executable(own, "RAYPOOL_CHROMIUM")


@pytest.mark.parametrize("wrong", ["missing", "directory", "plain"])
def test_a_wrong_setting_is_refused(wrong: str, machine: Machine, tmp_path: Path) -> None:
    """Nothing else is tried: whoever set it meant it."""
    machine.downloaded(SHELL)
    (tmp_path / "directory").mkdir()
    _program(tmp_path / "plain", 0o644)
    with pytest.raises(BrowserError, match=f"RAYPOOL_CHROMIUM=.*{wrong} is not") as caught:
        find_chromium("headless_shell", tmp_path / wrong)
    assert caught.value.code is ErrorCodes.BROWSER_NOT_FOUND


def test_playwrights_own_comes_before_the_systems(machine: Machine) -> None:
    """The light shell first; each one is used when those before it are missing."""
    expected = [machine.downloaded(SHELL), machine.downloaded(FULL)]
    expected += [
        machine.installed(n) for n in ("chromium-headless-shell", "chromium", "google-chrome")
    ]
    for best in expected:
        assert find_chromium("headless_shell") == best
        best.path.unlink()
    with pytest.raises(BrowserError, match=r"chromium-headless-shell, chromium, google-chrome"):
        find_chromium("headless_shell")


def test_a_shell_is_no_full_browser(machine: Machine) -> None:
    """Whoever asks for the full browser never gets the headless shell."""
    machine.downloaded(SHELL)
    machine.installed("chromium-headless-shell")
    with pytest.raises(BrowserError, match=r"no Chromium \(chromium\)") as caught:
        find_chromium("chromium")
    assert "install-browser" in caught.value.recovery
    full = machine.installed("google-chrome")
    assert find_chromium("chromium") == full
    better = machine.downloaded(FULL)
    assert find_chromium("chromium") == better


def test_the_newest_download_is_used(machine: Machine) -> None:
    """Revisions are numbers, and how a revision names its program does not matter."""
    old, new = machine.downloaded(OLD_SHELL), machine.downloaded(SHELL)
    assert find_chromium("headless_shell") == new
    new.path.unlink()
    assert find_chromium("headless_shell") == old


@pytest.mark.parametrize("kind", ["headless_shell", "chromium"])
def test_half_a_download_is_passed_over(kind: Kind, machine: Machine) -> None:
    """A file that cannot be executed is no browser."""
    machine.downloaded(SHELL, 0o644)
    machine.downloaded(FULL, 0o644)
    system = machine.installed("chromium")
    assert find_chromium(kind) == system


def test_a_failed_installer_is_quoted_where_it_tells_why() -> None:
    """Not the brace that ends its stack trace, but the line that names the trouble."""
    from raypool.browser.executable import _reason

    assert _reason("Downloading …\nError: getaddrinfo ENOTFOUND\n  at x\n}\n") == (
        "Error: getaddrinfo ENOTFOUND"
    )
    assert _reason("only this\n}\n") == "only this"
    assert _reason("") == "it failed and said nothing"

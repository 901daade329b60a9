"""Find a Chromium, or install one.

The order is the contract's: ``RAYPOOL_CHROMIUM``, Playwright's own, the system's. Installing tries
Playwright's download first, then the distribution's package.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from raypool.errors import ErrorCodes, create_error

Kind = Literal["headless_shell", "chromium"]
Say = Callable[[str], None]

_SYSTEM: dict[Kind, tuple[str, ...]] = {
    # A full Chromium can do the headless shell's work, not the other way round.
    "headless_shell": ("chromium-headless-shell", "chromium", "google-chrome"),
    "chromium": ("chromium", "google-chrome"),
}
# Folder and file names of Playwright's downloads, as its registry lays them out.
_PLAYWRIGHT: dict[Kind, tuple[str, ...]] = {
    "headless_shell": (
        "chromium_headless_shell-*/chrome-*/*headless[_-]shell",
        "chromium-*/chrome-*/chrome",
    ),
    "chromium": ("chromium-*/chrome-*/chrome",),
}
_APT_PACKAGE: dict[Kind, str] = {
    "headless_shell": "chromium-headless-shell",
    "chromium": "chromium",
}
_INSTALL_TIMEOUT_S = 600


@dataclass(frozen=True)
class Executable:
    """A Chromium that can be started, and where it was found."""

    path: Path
    source: str


def find_chromium(kind: Kind = "headless_shell", override: Path | None = None) -> Executable:
    """Return the Chromium to use.

    Args:
        kind: The light headless shell, or the full browser.
        override: ``RAYPOOL_CHROMIUM``; when given nothing else is tried.

    Raises:
        BrowserError: There is none (``BROWSER_NOT_FOUND``).
    """
    if override is not None:
        if os.access(override, os.X_OK) and override.is_file():
            return Executable(override, "RAYPOOL_CHROMIUM")
        raise create_error(
            ErrorCodes.BROWSER_NOT_FOUND,
            f"RAYPOOL_CHROMIUM={override} is not an executable file",
            recovery="Set it to a Chromium executable, or unset it to search for one.",
        )
    for found in _candidates(kind):
        return found
    raise create_error(
        ErrorCodes.BROWSER_NOT_FOUND,
        f"no Chromium ({kind}) was found: neither Playwright's own nor one of "
        f"{', '.join(_SYSTEM[kind])} on PATH",
    )


def _candidates(kind: Kind) -> Iterator[Executable]:
    for pattern in _PLAYWRIGHT[kind]:
        for path in sorted(_playwright_home().glob(pattern), key=_revision, reverse=True):
            if os.access(path, os.X_OK):
                yield Executable(path, "playwright")
    for name in _SYSTEM[kind]:
        if on_path := shutil.which(name):
            yield Executable(Path(on_path), "system")


def _revision(path: Path) -> int:
    digits = path.parents[1].name.rpartition("-")[2]
    return int(digits) if digits.isdecimal() else 0


def _playwright_home() -> Path:
    if home := os.environ.get("PLAYWRIGHT_BROWSERS_PATH"):
        return Path(home)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ms-playwright"


def install_chromium(
    kind: Kind = "headless_shell", override: Path | None = None, say: Say = print
) -> Executable:
    """Return a Chromium, installing one when there is none. Idempotent; blocks for minutes at worst.

    Args:
        kind: The light headless shell, or the full browser.
        override: ``RAYPOOL_CHROMIUM``.
        say: Told what is being done, one line a step.

    Raises:
        BrowserError: None could be installed; the message says what was tried.
    """
    tried: list[str] = []
    for attempt in (None, _install_with_playwright, _install_with_apt):
        if attempt is not None:
            tried.append(attempt(kind, say))
        try:
            return find_chromium(kind, override)
        except Exception:
            if override is not None:
                raise
    raise create_error(
        ErrorCodes.BROWSER_NOT_FOUND,
        f"no Chromium could be installed: {'; '.join(tried)}",
        recovery="Install Chromium yourself (apt-get install chromium-headless-shell) and run this "
        "again, or set RAYPOOL_CHROMIUM to an executable.",
    )


def _install_with_playwright(kind: Kind, say: Say) -> str:
    say("installing Chromium with Playwright (about 100 MB) …")
    command = [sys.executable, "-m", "playwright", "install", "chromium"]
    if kind == "headless_shell":
        command.insert(-1, "--only-shell")
    if os.geteuid() == 0:  # --with-deps calls the package manager
        command.insert(-1, "--with-deps")
    return _run(command, "playwright install")


def _install_with_apt(kind: Kind, say: Say) -> str:
    if not shutil.which("apt-get"):
        return "this system has no apt-get"
    if os.geteuid() != 0:
        return f"apt-get install {_APT_PACKAGE[kind]} needs root"
    say(f"installing the system's package {_APT_PACKAGE[kind]} …")
    _run(["apt-get", "update", "-q"], "apt-get update")
    return _run(["apt-get", "install", "-y", "-q", _APT_PACKAGE[kind]], "apt-get install")


def _run(command: list[str], what: str) -> str:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        done = subprocess.run(  # noqa: S603 -- fixed programs, no shell
            command,
            env=environment,
            capture_output=True,
            text=True,
            timeout=_INSTALL_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{what}: {error}"
    return f"{what}: " + ("done" if done.returncode == 0 else _reason(done.stderr or done.stdout))


def _reason(said: str) -> str:
    """Return the line of a failed program's output that tells why."""
    lines = [line.strip() for line in said.splitlines() if any(c.isalnum() for c in line)]
    telling = [line for line in lines if "error" in line.lower() or "failed" in line.lower()]
    return (telling or lines[-1:] or ["it failed and said nothing"])[0][:200]

"""Chromium: is there one, and does it really start?"""

import json
import os
import secrets
import signal
import sys
from contextlib import suppress

from raypool.browser.executable import Executable, find_chromium
from raypool.browser.processes import InstanceDirectory, living_browsers
from raypool.config import Settings
from raypool.doctor.background import in_thread, run
from raypool.doctor.report import Check, Finding, Level, conclude

_NAME = "chromium"
_OWNER = "raypool-doctor"
_LIBRARIES = (
    "Install what it lacks (`playwright install-deps chromium` as root), or run"
    " `raypool install-browser`."
)
_AS_ROOT = "Run raypool as an ordinary user: Chromium's sandbox cannot be used as root."
_NO_NAMESPACES = (
    "Allow user namespaces for this user (sysctl kernel.unprivileged_userns_clone=1; in Docker,"
    " Playwright's seccomp profile; on Ubuntu, an AppArmor profile for Chromium)."
)


async def check_chromium(settings: Settings) -> Check:
    """Find Chromium and start it the way an instance does, so that missing libraries are found."""
    found = await in_thread(find_chromium, "headless_shell", settings.chromium)
    where = f"{found.path} (source: {found.source})"
    try:
        said = await run(found.path, "--version")
    except OSError as error:
        return Check(_NAME, Level.FAIL, f"{where} cannot be run: {error.strerror}", _LIBRARIES)
    if said.code:
        saw = f"{where} does not run: {said.last_words}"
        return Check(_NAME, Level.FAIL, saw, _LIBRARIES)
    return await _start(found, where)


async def _start(found: Executable, where: str) -> Check:
    token = secrets.randbits(40)
    directory = InstanceDirectory(_OWNER, token)
    done = None
    try:
        program = ("-m", "raypool.doctor.try_chromium", found.path, _OWNER, str(token))
        done = await run(sys.executable, *program)
    finally:
        if done is None:
            _kill(token)
        directory.remove()
    try:
        answer = json.loads(done.out.strip().splitlines()[-1])
    except (IndexError, ValueError):
        return Check(_NAME, Level.FAIL, f"{where} does not start: {done.last_words}", _LIBRARIES)
    if "error" in answer:
        saw = f"{where} does not start: {answer['error']}"
        return Check(_NAME, Level.FAIL, saw, _LIBRARIES)
    return conclude(
        _NAME, f"Chromium {answer['version']} at {where}", _warnings(answer["warnings"])
    )


def _warnings(warnings: list[str]) -> list[Finding]:
    do = _AS_ROOT if os.geteuid() == 0 else _NO_NAMESPACES
    return [Finding(Level.WARN, warning, do) for warning in warnings]


def _kill(token: int) -> None:
    """Kill what a trial that was given up has left: a browser that hangs outlives its driver."""
    for browser in living_browsers():
        if (browser.business_id, browser.token) == (_OWNER, token):
            with suppress(ProcessLookupError):
                os.kill(browser.pid, signal.SIGKILL)

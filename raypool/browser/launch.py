"""Start driver and Chromium, together and with nothing of ours inside them."""

import asyncio
import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from playwright.async_api import Browser, CDPSession, Playwright, async_playwright
from playwright.async_api import Error as PlaywrightError

from raypool.browser.failures import start_failed
from raypool.browser.processes import MARKER, InstanceDirectory
from raypool.spec import SessionSpec

_CLEAN_ENVIRONMENT = (
    "PATH",
    "LANG",
    "LC_ALL",
    "TZ",
    "FONTCONFIG_PATH",
    "XDG_RUNTIME_DIR",
    "DISPLAY",
)


@dataclass
class Started:
    """What :func:`start` makes, in the order in which it is made."""

    playwright: Playwright
    browser: Browser
    cdp: CDPSession
    driver_pid: int
    browser_pid: int
    is_shell: bool
    """Whether it is the headless shell, not full Chromium."""


async def start(
    spec: SessionSpec, directory: InstanceDirectory, executable: Path, warnings: list[str]
) -> Started:
    """Start a driver and a Chromium of *spec*, and note both in *directory*.

    Raises:
        BrowserError: One of them did not come up; nothing of them is left.
    """
    before = {child.pid for child in psutil.Process().children()}
    with _kept_in(directory):
        playwright = await async_playwright().start()
    driver_pid = next(c.pid for c in psutil.Process().children() if c.pid not in before)
    try:
        browser = await _launch_chromium(playwright, spec, directory, executable, warnings)
        cdp = await browser.new_browser_cdp_session()
        browser_pid, is_shell = await asyncio.gather(_browser_pid(cdp), _is_shell(cdp))
    except PlaywrightError as error:
        await playwright.stop()
        raise start_failed(error) from error
    directory.record(driver_pid=driver_pid, browser_pid=browser_pid)
    return Started(playwright, browser, cdp, driver_pid, browser_pid, is_shell)


@contextlib.contextmanager
def _kept_in(directory: InstanceDirectory) -> Iterator[None]:
    """Make a driver that is started now, and inherits our environment, write nowhere else.

    One removal then clears all. What this process itself does with its environment stays as it was.
    """
    ours = {
        "TMPDIR": str(directory.path),
        # Where `Browser.bind` leaves a file with its endpoint; by default in the user's cache.
        "PWTEST_SERVER_REGISTRY": str(directory.path / "bound"),
    }
    before = {name: os.environ.get(name) for name in ours}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


async def _launch_chromium(
    playwright: Playwright,
    spec: SessionSpec,
    directory: InstanceDirectory,
    executable: Path,
    warnings: list[str],
) -> Browser:
    options: dict[str, Any] = {
        "executable_path": executable,
        "headless": spec.headless,
        "env": _environment(directory),
        "handle_sigint": False,
    }
    if os.geteuid() == 0:
        warnings.append("Chromium runs without its sandbox: it cannot be used as root")
        return await playwright.chromium.launch(**options, chromium_sandbox=False)
    with contextlib.suppress(PlaywrightError):
        return await playwright.chromium.launch(**options, chromium_sandbox=True)
    browser = await playwright.chromium.launch(**options, chromium_sandbox=False)
    warnings.append("Chromium runs without its sandbox: this system has no user namespaces for it")
    return browser


def _environment(directory: InstanceDirectory) -> dict[str, str | float | bool]:
    """Return a clean environment: no secret of ours may reach a process that runs websites."""
    kept: dict[str, str | float | bool] = {
        k: os.environ[k] for k in _CLEAN_ENVIRONMENT if k in os.environ
    }
    return kept | {
        "HOME": str(directory.path),
        "TMPDIR": str(directory.path),
        MARKER: directory.marker,
    }


async def _browser_pid(cdp: CDPSession) -> int:
    processes = (await cdp.send("SystemInfo.getProcessInfo"))["processInfo"]
    return next(int(p["id"]) for p in processes if p["type"] == "browser")


async def _is_shell(cdp: CDPSession) -> bool:
    product: str = (await cdp.send("Browser.getVersion"))["product"]
    return product.startswith("HeadlessChrome/")  # its user agent says so with full Chromium too

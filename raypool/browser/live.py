"""One live browser: driver, Chromium and context, made together and dying together."""

import asyncio
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, BrowserContext, CDPSession, Page
from playwright.async_api import Error as PlaywrightError

from raypool.browser.binding import Binding
from raypool.browser.collect import Collected, Collector
from raypool.browser.executable import find_chromium
from raypool.browser.failures import start_failed, takes, unfit
from raypool.browser.health import Pulse, is_stopped
from raypool.browser.identity import identify
from raypool.browser.launch import Started, start
from raypool.browser.mirror import Mirror
from raypool.browser.proc import living
from raypool.browser.processes import InstanceDirectory, sweep, tree_memory
from raypool.browser.restore import open_tabs, set_cookies
from raypool.browser.sown import Sown
from raypool.errors import BrowserError, ConfigurationError
from raypool.logs import get_logger
from raypool.spec import SessionSpec

log = get_logger(__name__)

OnLost = Callable[[str], None]
CLOSE_TIMEOUT_S = 8.0
RELEASE_TIMEOUT_S = 1.0


class LiveBrowser:
    """A business's browser while it lives.

    Args:
        on_lost: Called once, with the reason, when driver, Chromium, context or a page ends unasked.
    """

    def __init__(
        self, parts: Started, context: BrowserContext, collector: Collector, on_lost: OnLost
    ) -> None:
        self.browser, self.context = parts.browser, context
        self.driver_pid, self.browser_pid = parts.driver_pid, parts.browser_pid
        self._parts, self._collector = parts, collector
        self._on_lost: OnLost | None = on_lost
        self._active: Page | None = None
        self._watched: list[int] = []
        self._binding, self._pulse = Binding(parts.browser, context), Pulse()
        self.started_at = time.monotonic()
        self.pages_opened = 0
        """Pages of the business's own context so far, closed ones too."""
        self._watch()

    @property
    def version(self) -> str:
        """Chromium's version."""
        return self.browser.version

    @property
    def components(self) -> tuple[Browser, BrowserContext]:
        """Playwright's own objects."""
        return self.browser, self.context

    async def ping(self) -> None:
        """Return when the browser answered; raises or hangs when it does not."""
        await self._parts.cdp.send("Browser.getVersion")

    def stopped(self) -> bool:
        """Tell whether somebody stopped (SIGSTOP) the driver or Chromium's main process."""
        return is_stopped(self.driver_pid) or is_stopped(self.browser_pid)

    async def check_page(self, timeout: float) -> None:
        """Return when the active page's main thread answered, or when there is no such page.

        A page waits for nothing but its own scripts, and for a dialog that an attached client leaves
        open. Calls that a hung page does not answer do not pile up.

        Raises:
            BrowserError: It did not answer within *timeout* seconds (``BROWSER_CRASHED``).
        """
        if self._active and not self._active.is_closed():
            await self._pulse.check(self._active, timeout)

    def memory(self) -> int:
        """Return the bytes of driver and browser tree."""
        return tree_memory(self.driver_pid, self.browser_pid)

    @property
    def url(self) -> str:
        """Where the active page is; empty when there is none."""
        return "" if self._active is None or self._active.is_closed() else self._active.url

    async def page(self) -> Page:
        """Return the page that functions are given: the active one, a new one if it was closed."""
        if self._active is None or self._active.is_closed():
            open_pages = [page for page in self._collector.pages if not page.is_closed()]
            self._active = open_pages[0] if open_pages else await self.context.new_page()
        return self._active

    @property
    def changed(self) -> asyncio.Event:
        """Set when the state may be other than it was last collected."""
        return self._collector.changed

    @property
    def restored(self) -> bool:
        """Whether all of the saved state is in the browser that does not wait for its first visit."""
        return self._collector.seeds.done

    async def collect(self, *, everything: bool) -> Collected:
        """Return the whole state now; see :meth:`raypool.browser.collect.Collector.collect`."""
        return await self._collector.collect(self._active, everything=everything)

    async def open_tabs(self, parts: Mapping[str, bytes], warnings: list[str]) -> None:
        """Bring back the saved tabs.

        Raises:
            ConfigurationError: Chromium makes no page with the options of its context.
            BrowserError: It died meanwhile.
        """
        try:
            self._active = await open_tabs(
                self.context, self._collector, parts, warnings, is_shell=self._parts.is_shell
            )
        except PlaywrightError as error:
            both = [self.driver_pid, self.browser_pid]
            alive = self.browser.is_connected() and living(both) == both
            raise (unfit if alive else start_failed)(error) from error

    async def bind(self, host: str) -> str:
        """Return an endpoint for :func:`raypool.browser.remote.connect_remote`. Idempotent.

        It listens at *host* only, at a free port; its path is a random id and the only key to the
        browser: hand it to nobody who may not drive the business, and print it nowhere. A second
        call gives the same endpoint until :meth:`unbind`.

        Raises:
            BrowserError: The driver cannot listen there.
        """
        return await self._binding.open(host)

    async def unbind(self) -> None:
        """Cut off whoever is attached and close the endpoint. Idempotent, bounded, closes no page."""
        await self._binding.close()

    async def tidy(self) -> int:
        """Close the contexts that are not the business's own; return how many.

        Playwright lets a client's contexts live on when it leaves. They cannot be told from those of
        a client that is there: call it when nobody is attached.
        """
        return await self._binding.tidy()

    async def active_page_id(self) -> str:
        """Return the id by which an attached client finds the page that functions are given."""
        return identify(await self.page())

    async def close(self) -> None:
        """Close everything in order; what does not close in time is left to be killed."""
        self._forget()
        for closing in (self.browser.close(), self._parts.playwright.stop()):
            task = asyncio.ensure_future(closing)
            await asyncio.wait({task}, timeout=CLOSE_TIMEOUT_S)
            task.add_done_callback(_swallow)

    async def release(self) -> None:
        """Let go of a driver that was killed: its pipes stay open otherwise. Bounded."""
        letting_go = asyncio.ensure_future(self._parts.playwright.stop())
        await asyncio.wait({letting_go}, timeout=RELEASE_TIMEOUT_S)
        letting_go.add_done_callback(_swallow)

    async def anew(
        self, spec: SessionSpec, parts: Mapping[str, bytes]
    ) -> tuple["LiveBrowser", list[str]]:
        """Return the same Chromium with the state *parts* instead; see :func:`launch`.

        To a site it is as if it had been started again: nothing of a context outlives it. This object
        is of no more use.

        Raises:
            BrowserError: It died meanwhile.
        """
        on_lost = self._on_lost or _nobody
        self._forget()
        warnings: list[str] = []
        try:
            await self.context.close()
        except PlaywrightError as error:
            raise start_failed(error) from error
        return await _furnish(self._parts, spec, await _unpack(parts), on_lost, warnings), warnings

    def abandon(self) -> None:
        """Stop watching: whatever happens to this browser from now on is expected."""
        self._forget()

    def _watch(self) -> None:
        self.browser.on("disconnected", lambda _: self._lost("Chromium is gone"))
        self.context.on("close", lambda _: self._lost("its context was closed"))
        self.context.on("page", self._watch_page)
        for page in self.context.pages:
            self._watch_page(page)
        self._watch_process(self.driver_pid, "the Playwright driver is gone")
        self._watch_process(self.browser_pid, "Chromium is gone")

    def _watch_page(self, page: Page) -> None:
        self.pages_opened += 1
        page.on("crash", lambda _: self._lost("a page crashed"))

    def _watch_process(self, pid: int, reason: str) -> None:
        # Playwright tells nobody when its own driver dies; the kernel does, at once.
        descriptor = os.pidfd_open(pid)
        self._watched.append(descriptor)
        asyncio.get_running_loop().add_reader(descriptor, self._lost, reason)

    def _lost(self, reason: str) -> None:
        if not living([self.driver_pid]):
            reason = "the Playwright driver is gone"  # and takes all else with it
        on_lost = self._on_lost
        self._forget()
        if on_lost:
            on_lost(reason)

    def _forget(self) -> None:
        self._on_lost = None
        self._collector.end()
        for descriptor in self._watched:
            asyncio.get_running_loop().remove_reader(descriptor)
            os.close(descriptor)
        self._watched = []


async def launch(
    spec: SessionSpec,
    directory: InstanceDirectory,
    parts: Mapping[str, bytes],
    on_lost: OnLost,
    executable: Path | None = None,
) -> tuple[LiveBrowser, list[str]]:
    """Start a browser of *spec* that holds the saved state *parts*, its tabs not yet opened.

    Returns:
        The browser, and warnings that name what could not be restored.

    Raises:
        BrowserError: There is no Chromium, or it does not start.
        ConfigurationError: It does not take the options of *spec*.
    """
    warnings: list[str] = []
    found = find_chromium(spec.browser, executable)
    starting = asyncio.ensure_future(start(spec, directory, found.path, warnings))
    unpacking = asyncio.ensure_future(_unpack(parts))  # has its turn while the other waits
    try:
        started = await starting
    except BaseException:
        unpacking.cancel()
        raise
    try:
        return await _furnish(started, spec, await unpacking, on_lost, warnings), warnings
    except (BrowserError, ConfigurationError):
        await started.playwright.stop()
        raise


async def _furnish(
    started: Started,
    spec: SessionSpec,
    saved: tuple[Mirror, Sown],
    on_lost: OnLost,
    warnings: list[str],
) -> LiveBrowser:
    """Make the only context of a browser."""
    options: dict[str, Any] = dict(spec.context)
    try:
        context = await started.browser.new_context(**options)
        context_id = await _context_id(started.cdp)
        scripted = spec.context.get("java_script_enabled") is not False
        collector = Collector(
            context,
            started.cdp,
            context_id,
            *saved,
            scripted=scripted,
            given=options.get("permissions") or (),
        )
        await asyncio.gather(
            set_cookies(started.cdp, context_id, saved[0].whole, warnings), collector.begin()
        )
    except PlaywrightError as error:
        why = start_failed if await takes(started.browser, spec.context) else unfit
        raise why(error) from error
    return LiveBrowser(started, context, collector, on_lost)


async def _unpack(parts: Mapping[str, bytes]) -> tuple[Mirror, Sown]:
    """Return a state as a browser takes it up: all of it, and what goes in by script."""
    mirror = Mirror(parts)
    return mirror, Sown.from_mirror(mirror)


async def _context_id(cdp: CDPSession) -> str:
    """Return the CDP id of the only context that was made in this browser."""
    contexts = await cdp.send("Target.getBrowserContexts")
    return str(contexts["browserContextIds"][0])


def _nobody(_: str) -> None:
    """Who is told of the end of a browser that was given up before."""


def _swallow(task: "asyncio.Future[None]") -> None:
    if not task.cancelled() and (error := task.exception()):
        log.debug("browser closed with an error", error=str(error))


class Launcher:
    """Starts browsers on this node.

    Args:
        executable: ``RAYPOOL_CHROMIUM``; None to search.
    """

    def __init__(self, executable: Path | None = None) -> None:
        self._executable = executable

    def home(self, business_id: str, token: int, holder_id: str = "") -> InstanceDirectory:
        """Make the directory of an incarnation, after killing what dead owners left on this node."""
        sweep()
        return InstanceDirectory(business_id, token, holder_id)

    async def launch(
        self,
        spec: SessionSpec,
        home: InstanceDirectory,
        parts: Mapping[str, bytes],
        on_lost: OnLost,
    ) -> tuple[LiveBrowser, list[str]]:
        """Start a browser that holds *parts*; see :func:`launch`."""
        return await launch(spec, home, parts, on_lost, self._executable)

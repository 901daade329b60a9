"""One incarnation of a business's instance: lease, browser, commands, checkpoints, end. No Ray here.

The order is the promise. The lease comes before the browser and goes after it; a checkpoint is
acknowledged before a command's result is given out; nothing is written without the fencing token.
All of it runs on one event loop. Commands take turns; ``describe`` and ``stop`` do not wait for them.
"""

import asyncio
import contextlib
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from actors.keeper import LeaseKeeper, OpenLeases
from actors.ports import Browser, Home, Launcher, Stores
from raypool.config import Settings
from raypool.errors import ErrorCodes, RaypoolError, create_error
from raypool.logs import get_logger
from raypool.model import (
    CheckpointInfo,
    CheckpointMeta,
    Condition,
    Holder,
    Lease,
    Observed,
    Session,
    SignIn,
)
from raypool.phase import Phase, transition
from raypool.retry import with_retry
from raypool.signin.probe import look

log = get_logger(__name__)
T = TypeVar("T")
Work = Callable[[Any], Awaitable[T]]

ALIVE_TIMEOUT_S = 1.0
GONE_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Incarnation:
    """What the supervisor decides about a life before it begins."""

    business_id: str
    session_id: str
    holder: Holder
    number: int = 1
    supersedes: str | None = None
    """Holder whose death is certain: its lease may be taken over before it expires."""


@dataclass(frozen=True)
class StopResult:
    """How a graceful stop went."""

    business_id: str
    saved: bool
    checkpoint_version: int = 0
    why: str = ""
    """Why the last changes could not be saved."""


class InstanceSession:
    """The life of one incarnation.

    Args:
        incarnation: Who this is.
        settings: Lease TTL and the like.
        stores: The durable side.
        launcher: Starts browsers on this node.
        open_leases: Opens the lease store for the keeper's own thread.
        on_end: Called once when this incarnation is over for good, with the reason.
    """

    def __init__(
        self,
        incarnation: Incarnation,
        settings: Settings,
        stores: Stores,
        launcher: Launcher,
        open_leases: OpenLeases,
        on_end: Callable[[str], None],
    ) -> None:
        self.incarnation = incarnation
        self.phase = Phase.ABSENT
        self._settings, self._stores, self._launcher = settings, stores, launcher
        self._open_leases, self._on_end = open_leases, on_end
        self._turn = asyncio.Lock()
        self._loop = asyncio.get_running_loop()
        self._lost: asyncio.Future[str] = self._loop.create_future()
        self._session: Session | None = None
        self._lease: Lease | None = None
        self._keeper: LeaseKeeper | None = None
        self._home: Home | None = None
        self._browser: Browser | None = None
        self._parts: Mapping[str, bytes] = {}
        self._sign_in = SignIn.UNKNOWN
        self._conditions: dict[str, Condition] = {}
        self._checkpoint: CheckpointInfo | None = None
        self._stopping: asyncio.Task[StopResult] | None = None
        self._rebuilding: asyncio.Task[None] | None = None
        self._ended = False

    # -- start -------------------------------------------------------------------------------

    async def start(self) -> None:
        """Acquire the lease, restore the newest usable checkpoint, look whether it is signed in.

        Raises:
            SessionLocked: Somebody else holds the business.
            RaypoolError: Anything else that stood in the way. Nothing of this incarnation is left.
        """
        self.phase = transition(self.phase, Phase.STARTING)
        try:
            await self._acquire()
            await self._report()
            await self._open_browser()
            self.phase = transition(self.phase, Phase.READY)
            await self._report()
        except BaseException:
            await self._vanish()
            self.phase = Phase.ABSENT
            raise
        log.info("instance ready", incarnation=self.incarnation.number, sign_in=self._sign_in)

    async def _acquire(self) -> None:
        who = self.incarnation
        self._session = await self._stores.sessions.get_session(who.session_id)
        if self._session is None:
            raise create_error(
                ErrorCodes.SESSION_NOT_FOUND, f"session {who.session_id} is gone or expired"
            )
        asked_at = time.monotonic()
        ttl = self._settings.lease_ttl
        self._lease = await self._stores.leases.acquire(
            who.business_id, who.holder, ttl, supersedes=who.supersedes
        )
        self._keeper = LeaseKeeper(
            self._lease,
            asked_at,
            self._open_leases,
            on_lost=self._lease_lost,
            on_stuck=self._stuck,
        )
        self._keeper.start()
        self._home = await asyncio.to_thread(
            self._launcher.home, who.business_id, self._lease.token
        )

    async def _open_browser(self) -> None:
        """Launch a browser and bring back the last state: at start, and after one was lost."""
        checkpoint, notes = await self._stores.checkpoints.load_usable(self._record.id)
        self._parts = checkpoint.parts if checkpoint else {}
        self._checkpoint = checkpoint.info if checkpoint else None
        self._lost = self._loop.create_future()
        self._browser, warnings = await self._launcher.launch(
            self._record.spec, self._home, self._parts, self._browser_lost
        )
        await self._browser.open_tabs(self._parts, warnings)
        _, context = self._browser.components
        self._sign_in = await look(self._record.spec.probe, context, await self._browser.page())
        self._note("Restored", (*notes, *warnings))

    # -- commands ----------------------------------------------------------------------------

    async def run(self, work: Work[T], timeout: float) -> T:
        """Run *work* on the active page; when it returns, what it changed is acknowledged by Redis.

        Args:
            work: ``async def work(page)``. Its own error is raised unchanged, after the state that it
                left behind was saved.
            timeout: Seconds; past them the browser is rebuilt from the last checkpoint.

        Raises:
            InstanceLost: The browser died meanwhile; whether *work* had an effect is not known.
            CommandTimeout: It ran past *timeout*.
            StoreUnavailable: It ran, but its changes could not be saved yet.
        """
        async with self._turn:
            browser = await self._ready_browser()
            self._keep_until(time.monotonic() + timeout)
            try:
                task = await self._attempt(work, browser, timeout)
            finally:
                self._keep_until(None)
            await self._save_or_lose("run")
            return task.result()

    async def checkpoint(self, reason: str = "asked") -> CheckpointInfo:
        """Save the state now, in turn with the commands, and return the acknowledged version."""
        async with self._turn:
            await self._ready_browser()
            return await self._save_or_lose(reason)

    async def components(self) -> tuple[Any, Any, Any]:
        """Return the live browser, context and page, for code that runs inside this actor."""
        browser = await self._ready_browser()
        return (*browser.components, await browser.page())

    async def _attempt(self, work: Work[T], browser: Browser, timeout: float) -> "asyncio.Task[T]":
        """Run *work* to its end or to the browser's; the task that is returned has ended."""
        page = await browser.page()
        task: asyncio.Task[T] = asyncio.ensure_future(work(page))  # type: ignore[arg-type]
        lost = self._lost
        await asyncio.wait({task, lost}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        if not task.done() and not lost.done():
            raise await self._past_deadline(task, timeout)
        if task.done() and not lost.done() and _is_playwrights(task.exception()):
            # The error of a dying browser may arrive before the news of its death.
            await asyncio.wait({lost}, timeout=0 if await _alive(browser) else ALIVE_TIMEOUT_S)
        if lost.done() and not (task.done() and task.exception() is None):
            task.add_done_callback(_swallow)
            raise self._instance_lost(lost.result())
        return task

    async def _past_deadline(self, task: "asyncio.Task[Any]", timeout: float) -> RaypoolError:
        # Cancelling a Playwright call is undefined behaviour while its driver lives: the browser
        # goes first, the task after it.
        await self._drop_browser()
        task.add_done_callback(_swallow)
        task.cancel()
        self._rebuild_soon("a command ran past its deadline")
        return create_error(
            ErrorCodes.BROWSER_COMMAND_TIMEOUT, f"the function ran longer than {timeout:g} s"
        )

    async def _save_or_lose(self, reason: str) -> CheckpointInfo:
        """Save; an error that comes from the browser's death is told as such."""
        try:
            return await self._save(reason)
        except RaypoolError as error:
            if error.code is ErrorCodes.SESSION_LEASE_LOST:
                self._lease_lost(str(error))
            raise
        except Exception as error:
            await asyncio.wait({self._lost}, timeout=ALIVE_TIMEOUT_S)
            if self._lost.done():
                raise self._instance_lost(self._lost.result()) from error
            raise create_error(
                ErrorCodes.BROWSER_CHECKPOINT_FAILED, f"the state could not be read: {error}"
            ) from error

    async def _save(self, reason: str) -> CheckpointInfo:
        browser = self._live_browser
        _, context = browser.components
        probe = self._record.spec.probe
        if probe is not None and probe.url is None:  # one that needs no page of its own is cheap
            self._sign_in = await look(probe, context, await browser.page())
        collected = await browser.collect(self._parts)
        meta = CheckpointMeta(
            reasons=(reason,),
            node_id=self.incarnation.holder.node_id,
            sign_in=self._sign_in,
            warnings=tuple(collected.warnings),
        )
        operation = uuid.uuid4().hex  # the same for each attempt: a lost reply must not save twice
        info = await with_retry(
            lambda: self._stores.checkpoints.save(
                self._record.id, self._token, collected.parts, meta, op_id=operation
            ),
            base_delay=0.2,
            max_attempts=5,
        )
        self._parts, self._checkpoint = collected.parts, info
        self._note("Saved", meta.warnings)
        return info

    # -- a browser dies ----------------------------------------------------------------------

    def _browser_lost(self, reason: str) -> None:
        log.warning("browser lost", reason=reason)
        self._browser_gone(reason)
        self._rebuild_soon(reason)

    def _browser_gone(self, reason: str) -> None:
        if not self._lost.done():
            self._lost.set_result(reason)
        self._browser = None

    def _rebuild_soon(self, reason: str) -> None:
        if self._ended or self._stopping or self.phase is not Phase.READY:
            return
        self.phase = transition(self.phase, Phase.RECOVERING)
        self._rebuilding = self._loop.create_task(self._rebuild(reason))

    async def _rebuild(self, reason: str) -> None:
        try:
            await self._drop_browser()
            await self._open_browser()
        except Exception as error:  # noqa: BLE001 -- whatever it was, this life is over
            log.error("browser not rebuilt", reason=reason, error=str(error))  # noqa: TRY400
            await self._end(f"its browser died ({reason}) and could not be rebuilt: {error}")
            return
        self.phase = transition(self.phase, Phase.READY)
        log.info("browser rebuilt", reason=reason)
        await self._report()

    async def _drop_browser(self) -> None:
        """Get rid of the browser whatever state it is in; return when its processes are gone."""
        browser, self._browser = self._browser, None
        self._browser_gone("it was replaced")
        if browser:
            browser.abandon()
        if self._home:
            self._home.kill_browser()
            await asyncio.to_thread(self._home.wait_gone, GONE_TIMEOUT_S)

    async def _ready_browser(self) -> Browser:
        """Return the live browser, waiting for one that is being rebuilt."""
        if self._stopping or self._ended:
            raise self._not_ready("is stopping")
        if self._rebuilding:
            await asyncio.wait({self._rebuilding}, timeout=self._settings.start_timeout)
        if self._browser is None:
            raise self._not_ready("has no browser")
        return self._browser

    # -- the right to act is over ------------------------------------------------------------

    def _lease_lost(self, reason: str) -> None:
        """Kill the browser at once. Called from any thread."""
        if self._home:
            self._home.kill_browser()
        log.error("lease lost", business_id=self.incarnation.business_id, reason=reason)
        asyncio.run_coroutine_threadsafe(self._end(f"lease lost: {reason}"), self._loop)

    def _stuck(self) -> None:
        """End a life whose event loop does not turn any more. Called from the keeper's thread."""
        if self._home:
            self._home.kill_browser()
        self._on_end("a function blocked the event loop past its deadline")

    async def _end(self, reason: str) -> None:
        if self._ended:
            return
        self._ended = True
        if self._browser:
            self._browser.abandon()
        self._browser_gone(reason)
        await self._vanish()
        self._on_end(reason)

    # -- stop --------------------------------------------------------------------------------

    async def stop(self, timeout: float) -> StopResult:
        """Save, close the browser, release the lease. Idempotent; a second call awaits the first.

        Args:
            timeout: Seconds that a running command gets to end; past them it is cut off and what it
                changed since the last checkpoint is reported as not saved.
        """
        if self._stopping is None:
            self._stopping = self._loop.create_task(self._stop(timeout))
        return await asyncio.shield(self._stopping)

    async def _stop(self, timeout: float) -> StopResult:
        business, why = self.incarnation.business_id, ""
        try:
            async with asyncio.timeout(timeout), self._turn:
                pass
            if self._browser:
                await self._save("stop")
                self._browser.abandon()
                await self._browser.close()
        except TimeoutError:
            why = f"a function was still running after {timeout:g} s"
        except Exception as error:  # noqa: BLE001 -- a stop ends, and says what it could not do
            why = str(error)
        self.phase = Phase.STOPPING
        await self._vanish()
        self.phase = transition(self.phase, Phase.ABSENT)
        self._ended = True
        version = self._checkpoint.version if self._checkpoint else 0
        log.info("instance stopped", saved=not why, why=why)
        return StopResult(business, saved=not why, checkpoint_version=version, why=why)

    async def _vanish(self) -> None:
        """Leave nothing behind: browser tree, directory, lease, in this order. Idempotent."""
        await self._drop_browser()
        if self._home:
            self._home.remove()
        if self._keeper:
            self._keeper.stop()
        if self._lease:
            self.phase, phase = Phase.ABSENT, self.phase
            await self._report()
            self.phase = phase
            with contextlib.suppress(RaypoolError):  # it expires by itself then
                await self._stores.leases.release(self._lease)

    # -- what others see ---------------------------------------------------------------------

    def describe(self) -> dict[str, Any]:
        """Return what is known right now, from plain fields: safe from any thread."""
        browser = self._browser
        return {
            "business_id": self.incarnation.business_id,
            "session_id": self.incarnation.session_id,
            "holder_id": self.incarnation.holder.id,
            "incarnation": self.incarnation.number,
            "phase": self.phase,
            "token": self._lease.token if self._lease else 0,
            "sign_in": self._sign_in,
            "browser_pid": browser.browser_pid if browser else None,
            "driver_pid": browser.driver_pid if browser else None,
            "memory_bytes": browser.memory() if browser else None,
            "conditions": tuple(self._conditions.values()),
        }

    async def _report(self) -> None:
        """Write the owner's report into the record; Redis being away must not stop the instance."""
        holder, browser = self.incarnation.holder, self._browser
        observed = Observed(
            phase=self.phase,
            cluster=holder.cluster,
            node_id=holder.node_id,
            pid=holder.pid,
            browser_pid=browser.browser_pid if browser else None,
            incarnation=self.incarnation.number,
            sign_in=self._sign_in,
            conditions=tuple(self._conditions.values()),
        )
        try:
            await self._stores.sessions.report(self._record.id, self._token, observed)
        except RaypoolError as error:
            log.warning("report not written", error=str(error))

    def _note(self, kind: str, warnings: tuple[str, ...]) -> None:
        """Keep what people should know of the last restore or save; nothing when it went well."""
        self._conditions.pop(kind, None)
        if warnings:
            self._conditions[kind] = Condition(
                type=kind, reason="Warnings", message="; ".join(warnings), since=datetime.now(UTC)
            )

    def _keep_until(self, deadline: float | None) -> None:
        if self._keeper:
            self._keeper.expect_end(deadline)

    @property
    def _record(self) -> Session:
        assert self._session is not None  # noqa: S101 -- set before anything else in start()
        return self._session

    @property
    def _token(self) -> int:
        assert self._lease is not None  # noqa: S101 -- set before anything is written
        return self._lease.token

    @property
    def _live_browser(self) -> Browser:
        if self._browser is None:
            raise self._not_ready("has no browser")
        return self._browser

    def _not_ready(self, why: str) -> RaypoolError:
        business = self.incarnation.business_id
        return create_error(
            ErrorCodes.BROWSER_INSTANCE_NOT_READY,
            f"the instance of {business} {why}",
            {"business_id": business},
            retry_after=0.5,
        )

    def _instance_lost(self, reason: str) -> RaypoolError:
        business = self.incarnation.business_id
        return create_error(
            ErrorCodes.BROWSER_INSTANCE_LOST,
            f"the browser of {business} died while it was working: {reason}",
            {"business_id": business},
        )


def _is_playwrights(error: BaseException | None) -> bool:
    return error is not None and type(error).__module__.startswith("playwright")


async def _alive(browser: Browser) -> bool:
    """Tell whether the browser still answers, within :data:`ALIVE_TIMEOUT_S`."""
    answer = asyncio.ensure_future(browser.ping())
    done, _ = await asyncio.wait({answer}, timeout=ALIVE_TIMEOUT_S)
    answer.add_done_callback(_swallow)
    return bool(done) and answer.exception() is None


def _swallow(task: "asyncio.Future[Any]") -> None:
    if not task.cancelled():
        task.exception()

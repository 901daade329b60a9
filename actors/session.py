"""One incarnation of a business's instance: lease, browser, commands, checkpoints, end. No Ray.

The order is the promise. The lease comes before the browser and goes after it; a checkpoint is
acknowledged before a command's result is given out; nothing is written without the fencing token.
All of it runs on one event loop. Commands take turns; ``describe`` and ``stop`` do not wait for them.
"""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from actors.commands import Work, attempt
from actors.continuous import Continuous
from actors.farewell import say_farewell
from actors.keeper import OpenLeases, now
from actors.life import Incarnation, StopResult
from actors.ports import Launcher, Stores
from actors.rebuilding import Rebuilder
from actors.reports import Reports, vitals
from actors.rounds import Limits, Orders, Rounds
from actors.saving import save
from actors.signin_watch import SignInWatch
from actors.sites import SiteGate
from actors.tenure import Tenure, begin
from actors.turns import Turns, not_ready
from actors.visits import Admission, Visits
from actors.workplace import Workplace
from raypool.config import Settings
from raypool.errors import ErrorCodes, LeaseLost, RaypoolError, create_error
from raypool.logs import get_logger
from raypool.model import CheckpointInfo, Session
from raypool.phase import Phase, transition

log = get_logger(__name__)
T = TypeVar("T")


class InstanceSession:
    """The life of one incarnation.

    Args:
        incarnation: Who this is.
        settings: Lease TTL and the like.
        stores: The durable side.
        launcher: Starts browsers on this node.
        open_leases: Opens the lease store for the keeper's own thread.
        on_end: Called once when this incarnation is over by itself, with the reason.
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
        self._loop = asyncio.get_running_loop()
        self._turns = Turns(incarnation.business_id, settings.max_queued, settings.command_timeout)
        self._reports = Reports(incarnation, stores.sessions)
        self._visits = Visits()
        self._gate = SiteGate(stores.breakers)
        self._tenure: Tenure | None = None
        self._place: Workplace | None = None
        self._rounds: Rounds | None = None
        self._upkeep: list[asyncio.Task[None]] = []
        self._rebuilder = Rebuilder(self._mended, self._beyond_repair)
        self._stopping: asyncio.Task[StopResult] | None = None
        self._commands = 0
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
            await self._start()
        except BaseException:
            await self._vanish()
            raise
        self.phase = transition(self.phase, Phase.READY)
        await self._report()
        log.info("instance ready", incarnation=self.incarnation.number)

    async def _start(self) -> None:
        who = self.incarnation
        session = await self._record()
        self._tenure = tenure = await begin(
            who,
            self._settings.lease_ttl,
            self._stores.leases,
            self._launcher,
            self._open_leases,
            self,
        )
        self._place = place = Workplace(
            session, self._stores, self._launcher, tenure, who.holder.node_id, self._browser_lost
        )
        await self._report()
        await place.open()
        orders = Orders(self._rebuild_soon, self._recycle, self._report_sign_in, self._end)
        limits, watch = Limits.of(self._settings), SignInWatch(self._settings.probe_every)
        self._rounds = Rounds(place, self._turns, self._visits, limits, watch, orders)
        continuous = Continuous(place, self._save_changes)
        self._upkeep = [self._loop.create_task(w.run()) for w in (self._rounds, continuous)]

    async def _record(self) -> Session:
        session = await self._stores.sessions.get_session(self.incarnation.session_id)
        if session is None:
            raise create_error(
                ErrorCodes.SESSION_NOT_FOUND,
                f"session {self.incarnation.session_id} is gone or expired",
            )
        return session

    # -- commands ----------------------------------------------------------------------------

    async def run(self, work: Work[T], timeout: float) -> T:
        """Run *work* on the active page; when it returns, what it changed is acknowledged by Redis.

        Args:
            work: ``async def work(page)``. Its own error is raised unchanged, after the state that
                it left behind was saved.
            timeout: Seconds on line; past them the browser is rebuilt from the last checkpoint.

        Raises:
            InstanceLost: The browser died meanwhile; whether *work* had an effect is not known.
            InstanceNotReady: It cannot take commands now; *work* has not begun.
            CommandTimeout: It ran past *timeout*.
            StorageError: It ran, but its changes could not be saved yet (``STORAGE_NOT_SAVED``).
        """
        async with self._turns.take():
            place, tenure = await self._ready()
            await self._gate.enter(place.present.url)
            tenure.expect_end(now() + timeout)
            try:
                task = await attempt(work, place, timeout)
            except RaypoolError as error:
                if error.code is ErrorCodes.BROWSER_COMMAND_TIMEOUT:
                    self._rebuild_soon(error.message)
                raise
            finally:
                tenure.expect_end(None)
            await self._gate.left(place.url, task.exception())
            await self._save(place, "run")
            await self._worked()
            return task.result()

    async def checkpoint(self, reason: str = "asked") -> CheckpointInfo:
        """Save the state now, in turn with the commands, and return the acknowledged version."""
        async with self._turns.take():
            place, _ = await self._ready()
            return await self._save(place, reason)

    async def _worked(self) -> None:
        """Count a command, and write down the first: should this life end now, it was no crash loop."""
        self._rebuilder.of_use()
        self._commands += 1
        if self._commands == 1:
            await self._report()
        await self._report_sign_in()

    async def _report_sign_in(self) -> None:
        """Write down whether it is signed in, if that changed: the next life goes by it."""
        if self._place and self._reports.is_outdated(self._place):
            await self._report()

    async def _report(self) -> None:
        await self._reports.write(self._place, self._tenure, self.phase, self._commands)

    async def _save(self, place: Workplace, reason: str) -> CheckpointInfo:
        try:
            return await save(place, reason, self._rebuild_soon)
        except RaypoolError as error:
            if error.code is ErrorCodes.SESSION_LEASE_LOST:
                self.lease_lost(error.message)
            raise

    async def _save_changes(self) -> None:
        if self._place and self.phase is Phase.READY:
            try:
                await self._place.save_changes()
            except LeaseLost as error:
                self.lease_lost(error.message)
                raise

    async def attach(self, ticket_id: str, host: str) -> Admission:
        """Let a driver use the browser over Playwright's own connection, on address *host*.

        It counts as use for as long as it renews its ticket; what it changes is saved as it goes.

        Raises:
            RateLimitError: Too many are attached.
        """
        place, _ = await self._ready()
        return await self._visits.admit(place, ticket_id, host)

    def stay(self, ticket_id: str) -> None:
        """Keep a driver attached.

        Raises:
            InstanceNotReady: It is not attached.
        """
        self._visits.stay(ticket_id)

    async def detach(self, ticket_id: str) -> None:
        """End a driver's visit; when this returns what it changed is acknowledged.

        Raises:
            InstanceLost: The browser is another one by now: its last changes may be lost.
        """
        visited = self._visits.leave(ticket_id)
        async with self._turns.take():
            place, _ = await self._ready()
            await self._visits.see_out(place)
            if place.browser is not visited:
                raise create_error(
                    ErrorCodes.BROWSER_INSTANCE_LOST,
                    f"the browser of {self.incarnation.business_id} went away while a driver was "
                    "attached: its last changes may be lost",
                )
            await self._worked()

    def touch(self) -> None:
        """Begin to count idle time anew: somebody is there, though he sends no command."""
        self._turns.touch()

    async def _ready(self) -> tuple[Workplace, Tenure]:
        """Return what a command needs, waiting for a browser that is being rebuilt."""
        business_id = self.incarnation.business_id
        await self._rebuilder.wait(self._settings.start_timeout)
        if self._stopping or self._ended or not (self._place and self._tenure):
            raise not_ready(business_id, "is stopping" if self._stopping else "is not up")
        if self._tenure.off_line:
            raise not_ready(business_id, "is off line: its lease could not be renewed in time")
        if self._place.browser is None:
            raise not_ready(business_id, "has no browser")
        return self._place, self._tenure

    # -- a browser dies or is replaced ---------------------------------------------------------

    def _browser_lost(self, reason: str) -> None:
        log.warning("browser lost", reason=reason)
        self._rebuild_soon(reason)

    def _rebuild_soon(self, reason: str) -> None:
        if not self._ended and not self._stopping and self.phase is Phase.READY and self._place:
            self.phase = transition(self.phase, Phase.RECOVERING)
            self._rebuilder.begin(self._place, reason, self._settings.start_timeout)

    async def _recycle(self) -> None:
        """Save, then replace the browser. The turn is held: no command notices."""
        if self._place and self.phase is Phase.READY:
            await self._save(self._place, "recycle")
            self._rebuilder.of_use()  # it is well
            self._rebuild_soon("it was recycled")
            await self._rebuilder.wait(self._settings.start_timeout)

    async def _mended(self) -> None:
        self.phase = transition(self.phase, Phase.READY)
        await self._report()

    async def _beyond_repair(self, reason: str) -> None:
        await self._end(reason)

    # -- news from the keeper's thread ---------------------------------------------------------

    def on_line_again(self) -> None:
        """Look whether the store still has everything: it was away for longer than a lease."""
        if self._rounds:
            self._rounds.store_due = True

    def lease_lost(self, reason: str) -> None:
        """End this life. Called from any thread."""
        log.error("lease lost", business_id=self.incarnation.business_id, reason=reason)
        asyncio.run_coroutine_threadsafe(self._end(f"lease lost: {reason}"), self._loop)

    def stuck(self) -> None:
        """End the process: its event loop does not turn any more."""
        self._on_end("a function blocked the event loop past its deadline")

    # -- the end -----------------------------------------------------------------------------

    async def _end(self, reason: str) -> None:
        if not self._ended:
            self._ended = True
            await self._vanish()
            self._on_end(reason)

    async def hibernate(self, idle_for: float, timeout: float) -> StopResult | None:
        """Stop if nobody has used it for *idle_for* seconds; else do nothing and return None.

        A command is never cut off: between the last look and the stop none can begin.

        Raises:
            StorageError: Its state could not be saved (``STORAGE_NOT_SAVED``); it goes on.
        """
        if not self._place or self._place.off_line or self._turns.idle_for() < idle_for:
            return None
        async with self._turns.take_if_free() as free:
            if not free or not self._unused():
                return None
            await self._save(self._place, "hibernate")
        return await self.stop(timeout) if self._unused() and not self._turns.busy else None

    def _unused(self) -> bool:
        return self.phase is Phase.READY and not self._visits.present and not self._stopping

    async def stop(self, timeout: float) -> StopResult:
        """Save, close the browser, release the lease. Idempotent; a second call awaits the first.

        Args:
            timeout: Seconds that a running command gets to end; past them it is cut off and what it
                changed since the last checkpoint is reported as not saved. Waiting ones are sent
                away at once: they have not begun.
        """
        if self._stopping is None:
            self._stopping = self._loop.create_task(self._stop(timeout))
        return await asyncio.shield(self._stopping)

    async def _stop(self, timeout: float) -> StopResult:
        why = await say_farewell(self._place, self._turns, self._rebuilder, timeout)
        self._ended = True
        self.phase = transition(self.phase, Phase.STOPPING)
        place = self._place
        await self._vanish()
        version = place.checkpoint.version if place and place.checkpoint else 0
        log.info("instance stopped", saved=not why, why=why)
        return StopResult(self.incarnation.business_id, not why, version, why)

    async def _vanish(self) -> None:
        """Leave nothing behind: browser, directory, lease. Idempotent."""
        self.phase = Phase.ABSENT
        self._turns.close()
        self._rebuilder.end()
        place, self._place = self._place, None
        tenure, self._tenure = self._tenure, None
        for task in self._upkeep:
            if task is not asyncio.current_task():
                task.cancel()
        if place and tenure:
            await place.drop()
            await self._reports.write(place, tenure, self.phase, self._commands)
        if tenure:
            await tenure.end()

    # -- what others see ---------------------------------------------------------------------

    def describe(self) -> dict[str, Any]:
        """Return what is known right now, from plain fields: safe from any thread."""
        return {
            **vitals(self.incarnation, self._place, self._tenure),
            "phase": self.phase,
            "busy": self._turns.busy,
            "idle_for": self._turns.idle_for(),
            "commands": self._commands,
            "attached": self._visits.present,
            "memory_bytes": self._memory(),
        }

    def _memory(self) -> int | None:
        """Return what the last round weighed: to weigh takes longer than all else here together."""
        if self._rounds and self._rounds.memory:
            return self._rounds.memory
        return self._place.browser.memory() if self._place and self._place.browser else None

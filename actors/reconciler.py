"""Observe, plan, apply: bring the instances that live to what the records want. No Ray here.

Each pass looks at the whole picture again, so a lost event, a killed supervisor or a reply that
never came costs a pass, not a business. Applying is concurrent and remembered in the phase of each
instance: what was ordered stays visible until its outcome is known.
"""

import asyncio
import random
import time
import uuid
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from actors.life import Death, Incarnation, StopResult
from raypool.errors import ErrorCodes, RaypoolError, create_error
from raypool.logs import get_logger
from raypool.model import Desired, Holder
from raypool.phase import Phase, transition
from raypool.planner import Forget, Seen, Start, Stop, Want, backoff, plan
from raypool.store.base import SessionStore

log = get_logger(__name__)

STOP_TIMEOUT_S = 20.0
ANSWER_TIMEOUT_S = 2.0
STEADY_S = 1.0
"""An instance that was ready this long before it died is started again at once."""


class Actors(Protocol):
    """Lives and deaths of business actors; :class:`actors.runtime.RayRuntime` is the real one."""

    async def start(self, incarnation: Incarnation) -> Any:
        """Create the actor and bring it up; returns its handle when ready."""

    async def adopt(self, business_id: str) -> tuple[Any, dict[str, Any]] | None:
        """Return handle and description of an actor that is there already."""

    async def businesses(self) -> list[str]:
        """Businesses that have an actor."""
        ...

    async def stop(self, handle: Any, timeout: float) -> StopResult:
        """Stop gracefully."""
        ...

    async def kill(self, handle: Any) -> None:
        """Kill at once."""

    async def death(self, handle: Any) -> Death:
        """Wait for the end."""
        ...


@dataclass
class Instance:
    """What is remembered of one business's instance between two passes."""

    business_id: str
    session_id: str = ""
    phase: Phase = Phase.ABSENT
    handle: Any = None
    holder_id: str = ""
    number: int = 0
    restarts: int = 0
    failures: int = 0
    retry_at: float = 0.0
    ready_at: float = 0.0
    attempted_at: float = 0.0
    supersedes: str | None = None
    error: RaypoolError | None = None
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def go(self, phase: Phase) -> None:
        """Change the phase, by the table."""
        self.phase = transition(self.phase, phase)


class Reconciler:
    """The loop's body.

    Args:
        sessions: The records.
        actors: The live side.
        cluster: Name of this cluster, written into leases.
        wake: Called when something changed that is worth another pass.
        clock: Monotonic seconds.
        dice: Numbers in [0, 1).
    """

    def __init__(
        self,
        sessions: SessionStore,
        actors: Actors,
        cluster: str,
        wake: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
        dice: Callable[[], float] = random.random,
    ) -> None:
        self._sessions, self._actors, self._cluster = sessions, actors, cluster
        self._wake, self._clock, self._dice = wake, clock, dice
        self._instances: dict[str, Instance] = {}
        self._changed = asyncio.Condition()
        self._closing = False

    async def adopt(self) -> None:
        """Take over the actors that are there already: a new supervisor disturbs nobody."""
        for business_id in await self._actors.businesses():
            instance = self._instances.setdefault(business_id, Instance(business_id))
            if instance.phase is not Phase.ABSENT:
                continue
            found = await self._actors.adopt(business_id)
            if found is None:
                continue
            instance.handle, seen = found
            instance.session_id = seen.get("session_id", "")
            instance.holder_id = seen.get("holder_id", "")
            instance.number = seen.get("incarnation", 0)
            instance.ready_at = self._clock()
            instance.go(Phase.READY if seen.get("phase") is Phase.READY else Phase.UNKNOWN)
            self._spawn(instance, self._watch(instance))
            log.info("instance adopted", business_id=business_id, phase=instance.phase)

    async def reconcile(self) -> float | None:
        """Do one pass; return the seconds until the next is due even if nothing happens."""
        wanted = [] if self._closing else await self._wanted()
        seen = [Seen(i.business_id, i.phase, i.retry_at) for i in self._instances.values()]
        decided = plan(wanted, seen, now=self._clock())
        for action in decided.actions:
            match action:
                case Start(business_id, session_id):
                    self._begin_start(business_id, session_id)
                case Stop(business_id):
                    self._begin_stop(self._instances[business_id], STOP_TIMEOUT_S)
                case Forget(business_id):
                    del self._instances[business_id]
        await self._tell()
        return decided.requeue_after

    async def _wanted(self) -> list[Want]:
        sessions = await self._sessions.list_sessions(desired=Desired.RUNNING)
        return [Want(s.business_id, s.id, s.last_activity.timestamp()) for s in sessions]

    # -- start and watch ---------------------------------------------------------------------

    def _begin_start(self, business_id: str, session_id: str) -> None:
        instance = self._instances.setdefault(business_id, Instance(business_id))
        instance.session_id = session_id
        instance.attempted_at = self._clock()
        instance.number += 1
        instance.go(Phase.STARTING)
        self._spawn(instance, self._start(instance))

    async def _start(self, instance: Instance) -> None:
        incarnation = Incarnation(
            business_id=instance.business_id,
            session_id=instance.session_id,
            holder=Holder(id=uuid.uuid4().hex, cluster=self._cluster),
            number=instance.number,
            supersedes=instance.supersedes,
        )
        try:
            instance.handle = await self._actors.start(incarnation)
        except Exception as error:  # noqa: BLE001 -- the outcome of a start is data
            self._failed(instance, _as_ours(error), incarnation.holder.id)
            return
        instance.holder_id = incarnation.holder.id
        instance.supersedes, instance.error, instance.failures = None, None, 0
        instance.ready_at = self._clock()
        instance.go(Phase.READY)
        self._spawn(instance, self._watch(instance))

    def _failed(self, instance: Instance, error: RaypoolError, holder_id: str) -> None:
        instance.failures += 1
        instance.error = error
        if error.code is ErrorCodes.BROWSER_INSTANCE_LOST:  # it died in its start, lease in hand
            instance.supersedes = holder_id
        delay = max(backoff(instance.failures, self._dice()), error.retry_after or 0.0)
        instance.retry_at = self._clock() + delay
        instance.go(Phase.BACKOFF)
        log.warning(
            "start failed", business_id=instance.business_id, error=str(error), retry_in=delay
        )

    async def _watch(self, instance: Instance) -> None:
        handle = instance.handle
        death = await self._actors.death(handle)
        if instance.handle is not handle or instance.phase is Phase.STOPPING:
            return
        log.warning("instance died", business_id=instance.business_id, reason=death.reason)
        instance.restarts += 1
        instance.handle = None
        instance.supersedes = instance.holder_id if death.certain else None
        if self._clock() - instance.ready_at >= STEADY_S:
            instance.go(Phase.ABSENT)
            return
        error = create_error(ErrorCodes.BROWSER_INSTANCE_LOST, f"it died: {death.reason}")
        self._failed(instance, error, instance.holder_id)

    # -- stop --------------------------------------------------------------------------------

    def _begin_stop(self, instance: Instance, timeout: float) -> "asyncio.Task[None]":
        instance.go(Phase.STOPPING)
        return self._spawn(instance, self._stop(instance, timeout))

    async def _stop(self, instance: Instance, timeout: float) -> None:
        instance.stopped = await self._stopped(instance, timeout)  # type: ignore[attr-defined]
        instance.handle = None
        instance.go(Phase.ABSENT)

    async def _stopped(self, instance: Instance, timeout: float) -> StopResult:
        if instance.handle is None:
            return StopResult(instance.business_id, saved=False, why="it had not come up")
        try:
            return await self._actors.stop(instance.handle, timeout)
        except Exception as error:  # noqa: BLE001 -- the outcome of a stop is data
            return StopResult(instance.business_id, saved=False, why=str(error))
        finally:
            await self._actors.kill(instance.handle)

    async def stop(self, business_id: str, timeout: float = STOP_TIMEOUT_S) -> StopResult | None:
        """Stop one instance and return how it went; None when there is none."""
        instance = self._instances.get(business_id)
        if instance is None or instance.phase in {Phase.ABSENT, Phase.BACKOFF}:
            return None
        if instance.phase is not Phase.STOPPING:
            self._begin_stop(instance, timeout)
        async with self._changed:
            await self._changed.wait_for(lambda: instance.phase is not Phase.STOPPING)
        return getattr(instance, "stopped", None)

    async def close(self, timeout: float) -> list[StopResult]:
        """Stop everything, start nothing any more; the records keep what is desired."""
        self._closing = True
        living = [b for b, i in self._instances.items() if i.handle is not None]
        results = await asyncio.gather(*(self.stop(b, timeout) for b in living))
        return [result for result in results if result]

    # -- what others ask ---------------------------------------------------------------------

    async def await_ready(self, business_id: str, timeout: float) -> Instance:
        """Return the instance once it is ready.

        Raises:
            RaypoolError: A start after this call failed in a way that trying again cannot mend.
            InstanceNotReady: It was not ready in *timeout* seconds; says why.
        """
        asked_at = self._clock()
        self._hurry(business_id)
        self._wake()

        def settled() -> bool:
            instance = self._instances.get(business_id)
            return instance is not None and (
                instance.phase is Phase.READY or self._fatal(instance, asked_at) is not None
            )

        try:
            async with asyncio.timeout(timeout), self._changed:
                await self._changed.wait_for(settled)
        except TimeoutError:
            raise self._late(business_id, timeout) from None
        instance = self._instances[business_id]
        if fatal := self._fatal(instance, asked_at):
            raise fatal
        return instance

    def _hurry(self, business_id: str) -> None:
        """A caller waits: the next try need not wait for the whole backoff, only for a second."""
        instance = self._instances.get(business_id)
        if instance is not None and instance.phase is Phase.BACKOFF:
            instance.retry_at = min(instance.retry_at, instance.attempted_at + 1.0)

    def _fatal(self, instance: Instance, asked_at: float) -> RaypoolError | None:
        error = instance.error
        tried = instance.phase is Phase.BACKOFF and instance.attempted_at >= asked_at
        return error if tried and error is not None and not error.retryable else None

    def _late(self, business_id: str, timeout: float) -> RaypoolError:
        instance = self._instances.get(business_id)
        error = instance.error if instance else None
        if error is not None and error.code is ErrorCodes.SESSION_LOCKED:
            return error
        phase = instance.phase if instance else Phase.ABSENT
        why = f" (last error: {error.message})" if error else ""
        return create_error(
            ErrorCodes.BROWSER_INSTANCE_NOT_READY,
            f"the instance of {business_id} was not ready within {timeout:g} s: it is {phase}{why}",
            {"business_id": business_id},
        )

    def overview(self) -> list[dict[str, Any]]:
        """Return what is remembered of every instance, for people."""
        now = self._clock()
        return [
            {
                "business_id": i.business_id,
                "session_id": i.session_id,
                "phase": i.phase,
                "incarnation": i.number,
                "restarts": i.restarts,
                "error": i.error.message if i.error else None,
                "next_retry_at": datetime.now(UTC) + timedelta(seconds=i.retry_at - now)
                if i.phase is Phase.BACKOFF
                else None,
            }
            for i in sorted(self._instances.values(), key=lambda i: i.business_id)
        ]

    # -- plumbing ----------------------------------------------------------------------------

    def _spawn(self, instance: Instance, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        async def noticed() -> None:
            try:
                await work
            finally:
                await self._tell()
                self._wake()

        task = asyncio.get_running_loop().create_task(noticed())
        instance.tasks.add(task)  # the loop itself keeps only weak references
        task.add_done_callback(instance.tasks.discard)
        return task

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()


def _as_ours(error: Exception) -> RaypoolError:
    if isinstance(error, RaypoolError):
        return error
    if isinstance(error, TimeoutError):
        return create_error(
            ErrorCodes.BROWSER_INSTANCE_NOT_READY, "it did not come up in time", retry_after=0.0
        )
    return create_error(ErrorCodes.INTERNAL_ERROR, f"{type(error).__name__}: {error}")

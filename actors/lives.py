"""Begin, watch and end the lives of instances: what applying a plan comes down to. No Ray here.

Each order runs as a task of its own. Its outcome is data, written into the instance; whoever waits
is told, and the reconciler looks again.
"""

import asyncio
import random
import time
import uuid
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from actors.instance import Instance
from actors.life import Death, Incarnation, StopResult
from raypool.errors import ErrorCodes, RaypoolError, create_error
from raypool.logs import get_logger
from raypool.model import Holder
from raypool.phase import Phase
from raypool.planner import backoff

log = get_logger(__name__)

STEADY_S = 1.0
"""An instance that was ready this long before it died is started again at once."""


class Actors(Protocol):
    """Lives and deaths of business actors (``BusinessActors`` of the supervisor is the real one)."""

    async def start(self, incarnation: Incarnation) -> Any:
        """Create the actor and bring it up; returns its handle when ready."""

    async def find(self, business_id: str) -> tuple[Any, dict[str, Any] | None] | None:
        """Return handle and description of an actor that is there; None for one that is not.

        The description is None when it did not answer.
        """

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


class Lives:
    """Carries out orders about instances.

    Args:
        actors: The live side.
        cluster: Name of this cluster, written into leases.
        wake: Called when something changed that is worth another pass.
        clock: Monotonic seconds.
        dice: Numbers in [0, 1).
    """

    def __init__(
        self,
        actors: Actors,
        cluster: str,
        wake: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
        dice: Callable[[], float] = random.random,
    ) -> None:
        self.clock, self.wake = clock, wake
        self.changed = asyncio.Condition()
        self._actors, self._cluster, self._dice = actors, cluster, dice
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, instance: Instance) -> None:
        """Make the next incarnation of *instance*."""
        instance.attempted_at = self.clock()
        instance.number += 1
        instance.go(Phase.STARTING)
        instance.starting = self._spawn(self._start(instance))

    def stop(self, instance: Instance, timeout: float) -> None:
        """Stop *instance* gracefully."""
        instance.go(Phase.STOPPING)
        self._spawn(self._stop(instance, timeout))

    def look(self, instance: Instance) -> None:
        """Find out what became of an instance whose phase is not known."""
        self._spawn(self.adopt(instance))

    async def found(self) -> list[str]:
        """Businesses that have an actor, ours or one that we do not remember."""
        return await self._actors.businesses()

    async def adopt(self, instance: Instance) -> None:
        """Take over an actor that is there already, without disturbing it."""
        found = await self._actors.find(instance.business_id)
        if instance.phase not in {Phase.ABSENT, Phase.UNKNOWN}:
            return
        if found is None:
            instance.go(Phase.ABSENT)
            return
        handle, seen = found
        if seen is None:
            instance.go(Phase.UNKNOWN)  # it did not answer: that is not absent
            return
        instance.holder_id = seen.get("holder_id", "")
        if seen.get("phase") not in {Phase.READY, Phase.RECOVERING}:
            # Whoever was bringing it up is gone, and with it the order to start.
            await self._actors.kill(handle)
            instance.supersedes = instance.holder_id or None
            instance.go(Phase.ABSENT)
            return
        instance.handle, instance.session_id = handle, seen["session_id"]
        instance.number, instance.ready_at = seen["incarnation"], self.clock()
        instance.go(Phase.READY)
        self._spawn(self._watch(instance))
        log.info("instance adopted", business_id=instance.business_id)

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
        instance.ready_at = self.clock()
        self._spawn(self._watch(instance))
        if instance.phase is Phase.STARTING:  # it may have been told to stop meanwhile
            instance.go(Phase.READY)

    def _failed(self, instance: Instance, error: RaypoolError, holder_id: str) -> None:
        if instance.phase is Phase.STOPPING:
            return
        instance.failures += 1
        instance.error = error
        if error.context.get("death_certain"):  # it died in its start, lease in hand
            instance.supersedes = holder_id
        delay = max(backoff(instance.failures, self._dice()), error.retry_after or 0.0)
        instance.retry_at = self.clock() + delay
        instance.go(Phase.BACKOFF)
        log.warning(
            "start failed", business_id=instance.business_id, error=str(error), retry_in=delay
        )

    async def _watch(self, instance: Instance) -> None:
        handle = instance.handle
        try:
            death = await self._actors.death(handle)
        except Exception as error:  # noqa: BLE001 -- nobody can say how it ended
            death = Death(certain=False, reason=repr(error))
        if instance.handle is not handle or instance.phase is Phase.STOPPING:
            return
        log.warning("instance died", business_id=instance.business_id, reason=death.reason)
        instance.restarts += 1
        instance.handle = None
        instance.supersedes = instance.holder_id if death.certain else None
        if self.clock() - instance.ready_at >= STEADY_S:
            instance.go(Phase.ABSENT)
            return
        lost = create_error(
            ErrorCodes.BROWSER_INSTANCE_LOST,
            f"it died: {death.reason}",
            {"death_certain": death.certain},
        )
        self._failed(instance, lost, instance.holder_id)

    async def _stop(self, instance: Instance, timeout: float) -> None:
        if instance.starting:
            await asyncio.wait({instance.starting})
        try:
            instance.stopped = await self._stopped(instance, timeout)
        finally:
            instance.handle = None
            instance.go(Phase.ABSENT)

    async def _stopped(self, instance: Instance, timeout: float) -> StopResult:
        """Stop and kill; the outcome of a stop is data."""
        business_id, handle = instance.business_id, instance.handle
        try:
            if handle is None:  # one that did not answer when it was adopted may do so now
                found = await self._actors.find(business_id)
                handle = found[0] if found else None
            if handle is None:
                return StopResult(business_id, saved=False, why="it had not come up")
            result = await self._actors.stop(handle, timeout)
        except Exception as error:  # noqa: BLE001
            result = StopResult(business_id, saved=False, why=str(error) or "it did not answer")
        if handle is not None:
            await self._actors.kill(handle)
        return result

    def _spawn(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        async def noticed() -> None:
            try:
                await work
            except Exception as error:  # noqa: BLE001 -- an order that fails must be heard of
                log.error("order failed", error=repr(error))  # noqa: TRY400
            finally:
                await self.tell()
                self.wake()

        task = asyncio.get_running_loop().create_task(noticed())
        self._tasks.add(task)  # the loop itself keeps only weak references
        task.add_done_callback(self._tasks.discard)
        return task

    async def tell(self) -> None:
        """Tell whoever waits that something changed."""
        async with self.changed:
            self.changed.notify_all()


def _as_ours(error: Exception) -> RaypoolError:
    if isinstance(error, RaypoolError):
        return error
    if isinstance(error, TimeoutError):
        return create_error(ErrorCodes.BROWSER_INSTANCE_NOT_READY, "it did not come up in time")
    return create_error(ErrorCodes.INTERNAL_ERROR, f"{type(error).__name__}: {error}")

"""Begin, watch and end the lives of instances: what applying a plan comes down to. No Ray here.

Each order runs as a task of its own. Its outcome is data, written into the instance; whoever waits
is told, and the reconciler looks again.
"""

import asyncio
import random
import time
import uuid
from collections.abc import Callable

from actors.failures import Failures, as_ours, lost
from actors.instance import Instance
from actors.life import Death, Incarnation, StopResult
from actors.orders import Orders
from actors.ports import Actors, Handle
from actors.silence import PATIENCE_S, is_over
from raypool.errors import RaypoolError
from raypool.logs import get_logger
from raypool.model import Desired, Holder, Lease, Supervision
from raypool.phase import Phase
from raypool.store.base import LeaseStore, SessionStore
from raypool.store.leases import locked

log = get_logger(__name__)

STEADY_S = 1.0
"""An instance that was ready this long before it died is started again at once."""
_PRESENT = frozenset({Phase.READY, Phase.RECOVERING})


class Lives:
    """Carries out orders about instances.

    Args:
        actors: The live side.
        records: Where what must outlive this supervisor is written.
        leases: Looked at before an actor is made in vain.
        cluster: Name of this cluster, written into leases.
        lease_ttl: Seconds that an owner which cannot be reached keeps its business.
        wake: Called when something changed that is worth another pass.
        clock: Monotonic seconds.
        dice: Numbers in [0, 1).
    """

    def __init__(
        self,
        actors: Actors,
        records: SessionStore,
        leases: LeaseStore,
        cluster: str,
        lease_ttl: float,
        wake: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
        dice: Callable[[], float] = random.random,
    ) -> None:
        self.clock, self.wake = clock, wake
        self._actors, self._records, self._leases = actors, records, leases
        self._cluster, self._lease_ttl = cluster, lease_ttl
        self._failures = Failures(records, clock, dice)
        self._orders = Orders(wake)
        self.changed = self._orders.changed

    def start(self, instance: Instance) -> None:
        """Make the next incarnation of *instance*."""
        instance.attempted_at = self.clock()
        instance.number += 1
        instance.node_id = ""  # nobody knows yet where it comes up
        instance.go(Phase.STARTING)
        instance.starting = self._orders.give(self._start(instance))

    def stop(self, instance: Instance, timeout: float) -> None:
        """Stop *instance* gracefully."""
        instance.go(Phase.STOPPING)
        self._orders.give(self._stop(instance, timeout))

    def rest(self, instance: Instance, idle_for: float, timeout: float, reason: str) -> None:
        """Hibernate *instance* if nobody has used it for *idle_for* seconds when its turn comes."""
        instance.resting = True
        self._orders.give(self._rest(instance, idle_for, timeout, reason))

    def look(self, instance: Instance) -> None:
        """Find out what became of an instance whose phase is not known and that we do not watch."""
        self._orders.give(self.adopt(instance))

    async def found(self) -> list[str]:
        """Businesses that have an actor, ours or one that we do not remember."""
        return await self._actors.businesses()

    async def tell(self) -> None:
        """Tell whoever waits that something changed."""
        await self._orders.tell()

    # -- begin -------------------------------------------------------------------------------

    async def adopt(self, instance: Instance) -> None:
        """Take over an actor that is there already, without disturbing it."""
        found = await self._actors.find(instance.business_id)
        if instance.phase not in {Phase.ABSENT, Phase.UNKNOWN} or instance.handle is not None:
            return
        if found is None:
            instance.go(Phase.ABSENT)
            return
        handle, seen = found
        if seen is None:
            await self._unheard(instance, handle)
            return
        instance.holder_id = seen.get("holder_id", "")
        if seen.get("phase") not in _PRESENT:
            # Whoever was bringing it up is gone, and with it the order to start.
            await self._actors.kill(handle)
            instance.supersedes = instance.holder_id or None
            instance.go(Phase.ABSENT)
            return
        instance.handle, instance.session_id = handle, seen["session_id"]
        instance.number, instance.ready_at = seen["incarnation"], self.clock()
        instance.node_id = seen.get("node_id", "")
        instance.go(Phase.READY)
        instance.heard(seen)
        self._orders.give(self._watch(instance))
        log.info("instance adopted", business_id=instance.business_id)

    async def _unheard(self, instance: Instance, handle: Handle) -> None:
        """Ask the node that its lease names for an actor that we do not know and cannot hear."""
        instance.go(Phase.UNKNOWN)  # it did not answer: that is not absent
        instance.silent_since = instance.silent_since or self.clock()
        silent_for = self.clock() - instance.silent_since
        held = await self._leases.get(instance.business_id)
        if held is None and silent_for < PATIENCE_S:
            return
        if held is not None:
            node_id, holder_id = held.holder.node_id, held.holder.id
            state = await self._actors.owner_state(node_id, holder_id)
            if not is_over(state, silent_for):
                return
            if await self._actors.end(node_id, holder_id):
                instance.supersedes = holder_id
        await self._actors.kill(handle)
        if instance.phase is Phase.UNKNOWN and instance.handle is None:
            instance.silent_since = None
            instance.go(Phase.ABSENT)

    async def _start(self, instance: Instance) -> None:
        holder = Holder(id=uuid.uuid4().hex, cluster=self._cluster)
        try:
            await self._look_at_lease(instance)
            instance.handle = await self._actors.start(self._incarnation(instance, holder))
        except Exception as error:  # noqa: BLE001 -- the outcome of a start is data
            await self._failures.failed(instance, as_ours(error), holder.id)
            return
        instance.holder_id, instance.node_id = holder.id, instance.handle.node_id
        instance.supersedes, instance.error = None, None
        instance.vitals, instance.silent_since = {}, None
        instance.ready_at = self.clock()
        self._orders.give(self._watch(instance))
        if instance.phase is Phase.STARTING:  # it may have been told to stop meanwhile
            instance.go(Phase.READY)

    def _incarnation(self, instance: Instance, holder: Holder) -> Incarnation:
        return Incarnation(
            business_id=instance.business_id,
            session_id=instance.session_id,
            holder=holder,
            number=instance.number,
            labels=instance.labels,
            supersedes=instance.supersedes,
        )

    async def _look_at_lease(self, instance: Instance) -> None:
        """Refuse a start that the lease would refuse: to ask costs a read, to try an actor."""
        held = await self._leases.get(instance.business_id)
        if held is None or held.holder.id == instance.supersedes:
            return
        if self._is_ours(held.holder):
            if await self._is_vouched_for(held.holder):
                instance.supersedes = held.holder.id  # it died with the supervisor that watched it
                return
            renews = instance.locked_for(held.holder.id, self.clock()) > self._lease_ttl
            if renews and await self._actors.is_lost(held.holder.node_id):
                held = await self._fence_off(held)
        raise locked(held, held.ttl)

    def _is_ours(self, holder: Holder) -> bool:
        ours = holder.kind == "instance" and holder.cluster == self._cluster
        return ours and bool(holder.node_id)

    async def _is_vouched_for(self, holder: Holder) -> bool:
        """Have the node of a dead holder see to it that nothing of it is left.

        One whose process runs is left alone: it may be another fleet's of the same name.
        """
        state = await self._actors.owner_state(holder.node_id, holder.id)
        dead = state is not None and state != "running"
        return dead and await self._actors.end(holder.node_id, holder.id)

    async def _fence_off(self, held: Lease) -> Lease:
        """Take the lease from an owner whose node is given up, though it may live, and hold it empty.

        Ray gives a node up when only its raylet hangs: the owners there renew for ever, out of
        reach. From here on they cannot; by the time that this lease has run out they are off line.
        """
        fence = Holder(id=uuid.uuid4().hex, kind="fence", cluster=self._cluster)
        log.warning("fenced off", business_id=held.business_id, holder=held.holder.id)
        return await self._leases.acquire(
            held.business_id, fence, self._lease_ttl, supersedes=held.holder.id
        )

    # -- watch -------------------------------------------------------------------------------

    async def _watch(self, instance: Instance) -> None:
        handle = instance.handle
        try:
            death = await self._actors.death(handle)
        except Exception as error:  # noqa: BLE001 -- nobody can say how it ended
            death = Death(certain=False, reason=repr(error))
        if instance.handle is handle and instance.phase is not Phase.STOPPING:
            await self.died(instance, death)

    async def died(self, instance: Instance, death: Death) -> None:
        """Note the end of a life; what is desired decides whether another begins."""
        log.warning("instance died", business_id=instance.business_id, reason=death.reason)
        instance.restarts += 1
        instance.handle, instance.resting = None, False
        instance.supersedes = instance.holder_id if death.certain else None
        if instance.progressed(self.clock()):
            instance.supervision = Supervision()  # what went before is no loop
        if self.clock() - instance.ready_at >= STEADY_S and not instance.supervision.deaths:
            # A first death: at once, but remembered, should others follow.
            await self._failures.remember(instance, lost(death), 0.0)
            instance.out(Phase.ABSENT)
            return
        await self._failures.failed(instance, lost(death), instance.holder_id)

    # -- end ---------------------------------------------------------------------------------

    async def _stop(self, instance: Instance, timeout: float) -> None:
        if instance.starting:
            await asyncio.wait({instance.starting})
        try:
            instance.stopped = await self._stopped(instance, timeout)
        finally:
            instance.handle, instance.vitals, instance.resting = None, {}, False
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

    async def _rest(self, instance: Instance, idle_for: float, timeout: float, reason: str) -> None:
        handle = instance.handle
        try:
            result = await self._actors.hibernate(handle, idle_for, timeout)
        finally:
            instance.resting = False
            instance.used()  # or it would be told again before it was heard
        if result is None or instance.handle is not handle:
            return
        instance.go(Phase.STOPPING)  # from here on its death is no surprise
        instance.stopped = result
        await self._note_rest(instance)
        await self._actors.kill(handle)
        instance.handle, instance.vitals = None, {}
        instance.go(Phase.HIBERNATED)
        log.info("hibernated", business_id=instance.business_id, reason=reason)

    async def _note_rest(self, instance: Instance) -> None:
        """Write what is desired now. Not written it is still desired to run, and starts again."""
        session_id = instance.session_id
        try:
            session = await self._records.get_session(session_id)
            if session is not None and session.desired is Desired.RUNNING:
                await self._records.update_session(
                    session_id, expected_version=session.version, desired=Desired.HIBERNATED
                )
        except RaypoolError as error:
            log.warning("not noted", business_id=instance.business_id, error=error.message)

"""Observe, plan, apply: bring the instances that live to what the records want. No Ray here.

Each pass looks at the whole picture again, so a lost event, a killed supervisor or a reply that
never came costs a pass, not a business. What was ordered stays visible in an instance's phase until
its outcome is known. What a pass costs follows what lives and what changed, not how many sessions
there are: records are read when the event stream names them, all of them only now and then.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from actors.instance import Instance
from actors.life import StopResult
from actors.lives import Lives
from actors.wishes import Wishes
from raypool.errors import ErrorCodes, RaypoolError, SessionNotFound, create_error
from raypool.logs import get_logger
from raypool.model import Desired, Session
from raypool.phase import Phase
from raypool.planner import Action, Forget, Hibernate, Start, Stop, plan
from raypool.room import Room
from raypool.store.base import SessionStore

log = get_logger(__name__)

STOP_TIMEOUT_S = 20.0
RESYNC_EVERY_S = 60.0
LOOK_AGAIN_S = 1.0
STARTS_PER_NODE = 4
_OUT = frozenset({Phase.ABSENT, Phase.BACKOFF, Phase.HIBERNATED, Phase.QUARANTINED})


class Reconciler:
    """The body of the supervisor's loop, and what callers may wait for.

    Args:
        sessions: The records.
        lives: Carries out what is decided.
        cluster: Whose sessions these are.
        idle_after: Seconds of idleness after which an instance rests, where its spec says nothing.
        courtesy: Seconds for which a business that is wanted anew is left to other clusters, unless
            somebody here asks for it: all of them hear that it is wanted, one of them was asked.
    """

    def __init__(
        self,
        sessions: SessionStore,
        lives: Lives,
        cluster: str,
        idle_after: float = 0.0,
        courtesy: float = 0.0,
    ) -> None:
        self._sessions, self._lives, self._idle_after = sessions, lives, idle_after
        self._courtesy = courtesy
        self._wishes = Wishes(cluster)
        self._instances: dict[str, Instance] = {}
        self._awaited: Counter[str] = Counter()
        self._room = Room()
        self._no_room: frozenset[str] = frozenset()
        self._changed: set[str] = set()
        self._resync_at: float | None = None
        self._closing = False

    async def adopt(self) -> None:
        """Take over the actors that are there already: a new supervisor disturbs nobody."""
        found = [self._instance(business_id) for business_id in await self._lives.found()]
        await asyncio.gather(*(self._lives.adopt(i) for i in found if i.phase is Phase.ABSENT))

    def note(self, business_ids: Iterable[str], *, resync: bool = False) -> None:
        """Have these records, or all of them, read again in the next pass."""
        self._changed.update(business_ids)
        for business_id in self._changed & self._instances.keys():
            self._instances[business_id].freed(self._lives.clock())
        if resync:
            self._resync_at = None
        if resync or self._changed:
            self._lives.wake()

    def set_room(self, room: Room) -> None:
        """Take over what the nodes offer now."""
        if room != self._room:
            self._room = room
            self._lives.wake()

    async def reconcile(self) -> float | None:
        """Do one pass; return the seconds until the next is due even if nothing happens."""
        await self._read_records()
        now = self._lives.clock()
        self._wishes.give_up(now)
        wanted = [] if self._closing else self._wishes.wants(self._awaited)
        seen = [instance.seen for instance in self._instances.values()]
        starts = STARTS_PER_NODE * max(1, len(self._room.nodes))
        decided = plan(wanted, seen, now=now, max_starting=starts, room=self._room)
        self._no_room = frozenset(decided.no_room)
        for action in decided.actions:
            self._apply(action)
        for instance in self._instances.values():
            if instance.phase is Phase.UNKNOWN and instance.handle is None:
                self._lives.look(instance)
        await self._lives.tell()
        return decided.requeue_after

    def _apply(self, action: Action) -> None:
        match action:
            case Start(business_id, session_id):
                instance = self._instance(business_id)
                instance.session_id = session_id
                self._lives.start(instance)
            case Stop(business_id):
                self._lives.stop(self._instances[business_id], STOP_TIMEOUT_S)
            case Hibernate(business_id, reason, idle_for):
                instance = self._instances[business_id]
                self._lives.rest(instance, idle_for, STOP_TIMEOUT_S, reason)
            case Forget(business_id):
                del self._instances[business_id]

    # -- records -----------------------------------------------------------------------------

    async def _read_records(self) -> None:
        singly, self._changed = self._changed | self._doubtful(), set()
        try:
            if self._resync_at is None or self._lives.clock() >= self._resync_at:
                singly |= await self._read_all()
            await asyncio.gather(*(self._read_one(business_id) for business_id in singly))
        except BaseException:
            self._changed |= singly
            raise

    async def _read_all(self) -> set[str]:
        """Read what is desired to run; return whose record must be looked at singly."""
        sessions = await self._sessions.list_sessions(desired=Desired.RUNNING)
        self._resync_at = self._lives.clock() + RESYNC_EVERY_S
        unlisted = self._wishes.unlisted(sessions)
        for session in sessions:
            self._recall(session)
        present = {b for b, i in self._instances.items() if i.phase not in _OUT}
        return unlisted | (present - {session.business_id for session in sessions})

    async def _read_one(self, business_id: str) -> None:
        session = await self._sessions.get_active_session(business_id)
        instance = self._instances.get(business_id)
        if session is not None:
            self._wishes.read(session)
            if business_id in self._wishes:
                self._recall(session)
                if instance is None and session.assigned_cluster is None and self._courtesy:
                    self._instance(business_id).give_way(self._lives.clock() + self._courtesy)
        elif business_id in self._wishes or (instance and instance.phase not in _OUT):
            session_id = instance.session_id if instance else ""
            self._wishes.not_found(business_id, session_id, self._lives.clock())

    def _doubtful(self) -> set[str]:
        """Return whose record must be read though no event names it."""
        rested = {b for b, i in self._instances.items() if i.phase is Phase.HIBERNATED}
        return self._wishes.missing() | {b for b in rested if b in self._wishes}

    def _recall(self, session: Session) -> None:
        instance = self._instance(session.business_id)
        instance.recall(session, self._idle_after, self._lives.clock())

    def _instance(self, business_id: str) -> Instance:
        return self._instances.setdefault(business_id, Instance(business_id))

    # -- what callers wait for -----------------------------------------------------------------

    async def await_ready(self, business_id: str, timeout: float) -> Instance:
        """Return the instance once it is ready; a hibernated one is woken.

        Raises:
            SessionLocked: It is assigned to another cluster.
            RaypoolError: A start after this call failed in a way that trying again cannot mend.
            RateLimitError: There was no place for it in *timeout* seconds.
            InstanceNotReady: It was not ready in *timeout* seconds; says why.
        """
        asked_at = self._lives.clock()
        self._instance(business_id).hurry()
        with self._awaiting(business_id):
            try:
                async with asyncio.timeout(timeout):
                    await self._settled(business_id, asked_at)
            except TimeoutError:
                no_room = business_id in self._no_room
                raise self._instance(business_id).late(timeout, no_room=no_room) from None
        instance = self._instance(business_id)
        if error := instance.fatal(asked_at):
            raise error
        return instance

    async def _settled(self, business_id: str, asked_at: float) -> None:
        def settled() -> bool:
            instance = self._instance(business_id)
            up = instance.phase is Phase.READY and instance.handle is not None
            ready = up and not instance.resting
            return ready or instance.fatal(asked_at) is not None

        while not settled():
            if business_id not in self._wishes:
                await self._wish(business_id)
            self._lives.wake()
            await self._changed_for(business_id, settled)

    async def _changed_for(self, business_id: str, settled: Callable[[], bool]) -> None:
        """Wait until it has settled, or went to rest meanwhile; not for longer than a moment."""
        wished = business_id in self._wishes
        async with self._lives.changed:
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_AGAIN_S):
                    await self._lives.changed.wait_for(
                        lambda: settled() or (wished and business_id not in self._wishes)
                    )

    async def _wish(self, business_id: str) -> None:
        """See to it that the record of a business that somebody waits for wants it to run."""
        session = await self._sessions.get_active_session(business_id)
        if session is None:
            raise SessionNotFound(f"{business_id} has no active session")
        if not self._wishes.is_ours(session):
            raise _elsewhere(session)
        if session.desired is Desired.HIBERNATED:
            await self._sessions.update_session(session.id, desired=Desired.RUNNING)
        self._changed.add(business_id)

    @contextmanager
    def _awaiting(self, business_id: str) -> Iterator[None]:
        self._awaited[business_id] += 1
        try:
            yield
        finally:
            self._awaited -= Counter([business_id])

    # -- the end -----------------------------------------------------------------------------

    async def stop(self, business_id: str, timeout: float = STOP_TIMEOUT_S) -> StopResult | None:
        """Stop one instance and return how it went; None when there is none."""
        self.note([business_id])
        instance = self._instances.get(business_id)
        if instance is None or instance.phase in _OUT:
            return None
        if instance.phase is not Phase.STOPPING:
            self._lives.stop(instance, timeout)
        async with self._lives.changed:
            await self._lives.changed.wait_for(lambda: instance.phase is not Phase.STOPPING)
        return instance.stopped

    async def close(self, timeout: float) -> list[StopResult]:
        """Stop everything, start nothing any more; the records keep what is desired."""
        self._closing = True
        try:
            await self.adopt()  # a new supervisor may not have looked yet
            stops = (self.stop(business_id, timeout) for business_id in list(self._instances))
            results = await asyncio.gather(*stops)
        except BaseException:  # whoever asked is gone: the fleet goes on
            self._closing = False
            raise
        return [result for result in results if result]

    def reopen(self) -> None:
        """Go on after a :meth:`close` whose caller never came back to end the supervisor."""
        self._closing = False
        self._lives.wake()

    async def empty(self, node_id: str, timeout: float) -> list[StopResult]:
        """Stop every instance of a node, each after an acknowledged checkpoint; how each stop went.

        They come up elsewhere if the node is draining by then, or it is the only one with room.
        """
        there = [b for b, i in self._instances.items() if i.node_id == node_id]
        results = await asyncio.gather(*(self.stop(b, timeout) for b in there))
        return [result for result in results if result]

    # -- what others see ---------------------------------------------------------------------

    def living(self) -> list[Instance]:
        """Return the instances that can be asked how they are."""
        return [instance for instance in self._instances.values() if instance.alive]

    def occupied(self) -> set[str]:
        """Return the nodes on which an instance may live."""
        return {i.node_id for i in self._instances.values() if i.phase not in _OUT}

    def overview(self) -> list[dict[str, Any]]:
        """Return what is remembered of every instance, for people."""
        now = self._lives.clock()
        return [
            self._instances[b].overview(now, no_room=b in self._no_room)
            for b in sorted(self._instances)
        ]


def _elsewhere(session: Session) -> RaypoolError:
    return create_error(
        ErrorCodes.SESSION_LOCKED,
        f"{session.business_id} is assigned to cluster {session.assigned_cluster!r}",
        {"business_id": session.business_id, "cluster": session.assigned_cluster},
        recovery=f"Call it there, or bring it here with `raypool hand-over {session.business_id} "
        "--to` this cluster.",
    )

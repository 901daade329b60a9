"""Observe, plan, apply: bring the instances that live to what the records want. No Ray here.

Each pass looks at the whole picture again, so a lost event, a killed supervisor or a reply that
never came costs a pass, not a business. What was ordered stays visible in an instance's phase until
its outcome is known.
"""

import asyncio
from typing import Any

from actors.instance import Instance
from actors.life import StopResult
from actors.lives import Lives
from raypool.model import Desired
from raypool.phase import Phase
from raypool.planner import Forget, Start, Stop, Want, plan
from raypool.store.base import SessionStore

STOP_TIMEOUT_S = 20.0


class Reconciler:
    """The body of the supervisor's loop, and what callers may wait for.

    Args:
        sessions: The records.
        lives: Carries out what is decided.
    """

    def __init__(self, sessions: SessionStore, lives: Lives) -> None:
        self._sessions, self._lives = sessions, lives
        self._instances: dict[str, Instance] = {}
        self._closing = False

    async def adopt(self) -> None:
        """Take over the actors that are there already: a new supervisor disturbs nobody."""
        found = [self._instance(business_id) for business_id in await self._lives.found()]
        await asyncio.gather(*(self._lives.adopt(i) for i in found if i.phase is Phase.ABSENT))

    async def reconcile(self) -> float | None:
        """Do one pass; return the seconds until the next is due even if nothing happens."""
        wanted = [] if self._closing else await self._wanted()
        seen = [instance.seen for instance in self._instances.values()]
        decided = plan(wanted, seen, now=self._lives.clock())
        for action in decided.actions:
            self._apply(action)
        for instance in self._instances.values():
            if instance.phase is Phase.UNKNOWN:
                self._lives.look(instance)
        await self._lives.tell()
        return decided.requeue_after

    def _apply(self, action: Start | Stop | Forget) -> None:
        match action:
            case Start(business_id, session_id):
                instance = self._instance(business_id)
                instance.session_id = session_id
                self._lives.start(instance)
            case Stop(business_id):
                self._lives.stop(self._instances[business_id], STOP_TIMEOUT_S)
            case Forget(business_id):
                del self._instances[business_id]

    async def _wanted(self) -> list[Want]:
        sessions = await self._sessions.list_sessions(desired=Desired.RUNNING)
        for session in sessions:  # numbers go on where the last supervisor, or cluster, stopped
            instance = self._instance(session.business_id)
            instance.number = max(instance.number, session.observed.incarnation)
        return [Want(s.business_id, s.id, s.last_activity.timestamp()) for s in sessions]

    def _instance(self, business_id: str) -> Instance:
        return self._instances.setdefault(business_id, Instance(business_id))

    async def await_ready(self, business_id: str, timeout: float) -> Instance:
        """Return the instance once it is ready.

        Raises:
            RaypoolError: A start after this call failed in a way that trying again cannot mend.
            InstanceNotReady: It was not ready in *timeout* seconds; says why.
        """
        asked_at = self._lives.clock()
        self._instance(business_id).hurry()
        self._lives.wake()

        def settled() -> bool:
            instance = self._instance(business_id)
            return instance.phase is Phase.READY or instance.fatal(asked_at) is not None

        try:
            async with asyncio.timeout(timeout), self._lives.changed:
                await self._lives.changed.wait_for(settled)
        except TimeoutError:
            raise self._instance(business_id).late(timeout) from None
        instance = self._instance(business_id)
        if error := instance.fatal(asked_at):
            raise error
        return instance

    async def stop(self, business_id: str, timeout: float = STOP_TIMEOUT_S) -> StopResult | None:
        """Stop one instance and return how it went; None when there is none."""
        instance = self._instances.get(business_id)
        if instance is None or instance.phase in {Phase.ABSENT, Phase.BACKOFF}:
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

    def overview(self) -> list[dict[str, Any]]:
        """Return what is remembered of every instance, for people."""
        now = self._lives.clock()
        return [self._instances[b].overview(now) for b in sorted(self._instances)]

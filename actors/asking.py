"""Asks instances how they are. No Ray here.

Each is asked beside the others, so one that is silent holds nobody up, itself included: whoever has
not answered in time is asked after at its node, which knows whether its process runs.
"""

import asyncio
from collections.abc import Iterable

from actors.instance import Instance
from actors.life import Death
from actors.lives import Lives
from actors.ports import Actors
from actors.silence import SUSPECT_AFTER_S, is_over
from raypool.logs import get_logger
from raypool.phase import Phase

log = get_logger(__name__)


class Asking:
    """Hears how instances are, and ends those that cannot answer.

    Args:
        actors: The live side.
        lives: Told of a life that is over.
    """

    def __init__(self, actors: Actors, lives: Lives) -> None:
        self._actors, self._lives = actors, lives
        self._under_way: dict[str, asyncio.Task[None]] = {}

    def ask_all(self, instances: Iterable[Instance]) -> None:
        """Begin to ask those that are not being asked already. Returns at once."""
        for instance in instances:
            holder_id = instance.holder_id
            if holder_id not in self._under_way:
                asked = self._asked(instance, holder_id)
                self._under_way[holder_id] = asyncio.get_running_loop().create_task(asked)

    async def _asked(self, instance: Instance, holder_id: str) -> None:
        try:
            await self.ask(instance)
        except Exception as error:  # noqa: BLE001 -- it is asked again in a moment
            log.warning("not heard", business_id=instance.business_id, error=repr(error))
        finally:
            del self._under_way[holder_id]

    async def ask(self, instance: Instance) -> None:
        """Ask an instance how it is; one that stays silent is asked after at its node."""
        handle, before = instance.handle, instance.phase
        asked_at = self._lives.clock()
        vitals = await self._actors.describe(handle)
        if instance.handle is not handle or not instance.alive:
            return
        if vitals is None:
            instance.silent_since = instance.silent_since or asked_at
            await self._suspect(instance, self._lives.clock() - instance.silent_since)
        elif vitals.get("phase") is Phase.ABSENT and not instance.resting:
            await self._actors.kill(handle)  # it stopped, and the answer was lost
            await self._lives.died(instance, Death(certain=True, reason="it had stopped"))
        else:
            instance.heard(vitals)
        if instance.phase is not before:
            await self._lives.tell()
            self._lives.wake()

    async def _suspect(self, instance: Instance, silent_for: float) -> None:
        """Ask the node of a silent instance for its process: silence alone is no death."""
        handle = instance.handle
        state = await self._actors.owner_state(handle.node_id, instance.holder_id)
        if instance.handle is not handle or not instance.alive:
            return
        if not is_over(state, silent_for):
            if silent_for >= SUSPECT_AFTER_S:
                instance.go(Phase.UNKNOWN)
            return
        certain = await self._actors.end(handle.node_id, instance.holder_id)
        await self._actors.kill(handle)
        if instance.handle is handle and instance.phase is not Phase.STOPPING:
            reason = f"it did not answer for {silent_for:.1f} s; its process was {state}"
            await self._lives.died(instance, Death(certain=certain, reason=reason))

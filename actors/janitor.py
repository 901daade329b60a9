"""The Ray actor that looks after one node's browsers: a shell around :mod:`raypool.browser.patrol`.

It needs neither Redis nor the supervisor: what an owner may do until when lies on the node itself, so a
browser is killed in time whatever else is out of reach.
"""

import asyncio
import os
import threading
from typing import Any

import ray
from ray.util.metrics import Gauge

from actors.keeper import now
from actors.names import janitor_actor
from actors.runtime import idle_workers, title_process
from actors.watchdog import watch_supervisor
from raypool import logs
from raypool.browser.memory import node_memory
from raypool.browser.patrol import Patrol
from raypool.browser.proc import living
from raypool.config import Settings

log = logs.get_logger(__name__)
PERIOD_S = 0.25
ROUNDS_PER_TITLE = 8


@ray.remote
class Janitor:
    """Kills browsers whose owner is dead, stopped or past its deadline; removes what they left."""

    def __init__(self, settings: Settings) -> None:
        logs.configure(settings.log_format, settings.log_level)
        self._node_id = ray.get_runtime_context().get_node_id()
        self._patrol = Patrol()
        self._orphans = Gauge(
            "raypool_orphans",
            description="Browsers on this node that run without a living owner. Must be 0.",
            tag_keys=("node",),
        )
        watching = watch_supervisor(settings.namespace)
        self._watching = asyncio.get_running_loop().create_task(watching)
        # A thread: whatever the actor's event loop is busy with, the rounds go on.
        threading.Thread(target=self._walk, name="patrol", daemon=True).start()

    def __repr__(self) -> str:
        return janitor_actor(self._node_id)

    async def report(self) -> dict[str, Any]:
        """Return how the node is.

        ``node_id``, ``pid``; ``browsers`` with a living owner, ``orphans`` that still run; how many
        browsers were ``killed`` and directories ``swept`` by this janitor; ``memory_available`` and
        ``memory_total`` in bytes, of the container where it has less than the machine; ``idle``
        workers that wait for an actor.
        """
        memory = await asyncio.to_thread(node_memory)
        idle = await asyncio.to_thread(idle_workers)
        return {
            "node_id": self._node_id,
            "pid": os.getpid(),
            "browsers": self._patrol.browsers,
            "orphans": self._patrol.orphans,
            "killed": self._patrol.killed,
            "swept": self._patrol.swept,
            "memory_available": memory.available,
            "memory_total": memory.total,
            "idle": idle,
        }

    async def end(self, holder_id: str) -> bool:
        """Kill an incarnation's owner and browser; see :meth:`Patrol.end`. Within some seconds."""
        return await asyncio.to_thread(self._patrol.end, holder_id)

    async def inspect(self) -> list[dict[str, Any]]:
        """Return what lies and runs on the node; see :meth:`Patrol.inspect`."""
        return await asyncio.to_thread(self._patrol.inspect)

    async def living(self, pids: list[int]) -> list[int]:
        """Return those of *pids* that run on the node."""
        return await asyncio.to_thread(living, pids)

    async def tidy(self) -> None:
        """Go a thorough round now, instead of when its turn comes."""
        await asyncio.to_thread(self._patrol.round, now(), thorough=True)

    def _walk(self) -> None:
        """Go the rounds, for ever: an error costs one round, and is told once as long as it lasts."""
        over, told, rounds = threading.Event(), "", 0
        while not over.wait(PERIOD_S):
            try:
                if rounds % ROUNDS_PER_TITLE == 0:
                    title_process(self)
                rounds += 1
                self._patrol.round(now())
                self._orphans.set(self._patrol.orphans, tags={"node": self._node_id})
                told = ""
            except Exception as error:  # noqa: BLE001 -- the patrol must go on
                if repr(error) != told:
                    told = repr(error)
                    log.error("patrol failed", error=told)  # noqa: TRY400

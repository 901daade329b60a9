"""The Ray actor that keeps the fleet as the records want it: a shell around the reconciler.

Four loops beside each other: passes of the reconciler, the event stream that wakes it, a round that
asks the instances how they are, and one that looks after nodes and their janitors. Each goes on
whatever happens in a turn of it.
"""

import asyncio
import contextlib
import itertools
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any

import ray
from ray.actor import ActorHandle

from actors.asking import Asking
from actors.business import Business
from actors.businesses import BusinessActors
from actors.janitor import Janitor
from actors.janitors import Janitors
from actors.lives import Lives
from actors.names import SUPERVISOR, business_actor
from actors.nodes import RayNodes
from actors.places import room_of
from actors.prestart import prestart
from actors.reconciler import Reconciler
from actors.runtime import RayRuntime, title_process
from actors.spares import Spares
from raypool import calls, context, logs
from raypool.config import Settings
from raypool.errors import ErrorCodes, RaypoolError, create_error
from raypool.phase import Phase
from raypool.store.crypto import Keyring
from raypool.store.sessions import RedisSessionManager

log = logs.get_logger(__name__)

LOOK_AGAIN_S = 5.0
AFTER_ERROR_S = 1.0
FOLLOW_S = 10.0
ASK_EVERY_S = 0.2
"""Those whose browser is made anew: it tells nobody when it is up, and callers wait for it."""
ROUNDS_A_LOOK = 5
"""Each so many times everybody is asked: a stopped actor is found by its silence alone."""
NODES_EVERY_S = 3.0
COURTESY_S = 8.0
"""Longer than the cluster that was asked takes to hold the lease."""


@ray.remote
class Supervisor:
    """Starts what is desired, sees what dies, makes the next incarnation."""

    def __init__(self, settings: Settings, keyring: Keyring) -> None:
        self._settings = settings.on_this_node()
        logs.configure(self._settings.log_format, self._settings.log_level)
        self._manager = RedisSessionManager(self._settings, keyring)
        self._awake, self._node_changed = asyncio.Event(), asyncio.Event()
        runtime = RayRuntime(
            settings.namespace, _make_business, lambda options: _make_janitor(options, settings)
        )
        self._nodes, self._janitors = RayNodes(), Janitors(runtime)
        self._raylets: dict[str, str] = {}
        self._spares = Spares(settings.spare_workers, lambda n, k: prestart(self._raylets[n], k))
        actors = BusinessActors(runtime, self._janitors, settings, keyring, self._node_changed.set)
        lives = Lives(
            actors,
            self._manager,
            self._manager.leases,
            settings.cluster,
            settings.lease_ttl,
            self._awake.set,
        )
        self._asking = Asking(actors, lives)
        self._reconciler = Reconciler(
            self._manager, lives, settings.cluster, self._settings.idle_after, COURTESY_S
        )
        self._adopted = False
        loops = (self._passes, self._follow, self._rounds, self._look_at_nodes)
        self._loops = [asyncio.get_running_loop().create_task(loop()) for loop in loops]

    def __repr__(self) -> str:
        return SUPERVISOR

    # -- what drivers ask ----------------------------------------------------------------------

    async def ping(self) -> str:
        """Answer; whoever waits for it knows that the supervisor is up."""
        return SUPERVISOR

    async def ready(self, business_id: str, timeout: float, ids: dict[str, object]) -> bytes:
        """Answer with the actor's name once the instance is ready, or with the error."""
        with context.bound(**ids):
            try:
                await self._reconciler.await_ready(business_id, timeout)
                return calls.pack_value(business_actor(business_id))
            except RaypoolError as error:
                return calls.pack_error(error)

    async def stop(self, business_id: str, timeout: float) -> dict[str, Any] | None:
        """Stop one instance; its record must say so first, or it comes back."""
        result = await self._reconciler.stop(business_id, timeout)
        return asdict(result) if result else None

    async def drain(self, node_id: str, timeout: float, reason: str) -> bytes:
        """Take everything off a node, for good: nothing starts there any more.

        Answers with how each stop went.
        """
        return await self._replied(self._drain(node_id, timeout, reason))

    async def _drain(self, node_id: str, timeout: float, reason: str) -> list[dict[str, Any]]:
        if not await asyncio.to_thread(self._nodes.drain, node_id, reason, timeout):
            raise create_error(
                ErrorCodes.CONFIG_INVALID_ARGUMENT,
                f"{node_id!r} is no node of this cluster that is alive",
                recovery="`raypool nodes` shows the nodes and their ids.",
            )
        await self._see_nodes()
        results = await self._reconciler.empty(node_id, timeout)
        return [asdict(result) for result in results]

    async def close(self, timeout: float) -> list[dict[str, Any]]:
        """Stop every instance, each after an acknowledged checkpoint; start nothing any more."""
        results = await self._reconciler.close(timeout)
        await self._janitors.dismiss(list(self._janitors.reports))
        return [asdict(result) for result in results]

    async def reopen(self) -> None:
        """Bring back what is desired, after a `down` that was cut off half-way."""
        self._reconciler.reopen()

    async def overview(self) -> list[dict[str, Any]]:
        """Return what is remembered of every instance."""
        return self._reconciler.overview()

    async def nodes(self) -> list[dict[str, Any]]:
        """Return what each node offers, and what its janitor last said."""
        reports = self._janitors.reports
        found = await asyncio.to_thread(self._nodes.nodes)
        return [{**asdict(node), "janitor": reports.get(node.node_id)} for node in found]

    async def _replied(self, work: Awaitable[Any]) -> bytes:
        try:
            return calls.pack_value(await work)
        except Exception as error:  # noqa: BLE001 -- every error goes to the caller
            return calls.pack_error(error)

    # -- what it does by itself ------------------------------------------------------------------

    async def _passes(self) -> None:
        while True:
            self._awake.clear()
            title_process(self)
            delay: float | None = AFTER_ERROR_S
            try:
                await self._manager.open()
                if not self._adopted:
                    await self._reconciler.adopt()
                    self._adopted = True
                delay = await self._reconciler.reconcile()
            except Exception as error:  # noqa: BLE001 -- one bad pass must not end the loop
                log.error("pass failed", error=repr(error))  # noqa: TRY400
                await asyncio.sleep(AFTER_ERROR_S)
            await _rest(min(delay or LOOK_AGAIN_S, LOOK_AGAIN_S), self._awake)

    async def _follow(self) -> None:
        async def follow() -> None:
            await self._manager.open()
            async with self._manager.events.follow() as follower:
                while True:
                    changes = await follower.changes(FOLLOW_S)
                    self._reconciler.note(changes.business_ids, resync=changes.resync)

        await _again_and_again(follow, AFTER_ERROR_S)

    async def _rounds(self) -> None:
        rounds = itertools.count()

        async def ask() -> None:
            everybody = next(rounds) % ROUNDS_A_LOOK == 0
            living = self._reconciler.living()
            self._asking.ask_all(i for i in living if everybody or i.phase is Phase.RECOVERING)

        await _again_and_again(ask, ASK_EVERY_S)

    async def _look_at_nodes(self) -> None:
        await _again_and_again(self._see_nodes, NODES_EVERY_S, self._node_changed)

    async def _see_nodes(self) -> None:
        nodes = [node for node in await asyncio.to_thread(self._nodes.nodes) if node.alive]
        # A node that is being drained ends when nothing is left on it, its janitor included.
        leave = {n.node_id for n in nodes if not n.usable} - self._reconciler.occupied()
        await self._janitors.look_after(node.node_id for node in nodes if node.node_id not in leave)
        await self._janitors.dismiss(leave)
        room = room_of(nodes, self._janitors.reports, self._settings)
        self._reconciler.set_room(room)
        self._raylets = {node.node_id: f"{node.address}:{node.port}" for node in nodes}
        await self._spares.top_up(room, self._janitors.reports)


async def _rest(seconds: float, woken: asyncio.Event) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(woken.wait(), seconds)


async def _again_and_again(
    turn: Callable[[], Awaitable[None]], pause: float, woken: asyncio.Event | None = None
) -> None:
    woken = woken or asyncio.Event()
    while True:
        woken.clear()
        try:
            await turn()
        except Exception as error:  # noqa: BLE001 -- one bad turn must not end the loop
            log.warning("turn failed", error=repr(error))
        await _rest(pause, woken)


def _make_business(options: dict[str, Any], business_id: str) -> ActorHandle[Any]:
    made: ActorHandle[Any] = Business.options(**options).remote(business_id)  # type: ignore[attr-defined]
    return made


def _make_janitor(options: dict[str, Any], settings: Settings) -> ActorHandle[Any]:
    made: ActorHandle[Any] = Janitor.options(**options).remote(settings)  # type: ignore[attr-defined]
    return made

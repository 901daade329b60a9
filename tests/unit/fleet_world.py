"""A fleet without Ray for tests of the reconciler: actors that do as they are told, a clock to move."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from actors.asking import Asking
from actors.life import Death, Incarnation, StopResult
from actors.lives import Lives
from actors.reconciler import Reconciler
from raypool.errors import ErrorCodes, create_error
from raypool.model import Desired, Holder, Lease, Session, Supervision
from raypool.phase import Phase
from raypool.room import NodeRoom, Room
from raypool.store.memory import MemorySessions, MemoryStore

LEASE_TTL = 3600.0
FENCE_TTL = 15.0
FIRST = 100.0
_START = datetime.now(UTC)


@dataclass(frozen=True)
class Actor:
    """An actor of one incarnation."""

    business_id: str
    holder_id: str
    node_id: str


class World:
    """Actors that live and die as a test says; remembers every life.

    What an actor does to its lease these do, too: a start acquires it, a stop releases it, a death
    leaves it as it is.
    """

    def __init__(self, store: MemoryStore) -> None:
        self._leases = store.leases
        self.lives: list[Incarnation] = []
        self.alive: dict[Actor, asyncio.Future[Death]] = {}
        self.held: dict[str, Lease] = {}
        self.failures: list[Exception] = []
        self.stopped: list[str] = []
        self.rested: list[str] = []
        self.killed: list[Actor] = []
        self.strangers: dict[str, dict[str, Any] | None] = {}
        """What actors that no supervisor remembers say of themselves; None: nothing."""
        self.vitals: dict[str, dict[str, Any] | None] = {}
        """What an instance says besides that it is ready; None: it does not answer."""
        self.states: dict[str, str] = {}
        """What a node says of an owner, by the business."""
        self.asked_after: list[tuple[str, str]] = []
        self.ends = True
        """Whether a node can end an owner."""
        self.lost_nodes: set[str] = set()
        self.silences = asyncio.Event()
        """Clear: whoever has nothing to say keeps the asker waiting."""
        self.silences.set()
        self.asked: list[str] = []
        self.declines = False
        """Whether somebody uses an instance in the moment when it shall rest."""
        self.node_id = "n1"
        """Where the next one comes up."""
        self.hold = asyncio.Event()
        """Clear: starts and stops do not come to an end."""
        self.hold.set()
        self.hold_starts = asyncio.Event()
        self.hold_starts.set()

    async def start(self, incarnation: Incarnation) -> Actor:
        self.lives.append(incarnation)
        await self.hold.wait()
        await self.hold_starts.wait()
        if self.failures:
            raise self.failures.pop(0)
        business_id, holder = incarnation.business_id, incarnation.holder
        holder = holder.model_copy(update={"node_id": self.node_id})
        self.held[business_id] = await self._leases.acquire(
            business_id, holder, LEASE_TTL, supersedes=incarnation.supersedes
        )
        return self._born(Actor(business_id, holder.id, self.node_id))

    def _born(self, actor: Actor) -> Actor:
        self.alive.setdefault(actor, asyncio.get_running_loop().create_future())
        return actor

    async def find(self, business_id: str) -> tuple[Actor, dict[str, Any] | None] | None:
        if business_id not in self.strangers:
            return None
        said = self.strangers[business_id]
        actor = Actor(
            business_id, (said or {}).get("holder_id", ""), (said or {}).get("node_id", "")
        )
        return self._born(actor), said

    async def businesses(self) -> list[str]:
        return sorted(self.strangers)

    async def describe(self, handle: Actor) -> dict[str, Any] | None:
        self.asked.append(handle.business_id)
        said = self.vitals.get(handle.business_id, {})
        if said is None:
            await self.silences.wait()
        known = {
            "phase": Phase.READY,
            "idle_for": 0.0,
            "commands": 0,
            "holder_id": handle.holder_id,
        }
        return None if said is None else {**known, **said}

    async def stop(self, handle: Actor, timeout: float) -> StopResult:
        self.stopped.append(handle.business_id)
        return await self._saved(handle)

    async def hibernate(self, handle: Actor, idle_for: float, timeout: float) -> StopResult | None:
        self.rested.append(handle.business_id)
        return None if self.declines else await self._saved(handle)

    async def _saved(self, handle: Actor) -> StopResult:
        await self.hold.wait()
        if lease := self.held.pop(handle.business_id, None):
            await self._leases.release(lease)
        return StopResult(handle.business_id, saved=True, checkpoint_version=1)

    async def kill(self, handle: Actor) -> None:
        self.killed.append(handle)
        self.alive.pop(handle, None)

    async def death(self, handle: Actor) -> Death:
        return await self.alive[handle]

    async def is_lost(self, node_id: str) -> bool:
        return node_id in self.lost_nodes

    async def owner_state(self, node_id: str, holder_id: str) -> str | None:
        self.asked_after.append((node_id, holder_id))
        by_holder = {lease.holder.id: business_id for business_id, lease in self.held.items()}
        return self.states.get(by_holder.get(holder_id, ""))

    async def end(self, node_id: str, holder_id: str) -> bool:
        return self.ends

    def die(self, business_id: str, *, certain: bool = True) -> None:
        actor = self.actor(business_id)
        self.alive.pop(actor).set_result(Death(certain, "killed by the test"))

    def actor(self, business_id: str) -> Actor:
        return next(actor for actor in self.alive if actor.business_id == business_id)

    @property
    def living(self) -> list[str]:
        return sorted(actor.business_id for actor in self.alive)


class Records:
    """The twin's sessions, counting how many records are read; away when a test says so."""

    def __init__(self, sessions: MemorySessions) -> None:
        self._sessions = sessions
        self.read: Counter[str] = Counter()
        self.away = False

    def __getattr__(self, name: str) -> Any:
        asked = getattr(self._sessions, name)

        async def counted(*args: Any, **kwargs: Any) -> Any:
            if self.away:
                raise create_error(ErrorCodes.STORAGE_UNAVAILABLE, "away")
            answer = await asked(*args, **kwargs)
            listed = [answer] if isinstance(answer, Session) else answer
            if name in {"list_sessions", "get_active_session"} and listed:
                self.read.update(session.business_id for session in listed)
            return answer

        return counted


class Stage:
    """A reconciler with its surroundings."""

    def __init__(self, idle_after: float = 0.0, courtesy: float = 0.0) -> None:
        self.now = FIRST
        self.idle_after, self.courtesy = idle_after, courtesy
        self.store = MemoryStore(lambda: _START + timedelta(seconds=self.now - FIRST))
        self.records = Records(self.store.sessions)
        self.world = World(self.store)
        self.wakes = 0
        self.new_supervisor()

    def new_supervisor(self) -> None:
        """The supervisor dies; the next one knows nothing."""
        if self.world.lives:
            self.world.strangers = {
                actor.business_id: self.described(actor) for actor in self.world.alive
            }
        self.lives = Lives(
            self.world,
            self.records,  # type: ignore[arg-type]
            self.store.leases,
            "here",
            FENCE_TTL,
            self._wake,
            clock=lambda: self.now,
            dice=lambda: 1.0,
        )
        self.asking = Asking(self.world, self.lives)
        self.reconciler = Reconciler(
            self.records,  # type: ignore[arg-type]
            self.lives,
            "here",
            self.idle_after,
            self.courtesy,
        )

    def described(self, actor: Actor) -> dict[str, Any]:
        """Return what a ready actor says of itself to a supervisor that does not know it."""
        life = next(i for i in self.world.lives if i.holder.id == actor.holder_id)
        return {
            "phase": Phase.READY, "session_id": life.session_id, "incarnation": life.number,
            "holder_id": actor.holder_id, "node_id": actor.node_id,
        }  # fmt: skip

    def _wake(self) -> None:
        self.wakes += 1

    async def want(self, *business_ids: str, desired: Desired = Desired.RUNNING) -> None:
        """Write what is desired; the event stream tells the supervisor."""
        for business_id in business_ids:
            await self.store.sessions.ensure_active(business_id, desired=desired)
        self.reconciler.note(business_ids)

    async def session(self, business_id: str) -> Session:
        found = await self.store.sessions.get_active_session(business_id)
        assert found is not None
        return found

    async def hold_elsewhere(self, business_id: str) -> Lease:
        """Another cluster's instance takes the business."""
        holder = Holder(id="other", cluster="elsewhere", node_id="n9")
        return await self.store.leases.acquire(business_id, holder, LEASE_TTL)

    def write_slowly(self) -> asyncio.Event:
        """Have what the supervisor must remember wait to be written until the event is set."""
        write, go_on = self.store.sessions.supervise, asyncio.Event()

        async def slowly(session_id: str, supervision: Supervision) -> None:
            await go_on.wait()
            await write(session_id, supervision)

        self.store.sessions.supervise = slowly  # type: ignore[method-assign]
        return go_on

    async def settle(self) -> float | None:
        """Reconcile and let every order that can finish do so."""
        delay = None
        for _ in range(4):
            delay = await self.reconciler.reconcile()
            await turns()
        return delay

    async def ask(self) -> None:
        """Ask all that live how they are, as the supervisor does every second."""
        await asyncio.gather(*(self.asking.ask(i) for i in self.reconciler.living()))
        await turns()

    async def waiting(self, call: Awaitable[Any]) -> "asyncio.Future[Any]":
        """Begin a call that waits for something."""
        task = asyncio.ensure_future(call)
        await turns()
        return task

    def offer(self, *nodes: NodeRoom) -> None:
        """The nodes have these places."""
        self.reconciler.set_room(Room(nodes))

    def row(self, business_id: str) -> dict[str, Any]:
        rows = {row["business_id"]: row for row in self.reconciler.overview()}
        return rows.get(business_id, {"phase": Phase.ABSENT})

    def phase(self, business_id: str) -> Phase:
        return self.row(business_id)["phase"]


async def turns() -> None:
    """Let everything go on that can without time passing."""
    for _ in range(30):
        await asyncio.sleep(0)


async def fail_until(stage: Stage, done: Callable[[], bool]) -> int:
    """Let the clock go on from one try to the next until *done*; return how many passes it took."""
    for number in range(100):
        delay = await stage.settle()
        if done():
            return number
        stage.now += delay or 1.0
    raise AssertionError("it did not come to that")

"""The five-way audit of a running fleet: gather what all sides tell, judge it, mend what is safe."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from actors.census import Census, take_census
from raypool.audit import (
    Action,
    Actor,
    Finding,
    FleetView,
    HeldLease,
    Local,
    Record,
    Repair,
    audit,
)
from raypool.config import Settings
from raypool.doctor.nodes import Node, Seen, inspect_all
from raypool.doctor.sides import Sides, reach
from raypool.errors import RaypoolError, SessionNotFound
from raypool.model import Desired, Lease, Session, SessionStatus
from raypool.phase import Phase
from raypool.store.sessions import RedisSessionManager

T = TypeVar("T")
U = TypeVar("U")
SECOND_LOOK_S = 1.0
"""What changed between two looks was under way, and is no disagreement."""
SUPERVISOR_TIMEOUT_S = 5.0
_AT_ONCE = 20
_SEEN = ("directory", "token", "holder_id", "owner", "browser", "browser_pid")


@dataclass(frozen=True)
class Audited:
    """What an audit found."""

    findings: tuple[Finding, ...]
    """What disagrees; after the repairs, if any were made."""
    repaired: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()
    """What was not looked at, and why."""
    complete: bool = True
    """Whether everything that is configured answered."""


async def audit_fleet(settings: Settings, *, repair: bool = False) -> Audited:
    """Audit the fleet of *settings* as far as it runs; starts nothing.

    Args:
        settings: Which fleet.
        repair: Kill browsers without an owner, remove directories of the dead, release leases of
            holders that are provably dead.
    """
    async with reach(settings) as sides:
        auditor, repaired = _Auditor(sides), tuple[Finding, ...]()
        findings = await auditor.settled()
        repairs = [finding.repair for finding in findings if finding.repair]
        if repair and repairs:
            await auditor.mend(repairs)
            left = await auditor.settled()
            repaired = tuple(f for f in findings if f.repair and f not in left)
            findings = left
        notes = tuple(dict.fromkeys([*sides.notes, *auditor.notes]))
        return Audited(tuple(findings), repaired, notes, sides.reachable)


class _Auditor:
    def __init__(self, sides: Sides) -> None:
        self._sides = sides
        self._nodes: dict[str, tuple[Node, Seen]] = {}
        self._leases: list[Lease] = []
        self.notes: list[str] = []

    async def settled(self) -> list[Finding]:
        """Return what each of two looks found."""
        first = await self._look()
        if not first:
            return []
        await asyncio.sleep(SECOND_LOOK_S)
        return [finding for finding in await self._look() if finding in first]

    async def mend(self, repairs: Iterable[Repair]) -> None:
        """Do the repairs. Whether they helped, the next look tells."""
        wanted = list(repairs)
        for node_id in sorted({repair.node_id for repair in wanted}):
            await self._nodes[node_id][0].tidy()
        for repair in wanted:
            if repair.action is Action.RELEASE and self._sides.records:
                # First whatever is left of the holder must be gone.
                gone = await self._nodes[repair.node_id][0].end(repair.target)
                for lease in self._leases:
                    if gone and lease.holder.id == repair.target:
                        await self._sides.records.leases.release(lease)

    async def _look(self) -> list[Finding]:
        settings = self._sides.settings
        census = await self._census()
        self._nodes, silent = await inspect_all(census, settings.namespace)
        self.notes += [f"Node {n[:8]} not looked at: no janitor answers there" for n in silent]
        records = await self._remembered(census)
        return audit(
            FleetView(
                records=records,
                leases=tuple(_lease(lease) for lease in self._leases),
                actors=None if census is None else tuple(_actor(*a) for a in census.actors.items()),
                locals=tuple(
                    _local(n, seen) for n, (_, all_) in self._nodes.items() for seen in all_
                ),
                nodes=frozenset(self._nodes),
                living=frozenset(await self._living()),
                phases=await self._phases(),
                cluster=settings.cluster,
            )
        )

    async def _census(self) -> Census | None:
        try:
            if self._sides.fleet:
                return await take_census(self._sides.settings.namespace)
        except RaypoolError as error:
            self._sides.missing("Actors and other nodes", error)
        return None

    async def _remembered(self, census: Census | None) -> tuple[Record, ...] | None:
        """Return the records that matter here, and note the leases of all that wants or lives."""
        manager = self._sides.records
        if manager is None:
            return None
        try:
            records = await _wanted(manager, self._sides.settings.cluster)
            lives = {s["business_id"] for _, seen in self._nodes.values() for s in seen}
            concerned = (
                {r.business_id for r in records} | lives | set(census.actors if census else ())
            )
            held = await _each(manager.leases.get, sorted(filter(None, concerned)))
        except RaypoolError as error:
            self._sides.missing("Records and leases", error)
            self._leases = []
            return None
        self._leases = [lease for lease in held if lease]
        return records

    async def _phases(self) -> dict[str, str]:
        """Return what the supervisor remembers of each business."""
        try:
            known = await asyncio.wait_for(self._overview(), SUPERVISOR_TIMEOUT_S)
        except TimeoutError:
            self.notes.append("Supervisor not asked: it does not answer")
            return {}
        return {row["business_id"]: str(row["phase"]) for row in known}

    async def _overview(self) -> list[dict[str, Any]]:
        return await self._sides.fleet.overview() if self._sides.fleet else []

    async def _living(self) -> set[tuple[str, int]]:
        found = set()
        for node_id, (node, _) in self._nodes.items():
            pids = [s.holder.pid for s in self._leases if s.holder.node_id == node_id]
            found |= {(node_id, pid) for pid in await node.living(pids)}
        return found


async def _wanted(manager: RedisSessionManager, cluster: str) -> tuple[Record, ...]:
    """Return the active sessions that shall run here, each with the checkpoints really kept."""

    async def record(session: Session) -> Record | None:
        try:
            infos = await manager.checkpoints.list(session.id)
        except SessionNotFound:  # it was deleted or expired just now
            return None
        kept = tuple(info.version for info in infos)
        return Record(session.business_id, True, session.checkpoint_version, kept)

    found = await manager.list_sessions(desired=Desired.RUNNING)
    active = [s for s in found if s.status is SessionStatus.ACTIVE]
    ours = [s for s in active if s.assigned_cluster in {None, cluster}]
    return tuple(filter(None, await _each(record, ours)))


async def _each(ask: Callable[[T], Awaitable[U]], about: list[T]) -> list[U]:
    turns = asyncio.Semaphore(_AT_ONCE)

    async def one(item: T) -> U:
        async with turns:
            return await ask(item)

    return await asyncio.gather(*(one(item) for item in about))


def _lease(lease: Lease) -> HeldLease:
    holder = lease.holder
    return HeldLease(lease.business_id, holder.id, holder.cluster, holder.node_id, holder.pid)


def _actor(business_id: str, said: dict[str, Any] | None) -> Actor:
    if said is None:
        return Actor(business_id, answered=False)
    return Actor(
        business_id,
        holder_id=said.get("holder_id", ""),
        token=said.get("fencing_token", 0),
        ready=said["phase"] == Phase.READY and not said.get("off_line"),
        node_id=said["node_id"],
    )


def _local(node_id: str, seen: dict[str, Any]) -> Local:
    told = {name: seen[name] for name in _SEEN if seen[name] is not None}
    return Local(node_id, seen["business_id"], **told)

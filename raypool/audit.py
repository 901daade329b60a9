"""Do record, lease, actor, process and directory tell the same story? Pure.

Each of the five is kept by somebody else, and each can be lost on its own. Whoever gathers the view
looks at one after the other, so a disagreement may be a change that was under way: it counts when a
second look finds it again.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from raypool.phase import Phase

ACCOUNTED_FOR = frozenset({
    Phase.STARTING, Phase.STOPPING, Phase.BACKOFF, Phase.QUARANTINED, Phase.HIBERNATED,
})  # fmt: skip
"""Phases in which the supervisor knows why a business has no ready actor."""


class Kind(StrEnum):
    """What disagrees."""

    WANTED_WITHOUT_ACTOR = "wanted_without_actor"
    ACTOR_WITHOUT_RECORD = "actor_without_record"
    ACTOR_SILENT = "actor_silent"
    ACTOR_WITHOUT_LEASE = "actor_without_lease"
    ACTOR_WITHOUT_BROWSER = "actor_without_browser"
    LEASE_WITHOUT_HOLDER = "lease_without_holder"
    ORPHAN = "orphan"
    DEAD_DIRECTORY = "dead_directory"
    UNREADABLE_DIRECTORY = "unreadable_directory"
    TWO_ACTORS = "two_actors"
    TWO_BROWSERS = "two_browsers"
    CHECKPOINT_MISSING = "checkpoint_missing"


class Action(StrEnum):
    """A repair that can harm nobody."""

    KILL = "kill"
    """A browser whose owner is dead."""
    REMOVE = "remove"
    """The directory of a dead owner."""
    RELEASE = "release"
    """The lease of a dead holder."""


@dataclass(frozen=True)
class Repair:
    """What would make a finding go away."""

    action: Action
    node_id: str
    target: str
    """A directory, a pid, or the id of a lease's holder."""


@dataclass(frozen=True)
class Finding:
    """One disagreement."""

    kind: Kind
    business_id: str
    what: str
    repair: Repair | None = None
    """None: a person, or the supervisor, must decide."""


@dataclass(frozen=True)
class Record:
    """An active session, as Redis holds it."""

    business_id: str
    wanted: bool
    """It shall run in this cluster."""
    checkpoint_version: int = 0
    versions: tuple[int, ...] | None = None
    """Checkpoints that are really kept; None: nobody looked."""


@dataclass(frozen=True)
class HeldLease:
    """A lease, as Redis holds it."""

    business_id: str
    holder_id: str
    cluster: str
    node_id: str
    pid: int


@dataclass(frozen=True)
class Actor:
    """A named actor, as Ray lists it and as it describes itself."""

    business_id: str
    answered: bool = True
    holder_id: str = ""
    token: int = 0
    ready: bool = False
    """It says that it can act: neither starting nor off line."""
    node_id: str = ""


@dataclass(frozen=True)
class Local:
    """A directory, or a browser without one, as the node itself shows it."""

    node_id: str
    business_id: str | None
    """None: its ledger cannot be read."""
    directory: str | None = None
    """None: there is none any more."""
    token: int = 0
    holder_id: str = ""
    owner: str = "running"
    """running, stopped or dead."""
    browser: str = "running"
    """running, frozen or gone."""
    browser_pid: int | None = None


@dataclass(frozen=True)
class FleetView:
    """What all sides tell, gathered at about the same time."""

    records: tuple[Record, ...] | None = None
    """None: Redis was not asked."""
    leases: tuple[HeldLease, ...] = ()
    actors: tuple[Actor, ...] | None = None
    """None: Ray was not asked."""
    locals: tuple[Local, ...] = ()
    nodes: frozenset[str] = frozenset()
    """Nodes whose processes and directories were looked at."""
    living: frozenset[tuple[str, int]] = frozenset()
    """Node and pid of those holders of leases that run."""
    phases: Mapping[str, str] = field(default_factory=dict)
    """What the supervisor remembers of each business."""
    cluster: str = ""


def audit(view: FleetView) -> list[Finding]:
    """Return every disagreement in *view*, in a stable order. What nobody looked at agrees."""
    found = [*_local(view), *_doubles(view), *_holders(view)]
    if view.records is not None:
        found += _checkpoints(view.records)
        if view.actors is not None:
            found += [*_unfulfilled(view, view.records, view.actors), *_actors(view, view.actors)]
            found += _unwanted(view, view.records, view.actors)
    return sorted(found, key=lambda finding: (finding.business_id, finding.kind, finding.what))


def _local(view: FleetView) -> Iterator[Finding]:
    for seen in view.locals:
        where = f"on node {seen.node_id[:8]}" if seen.node_id else "on this machine"
        if seen.business_id is None:
            what = f"{seen.directory} {where} has no ledger that can be read"
            yield Finding(Kind.UNREADABLE_DIRECTORY, "", what)
        elif seen.directory is None:
            what = f"browser {seen.browser_pid} {where} runs without directory and owner"
            repair = Repair(Action.KILL, seen.node_id, str(seen.browser_pid))
            yield Finding(Kind.ORPHAN, seen.business_id, what, repair)
        elif seen.owner == "dead" and seen.browser != "gone":
            what = f"browser {seen.browser_pid} {where} has outlived its owner"
            repair = Repair(Action.KILL, seen.node_id, seen.directory)
            yield Finding(Kind.ORPHAN, seen.business_id, what, repair)
        elif seen.owner == "dead":
            what = f"{seen.directory} {where} belongs to nobody any more"
            repair = Repair(Action.REMOVE, seen.node_id, seen.directory)
            yield Finding(Kind.DEAD_DIRECTORY, seen.business_id, what, repair)


def _doubles(view: FleetView) -> Iterator[Finding]:
    running: dict[str, list[Local]] = defaultdict(list)
    for seen in view.locals:
        if seen.business_id and seen.owner != "dead" and seen.browser == "running":
            running[seen.business_id].append(seen)
    for business_id, browsers in running.items():
        if len(browsers) > 1:
            where = ", ".join(sorted(str(b.directory) for b in browsers))
            yield Finding(Kind.TWO_BROWSERS, business_id, f"several browsers run: {where}")
    names = [actor.business_id for actor in view.actors or ()]
    for business_id in {name for name in names if names.count(name) > 1}:
        yield Finding(Kind.TWO_ACTORS, business_id, "several actors have its name")


def _holders(view: FleetView) -> Iterator[Finding]:
    """Leases whose holder is provably dead: its own node was looked at, and nothing of it is there."""
    alive = {seen.holder_id for seen in view.locals if seen.owner != "dead"}
    alive |= {actor.holder_id for actor in view.actors or () if actor.answered}
    for lease in view.leases:
        provable = lease.pid > 0 and lease.node_id != "" and lease.node_id in view.nodes
        runs = lease.holder_id in alive or (lease.node_id, lease.pid) in view.living
        if provable and not runs:
            what = (
                f"its lease is held by process {lease.pid} of node {lease.node_id[:8]}: it is dead"
            )
            repair = Repair(Action.RELEASE, lease.node_id, lease.holder_id)
            yield Finding(Kind.LEASE_WITHOUT_HOLDER, lease.business_id, what, repair)


def _checkpoints(records: tuple[Record, ...]) -> Iterator[Finding]:
    for record in records:
        at = record.checkpoint_version
        if at and record.versions is not None and not any(v >= at for v in record.versions):
            kept = (
                f"the newest kept is {max(record.versions)}" if record.versions else "none is kept"
            )
            what = f"its record is at checkpoint {at}, but {kept}"
            yield Finding(Kind.CHECKPOINT_MISSING, record.business_id, what)


def _unfulfilled(
    view: FleetView, records: tuple[Record, ...], actors: tuple[Actor, ...]
) -> Iterator[Finding]:
    acted_for = {actor.business_id for actor in actors}
    elsewhere = {lease.business_id for lease in view.leases if lease.cluster != view.cluster}
    for record in records:
        phase = view.phases.get(record.business_id, "")
        missing = record.wanted and record.business_id not in acted_for | elsewhere
        if missing and phase not in ACCOUNTED_FOR:
            what = (
                f"its record wants it to run, but it has no actor; to the supervisor it is {phase}"
            )
            yield Finding(Kind.WANTED_WITHOUT_ACTOR, record.business_id, what)


def _unwanted(
    view: FleetView, records: tuple[Record, ...], actors: tuple[Actor, ...]
) -> Iterator[Finding]:
    wanted = {record.business_id for record in records if record.wanted}
    for actor in actors:
        stopping = view.phases.get(actor.business_id) == Phase.STOPPING
        if actor.business_id not in wanted and not stopping:
            what = "it has an actor, but no record wants it to run"
            yield Finding(Kind.ACTOR_WITHOUT_RECORD, actor.business_id, what)


def _actors(view: FleetView, actors: tuple[Actor, ...]) -> Iterator[Finding]:
    holders = {lease.business_id: lease.holder_id for lease in view.leases}
    browsers = {(b.business_id, b.token) for b in view.locals if b.browser != "gone"}
    for actor in actors:
        business_id = actor.business_id
        if not actor.answered:
            yield Finding(Kind.ACTOR_SILENT, business_id, "its actor does not answer")
        if not actor.ready:
            continue
        if holders.get(business_id) != actor.holder_id:
            what = "its actor says that it is ready, but does not hold the lease"
            yield Finding(Kind.ACTOR_WITHOUT_LEASE, business_id, what)
        if actor.node_id in view.nodes and (business_id, actor.token) not in browsers:
            what = "its actor says that it is ready, but its node shows no browser of it"
            yield Finding(Kind.ACTOR_WITHOUT_BROWSER, business_id, what)

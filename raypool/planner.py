"""Decide what to do next, from a picture of what is wanted and what is there. Nothing but data.

``plan`` is level-based: it is not told what happened, it looks at the world as it is. The same
picture always gives the same plan, whatever its order; a settled world gives an empty one.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from raypool.phase import Phase
from raypool.room import MOVABLE, OCCUPIED, Room, Seen, crowded, idle, short_of_memory

_STOPPABLE = frozenset({Phase.STARTING, Phase.READY, Phase.RECOVERING, Phase.UNKNOWN})


@dataclass(frozen=True)
class Want:
    """A business that shall have a live instance."""

    business_id: str
    session_id: str
    since: float = 0.0
    """When it was last asked for, seconds; the newest wish is served first."""
    awaited: bool = False
    """Somebody waits for it now: served before all others, and worth the place of an idle one."""


@dataclass(frozen=True)
class Start:
    """Make the next incarnation of a business's instance."""

    business_id: str
    session_id: str


@dataclass(frozen=True)
class Stop:
    """Stop an instance gracefully: checkpoint, browser gone, lease released, actor gone."""

    business_id: str


@dataclass(frozen=True)
class Hibernate:
    """The same, if nobody uses it at that moment; the next call wakes it."""

    business_id: str
    reason: str
    idle_for: float
    """Seconds that it must have been idle when its turn comes."""


@dataclass(frozen=True)
class Forget:
    """Drop what is remembered of an instance that is neither there nor wanted."""

    business_id: str


Action = Start | Stop | Hibernate | Forget


@dataclass(frozen=True)
class Plan:
    """What to do now, and when to look again."""

    actions: tuple[Action, ...] = ()
    requeue_after: float | None = None
    """Seconds until the picture is worth another look even if nothing happens; None: settled."""
    no_room: tuple[str, ...] = ()
    """Businesses that wait for a place."""


def plan(
    wanted: Iterable[Want],
    observed: Iterable[Seen],
    *,
    now: float,
    max_starting: int = 4,
    room: Room | None = None,
) -> Plan:
    """Return the actions that bring *observed* one step closer to *wanted*.

    Args:
        wanted: The businesses that shall run; of several wishes for one the newest counts.
        observed: The instances that are known, whatever their phase, one entry a business.
        now: Seconds on any clock that only moves forward.
        max_starting: How many starts may be under way at once.
        room: The nodes; None when their places are not counted.
    """
    oldest_first = sorted(wanted, key=lambda want: (want.since, want.session_id))
    wishes = {want.business_id: want for want in oldest_first}
    seen = {entry.business_id: entry for entry in observed}
    room = room or Room()
    stops = _stops(wishes, seen, room)
    due, waits = _due_starts(wishes, seen, now)
    places = room.places(seen.values())
    starting = sum(entry.phase is Phase.STARTING for entry in seen.values())
    now_due = due[: max(0, min(max_starting - starting, places))]
    late = due[len(now_due) :]
    without = tuple(want.business_id for want in due[max(0, places) :])
    rests = _rests(wishes, seen, room, _places_needed(due, places))
    starts = tuple(Start(want.business_id, want.session_id) for want in now_due)
    requeue = _requeue(waits + rests.waits, blocked=bool(late), busy=_busy(wishes, seen))
    return Plan(stops + rests.actions + starts, requeue, without)


def _places_needed(due: Iterable[Want], places: int) -> int:
    """Return how many must give way for all of the *due* that somebody waits for."""
    awaited = sum(want.awaited for want in due)
    return max(0, awaited - places) if awaited else 0


def _stops(
    wishes: Mapping[str, Want], seen: Mapping[str, Seen], room: Room
) -> tuple[Stop | Forget, ...]:
    unwanted = (_unwanted(seen[b]) for b in sorted(seen) if b not in wishes)
    leaving = (
        Stop(b)
        for b in sorted(seen)
        if b in wishes and seen[b].phase in MOVABLE and room.is_draining(seen[b].node_id)
    )
    return (*(action for action in unwanted if action), *leaving)


def _unwanted(entry: Seen) -> Stop | Forget | None:
    if entry.phase in _STOPPABLE:
        return Stop(entry.business_id)
    return None if entry.phase is Phase.STOPPING else Forget(entry.business_id)


def _due_starts(
    wishes: Mapping[str, Want], seen: Mapping[str, Seen], now: float
) -> tuple[list[Want], list[float]]:
    """Return the wishes whose start is due, the most pressing first, and how long others must wait."""
    due, waits = [], []
    for want in sorted(wishes.values(), key=lambda w: (not w.awaited, -w.since, w.business_id)):
        entry = seen.get(want.business_id)
        if entry is not None and (entry.phase in OCCUPIED or entry.phase is Phase.QUARANTINED):
            continue
        if entry is not None and entry.phase is Phase.BACKOFF and entry.retry_at > now:
            waits.append(entry.retry_at - now)
        else:
            due.append(want)
    return due, waits


@dataclass(frozen=True)
class _Rests:
    actions: tuple[Hibernate, ...]
    waits: list[float]
    """Seconds until one that is idle now will have been so for long enough."""


def _rests(wishes: Mapping[str, Want], seen: Mapping[str, Seen], room: Room, needed: int) -> _Rests:
    """Decide who is hibernated: idle for long enough, or idle longest where there is not enough."""
    here = [e for e in seen.values() if not room.is_draining(e.node_id)]
    leaving = [e for e in here if _leaves(e, wishes)]
    unneeded = (e for e in here if e.business_id in wishes and not wishes[e.business_id].awaited)
    left = _without(unneeded, leaving)
    tired, waits = idle(left)
    heavy = short_of_memory(_without(left, tired), room, [*leaving, *tired])
    resting = [*tired, *heavy]
    needed -= len(leaving) + len(resting)
    chosen = [
        *(Hibernate(e.business_id, "idle", e.idle_after) for e in tired),
        *(Hibernate(e.business_id, "memory is short", e.idle_for) for e in heavy),
        *(
            Hibernate(e.business_id, "its place is needed", e.idle_for)
            for e in crowded(_without(left, resting), needed)
        ),
    ]
    return _Rests(tuple(sorted(chosen, key=lambda rest: rest.business_id)), waits)


def _leaves(entry: Seen, wishes: Mapping[str, Want]) -> bool:
    """Tell whether the place that an instance has comes free already."""
    unwanted = entry.business_id not in wishes
    return entry.phase in OCCUPIED and (unwanted or entry.resting or entry.phase is Phase.STOPPING)


def _without(seen: Iterable[Seen], others: Iterable[Seen]) -> list[Seen]:
    excluded = {entry.business_id for entry in others}
    return [entry for entry in seen if entry.business_id not in excluded]


def _busy(wishes: Mapping[str, Want], seen: Mapping[str, Seen]) -> bool:
    """Tell whether something is under way that will change the picture by itself."""
    moving = {Phase.STARTING, Phase.STOPPING, Phase.UNKNOWN, Phase.RECOVERING}
    return any(entry.phase in moving for entry in seen.values()) or bool(
        seen.keys() - wishes.keys()
    )


def _requeue(waits: list[float], *, blocked: bool, busy: bool) -> float | None:
    times = [*waits, *([1.0] if blocked or busy else [])]
    return min(times) if times else None

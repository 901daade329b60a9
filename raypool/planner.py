"""Decide what to do next, from a picture of what is wanted and what is there. Nothing but data.

``plan`` is level-based: it is not told what happened, it looks at the world as it is. The same
picture always gives the same plan, whatever its order; a settled world gives an empty one.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from raypool.phase import Phase

_OCCUPIED = frozenset({
    Phase.STARTING, Phase.READY, Phase.RECOVERING, Phase.UNKNOWN, Phase.STOPPING,
})  # fmt: skip
"""Phases in which an actor may exist: another one of the same business must not be started."""
_STOPPABLE = frozenset({Phase.STARTING, Phase.READY, Phase.RECOVERING, Phase.UNKNOWN})


@dataclass(frozen=True)
class Want:
    """A business that shall have a live instance."""

    business_id: str
    session_id: str
    since: float = 0.0
    """When it was last asked for, seconds; the newest wish is served first."""


@dataclass(frozen=True)
class Seen:
    """One instance as it was last seen."""

    business_id: str
    phase: Phase
    retry_at: float = 0.0
    """In BACKOFF: when the next start is due, seconds on the clock of ``now``."""


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
class Forget:
    """Drop what is remembered of an instance that is neither there nor wanted."""

    business_id: str


Action = Start | Stop | Forget


@dataclass(frozen=True)
class Plan:
    """What to do now, and when to look again."""

    actions: tuple[Action, ...] = ()
    requeue_after: float | None = None
    """Seconds until the picture is worth another look even if nothing happens; None: settled."""


def plan(
    wanted: Iterable[Want], observed: Iterable[Seen], *, now: float, max_starting: int = 4
) -> Plan:
    """Return the actions that bring *observed* one step closer to *wanted*.

    Args:
        wanted: The businesses that shall run; of several wishes for one the newest counts.
        observed: The instances that are known, whatever their phase, one entry a business.
        now: Seconds on any clock that only moves forward.
        max_starting: How many starts may be under way at once.
    """
    oldest_first = sorted(wanted, key=lambda want: (want.since, want.session_id))
    wishes = {want.business_id: want for want in oldest_first}
    seen = {entry.business_id: entry for entry in observed}
    stops = tuple(_unwanted(seen[b]) for b in sorted(seen) if b not in wishes)
    due, waits = _due_starts(wishes, seen, now)
    room = max(0, max_starting - sum(s.phase is Phase.STARTING for s in seen.values()))
    starts = tuple(Start(want.business_id, want.session_id) for want in due[:room])
    actions = tuple(action for action in stops if action) + starts
    return Plan(actions, _requeue(waits, blocked=len(due) > room, busy=_busy(wishes, seen)))


def _unwanted(entry: Seen) -> Action | None:
    if entry.phase in _STOPPABLE:
        return Stop(entry.business_id)
    return None if entry.phase is Phase.STOPPING else Forget(entry.business_id)


def _due_starts(
    wishes: dict[str, Want], seen: dict[str, Seen], now: float
) -> tuple[list[Want], list[float]]:
    """Return the wishes whose start is due, newest first, and how long the others must wait."""
    due, waits = [], []
    for want in sorted(wishes.values(), key=lambda w: (-w.since, w.business_id)):
        entry = seen.get(want.business_id)
        if entry is not None and entry.phase in _OCCUPIED:
            continue
        if entry is not None and entry.phase is Phase.BACKOFF and entry.retry_at > now:
            waits.append(entry.retry_at - now)
        else:
            due.append(want)
    return due, waits


def _busy(wishes: dict[str, Want], seen: dict[str, Seen]) -> bool:
    """Tell whether something is under way that will change the picture by itself."""
    moving = {Phase.STARTING, Phase.STOPPING, Phase.UNKNOWN, Phase.RECOVERING}
    return any(entry.phase in moving for entry in seen.values()) or bool(
        seen.keys() - wishes.keys()
    )


def _requeue(waits: list[float], *, blocked: bool, busy: bool) -> float | None:
    times = [*waits, *([1.0] if blocked or busy else [])]
    return min(times) if times else None


def backoff(failures: int, chance: float, *, base: float = 1.0, most: float = 300.0) -> float:
    """Return the seconds to wait after *failures* failed starts in a row: jittered, bounded.

    Args:
        failures: 1 for the first.
        chance: A number in [0, 1) from the caller's dice.
        base: Upper bound after the first failure; it doubles with each.
        most: Upper bound for ever.
    """
    ceiling = min(most, base * 2.0 ** min(failures - 1, 20))
    return ceiling * (0.5 + chance / 2)

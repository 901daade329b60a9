"""What a supervisor remembers of one business's instance between two passes."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from actors.life import StopResult
from raypool.errors import ErrorCodes, RaypoolError, create_error
from raypool.model import Session, Supervision
from raypool.phase import Phase, transition
from raypool.room import Seen

PROGRESS_S = 60.0
"""A life that lasted this long, or that ran a command, was no part of a crash loop."""
_ALIVE = frozenset({Phase.READY, Phase.RECOVERING, Phase.UNKNOWN})


@dataclass
class Instance:
    """One business's instance. Times are seconds on the supervisor's clock."""

    business_id: str
    session_id: str = ""
    phase: Phase = Phase.ABSENT
    handle: Any = None
    holder_id: str = ""
    node_id: str = ""
    number: int = 0
    restarts: int = 0
    retry_at: float = 0.0
    ready_at: float = 0.0
    attempted_at: float = 0.0
    idle_after: float = 0.0
    labels: Mapping[str, str] = field(default_factory=dict)
    supersedes: str | None = None
    """Last holder, where its death is certain."""
    supervision: Supervision = field(default_factory=Supervision)
    """What outlives this supervisor, in the record."""
    vitals: Mapping[str, Any] = field(default_factory=dict)
    """What the actor last said of itself."""
    silent_since: float | None = None
    """Since when it has not answered."""
    locked_by: tuple[str, float] = ("", 0.0)
    """Holder in whose hands it was found, and since when."""
    resting: bool = False
    """Whether it was asked to hibernate and has not answered yet."""
    error: RaypoolError | None = None
    stopped: StopResult | None = None
    starting: asyncio.Task[None] | None = None
    """A start that is under way; a stop waits for it, so that nothing comes up behind its back."""

    def go(self, phase: Phase) -> None:
        """Change the phase, by the table."""
        self.phase = transition(self.phase, phase)

    def out(self, phase: Phase) -> None:
        """Note that it is gone; one that was told to stop meanwhile is its stop's business."""
        if self.phase is not Phase.STOPPING:
            self.go(phase)

    @property
    def seen(self) -> Seen:
        """What the planner sees of it."""
        return Seen(
            self.business_id,
            self.phase,
            self.retry_at,
            self.node_id,
            idle_for=float(self.vitals.get("idle_for", 0.0)),
            idle_after=self.idle_after,
            resting=self.resting,
        )

    @property
    def alive(self) -> bool:
        """Whether there is an actor that can be asked how it is."""
        return self.phase in _ALIVE and self.handle is not None

    def progressed(self, now: float) -> bool:
        """Tell whether this life has done anything."""
        return bool(self.vitals.get("commands")) or now - self.ready_at >= PROGRESS_S

    def used(self) -> None:
        """Take it that somebody uses it, until it says how long it has been idle."""
        self.vitals = {**self.vitals, "idle_for": 0.0}

    def heard(self, vitals: Mapping[str, Any]) -> None:
        """Take note of what the actor says of itself."""
        self.vitals, self.silent_since = vitals, None
        if self.phase in _ALIVE and vitals.get("phase") in {Phase.READY, Phase.RECOVERING}:
            self.go(vitals["phase"])

    def recall(self, session: Session, idle_after: float, now: float) -> None:
        """Take over what the record holds: counters that outlive supervisors, wishes, quarantine."""
        self.number = max(self.number, session.observed.incarnation)
        self.idle_after = idle_after if session.spec.idle_after is None else session.spec.idle_after
        self.labels = session.spec.labels
        kept = session.supervision
        if not self.attempted_at and self.supervision == Supervision():
            self.supervision = kept
        if self.phase is Phase.ABSENT and kept.quarantined:
            self.supervision = kept
            self.go(Phase.QUARANTINED)
        elif self.phase is Phase.ABSENT and not self.attempted_at and kept.retry_at:
            wait = (kept.retry_at - datetime.now(UTC)).total_seconds()
            if wait > 0:
                self.retry_at = now + wait
                self.go(Phase.BACKOFF)
        elif self.phase is Phase.QUARANTINED and not kept.quarantined:
            self.supervision, self.error = Supervision(), None
            self.go(Phase.ABSENT)

    def locked_for(self, holder_id: str, now: float) -> float:
        """Note who has it; return for how long it has been found in the same hands."""
        if self.locked_by[0] != holder_id:
            self.locked_by = (holder_id, now)
        return now - self.locked_by[1]

    def freed(self, now: float) -> None:
        """Try at once: somebody let go of the business that we found locked."""
        locked = self.error is not None and self.error.code is ErrorCodes.SESSION_LOCKED
        if self.phase is Phase.BACKOFF and locked:
            self.retry_at = now

    def give_way(self, until: float) -> None:
        """Do not start it before *until*, unless somebody here asks for it."""
        if self.phase is Phase.ABSENT:
            self.retry_at = until
            self.go(Phase.BACKOFF)

    def hurry(self) -> None:
        """Bring the next try forward, to a second after the last: a caller waits."""
        if self.phase is Phase.BACKOFF:
            self.retry_at = min(self.retry_at, self.attempted_at + 1.0)

    def fatal(self, asked_at: float) -> RaypoolError | None:
        """Return why a try begun after *asked_at* failed, if trying again cannot mend it."""
        if self.phase is Phase.QUARANTINED:
            return self._in_quarantine()
        tried = self.phase is Phase.BACKOFF and self.attempted_at >= asked_at
        return self.error if tried and self.error and not self.error.retryable else None

    def _in_quarantine(self) -> RaypoolError:
        why = self.supervision.quarantined
        return create_error(
            ErrorCodes.BROWSER_QUARANTINED,
            f"{self.business_id} is in quarantine: {why.message if why else 'it kept dying'}",
            {"business_id": self.business_id},
        )

    def late(self, timeout: float, *, no_room: bool) -> RaypoolError:
        """Return the error for a caller who waited *timeout* seconds."""
        about = {"business_id": self.business_id}
        if self.error is not None and self.error.code is ErrorCodes.SESSION_LOCKED:
            return self.error
        if no_room:
            return create_error(
                ErrorCodes.RATE_LIMIT_CAPACITY,
                f"there was no place for {self.business_id} within {timeout:g} s: "
                "every browser that may live is in use",
                about,
            )
        why = f" (last error: {self.error.message})" if self.error else ""
        return create_error(
            ErrorCodes.BROWSER_INSTANCE_NOT_READY,
            f"the instance of {self.business_id} was not ready within {timeout:g} s: "
            f"it is {self.phase}{why}",
            about,
        )

    def overview(self, now: float, *, no_room: bool) -> dict[str, Any]:
        """Return what people may see of it."""
        waits = self.phase is Phase.BACKOFF
        retry_at = datetime.now(UTC) + timedelta(seconds=self.retry_at - now)
        return {
            "business_id": self.business_id,
            "session_id": self.session_id,
            "phase": self.phase,
            "node_id": self.node_id,
            "incarnation": self.number,
            "restarts": self.restarts,
            "error": self.error.message if self.error else None,
            "no_room": no_room,
            "quarantined": self.supervision.quarantined,
            "next_retry_at": retry_at if waits else None,
        }

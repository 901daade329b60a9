"""What a supervisor remembers of one business's instance between two passes."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from actors.life import StopResult
from raypool.errors import ErrorCodes, RaypoolError, create_error
from raypool.phase import Phase, transition
from raypool.planner import Seen


@dataclass
class Instance:
    """One business's instance. Times are seconds on the supervisor's clock."""

    business_id: str
    session_id: str = ""
    phase: Phase = Phase.ABSENT
    handle: Any = None
    holder_id: str = ""
    number: int = 0
    restarts: int = 0
    failures: int = 0
    """Starts that failed in a row."""
    retry_at: float = 0.0
    ready_at: float = 0.0
    attempted_at: float = 0.0
    supersedes: str | None = None
    """Last holder, where its death is certain."""
    error: RaypoolError | None = None
    stopped: StopResult | None = None
    starting: asyncio.Task[None] | None = None
    """A start that is under way; a stop waits for it, so that nothing comes up behind its back."""

    def go(self, phase: Phase) -> None:
        """Change the phase, by the table."""
        self.phase = transition(self.phase, phase)

    @property
    def seen(self) -> Seen:
        """What the planner sees of it."""
        return Seen(self.business_id, self.phase, self.retry_at)

    def hurry(self) -> None:
        """Bring the next try forward, to a second after the last: a caller waits."""
        if self.phase is Phase.BACKOFF:
            self.retry_at = min(self.retry_at, self.attempted_at + 1.0)

    def fatal(self, asked_at: float) -> RaypoolError | None:
        """Return why a try begun after *asked_at* failed, if trying again cannot mend it."""
        tried = self.phase is Phase.BACKOFF and self.attempted_at >= asked_at
        return self.error if tried and self.error and not self.error.retryable else None

    def late(self, timeout: float) -> RaypoolError:
        """Return the error for a caller who waited *timeout* seconds."""
        if self.error is not None and self.error.code is ErrorCodes.SESSION_LOCKED:
            return self.error
        why = f" (last error: {self.error.message})" if self.error else ""
        return create_error(
            ErrorCodes.BROWSER_INSTANCE_NOT_READY,
            f"the instance of {self.business_id} was not ready within {timeout:g} s: "
            f"it is {self.phase}{why}",
            {"business_id": self.business_id},
        )

    def overview(self, now: float) -> dict[str, Any]:
        """Return what people may see of it."""
        waits = self.phase is Phase.BACKOFF
        retry_at = datetime.now(UTC) + timedelta(seconds=self.retry_at - now)
        return {
            "business_id": self.business_id,
            "session_id": self.session_id,
            "phase": self.phase,
            "incarnation": self.number,
            "restarts": self.restarts,
            "error": self.error.message if self.error else None,
            "next_retry_at": retry_at if waits else None,
        }

"""What is decided about a life before it begins, and what is said of it when it ends. Pure data."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from raypool.model import Holder


@dataclass(frozen=True)
class Incarnation:
    """One life of an instance, as the supervisor wants it."""

    business_id: str
    session_id: str
    holder: Holder
    number: int = 1
    labels: Mapping[str, str] = field(default_factory=dict)
    """What the node must carry."""
    supersedes: str | None = None
    """Holder whose death is certain: its lease may be taken over before it expires."""


@dataclass(frozen=True)
class StopResult:
    """How a graceful stop went."""

    business_id: str
    saved: bool
    checkpoint_version: int = 0
    why: str = ""
    """Why the last changes could not be saved."""


@dataclass(frozen=True)
class Death:
    """How an actor ended."""

    certain: bool
    """Its process is known to be gone; False: only its node or the way to it is."""
    reason: str

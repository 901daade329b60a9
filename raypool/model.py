"""The words of raypool as data: sessions, leases, checkpoints, outcomes. All of it frozen.

Times are aware UTC, durations seconds. Nothing here reads a clock, a file or the network: whoever
makes a record passes the time in.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Generic, TypeVar

from pydantic import Field, JsonValue

from raypool.phase import Phase
from raypool.spec import Frozen, SessionSpec

T = TypeVar("T")


class SessionStatus(StrEnum):
    """What a session is to its business; set by callers and by other services."""

    PENDING = "pending"
    """Known, never signed in."""
    ACTIVE = "active"
    """The one session of the business that is used. At most one."""
    INACTIVE = "inactive"
    """Kept, not used: another session took its place."""
    ERROR = "error"
    """Set aside by whoever found it unusable."""


class Desired(StrEnum):
    """What the fleet shall make true for a session."""

    RUNNING = "running"
    STOPPED = "stopped"
    HIBERNATED = "hibernated"
    """No process is wanted, but a call wakes it."""


class SignIn(StrEnum):
    """What the last look at the site said."""

    SIGNED_IN = "signed_in"
    SIGNED_OUT = "signed_out"
    NEEDS_HUMAN = "needs_human"
    UNKNOWN = "unknown"


class Condition(Frozen):
    """One thing that people should know about an instance."""

    type: str
    reason: str
    message: str
    since: datetime


class Observed(Frozen):
    """What the owner of an instance last said of it. A report, never the truth about processes."""

    phase: Phase = Phase.ABSENT
    cluster: str | None = None
    node_id: str | None = None
    pid: int | None = None
    browser_pid: int | None = None
    incarnation: int = 0
    worked: bool = False
    """Whether this incarnation has ended a command: its death is no part of a crash loop then."""
    sign_in: SignIn = SignIn.UNKNOWN
    conditions: tuple[Condition, ...] = ()


class Supervision(Frozen):
    """What the supervisor must remember of a session across its own death."""

    failures: int = 0
    """Failed starts in a row."""
    deaths: tuple[datetime, ...] = ()
    retry_at: datetime | None = None
    quarantined: Condition | None = None
    """Why it is not started any more until a person releases it."""


class Session(Frozen):
    """The durable record of one signed-in identity of a business."""

    id: str
    business_id: str
    email: str | None = None
    status: SessionStatus = SessionStatus.ACTIVE
    desired: Desired = Desired.STOPPED
    assigned_cluster: str | None = None
    """Only this cluster's supervisor may run it; None: any."""
    spec: SessionSpec = Field(default_factory=SessionSpec)
    version: int = 1
    """Grows with each change of the record; pass it as ``expected_version`` to change what you read."""
    fencing_token: int = 0
    """Token of the newest owner: writes with a smaller one are refused."""
    checkpoint_version: int = 0
    last_good_version: int = 0
    created_at: datetime
    updated_at: datetime
    last_activity: datetime
    expires_at: datetime
    ttl: float
    observed: Observed = Field(default_factory=Observed)
    supervision: Supervision = Field(default_factory=Supervision)


class Holder(Frozen):
    """Who holds a lease: one incarnation, never a name that comes back."""

    id: str
    """Unique for the attempt to acquire: the same holder may repeat the request, nobody else."""
    kind: str = "instance"
    cluster: str = ""
    node_id: str = ""
    pid: int = 0


class Lease(Frozen):
    """The right to act for a business for a while."""

    business_id: str
    token: int
    """Fencing token: only grows for a business, however the leases before it ended."""
    holder: Holder
    ttl: float
    since: datetime


class AuditEntry(Frozen):
    """What a person did to a business, and why."""

    at: datetime
    action: str
    business_id: str
    by: str
    reason: str
    detail: dict[str, JsonValue] = Field(default_factory=dict)


class CheckpointMeta(Frozen):
    """What the maker of a checkpoint knows about it."""

    reasons: tuple[str, ...] = ()
    node_id: str = ""
    sign_in: SignIn = SignIn.UNKNOWN
    warnings: tuple[str, ...] = ()
    chosen: bool = False
    """A person asked for this state: the next browser starts from it whatever was seen of it."""
    passing: bool = False
    """Saved while things change, of interest only until the next version is there."""
    unverified: bool = False
    """Its cookies changed since somebody last looked, or the site did not answer: the next browser
    starts from it, but it is no last good version before it was looked at."""


class CheckpointInfo(Frozen):
    """One acknowledged version of a session's state."""

    version: int
    created_at: datetime
    size: int
    """Bytes of state, before compression."""
    signed_in: bool | None
    """None: nobody looked."""
    warnings: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    fencing_token: int = 0
    node_id: str = ""
    chosen: bool = False
    """Whether a person asked for this state."""


@dataclass(frozen=True)
class Checkpoint:
    """A version with its parts, decrypted. Its ``repr`` shows names and sizes, never contents."""

    info: CheckpointInfo
    parts: Mapping[str, bytes]

    def __repr__(self) -> str:
        sizes = {name: len(data) for name, data in sorted(self.parts.items())}
        return f"Checkpoint(version={self.info.version}, parts={sizes})"


class ItemChanges(Frozen):
    """How many cookies, items of localStorage, records or files became what."""

    added: int
    changed: int
    removed: int


class PartChange(Frozen):
    """How one storage of two versions differs: by name and numbers, never by content."""

    name: str
    """Of the part; of storage that is spread over parts what their names begin with."""
    title: str
    """What people call it: ``localStorage of https://e.com``."""
    before: int | None
    """Bytes of it in the first version; None: it is not there."""
    after: int | None
    """Bytes of it in the second version; None: it is not there."""
    items: ItemChanges | None = None
    """None: it has none that could be counted."""

    @property
    def kind(self) -> str:
        """``added``, ``removed`` or ``changed``."""
        if self.before is None:
            return "added"
        return "removed" if self.after is None else "changed"


class VersionDiff(Frozen):
    """What became of the state between two versions of one session."""

    before: int
    after: int
    changes: tuple[PartChange, ...]
    """By name."""
    unchanged: int
    """How many storages have the same content in both."""


class InstanceStatus(Frozen):
    """All that ``status()`` tells of one business."""

    business_id: str
    session_id: str
    phase: Phase
    desired: Desired
    sign_in: SignIn
    cluster: str | None
    node_id: str | None
    pid: int | None
    browser_pid: int | None
    incarnation: int
    fencing_token: int
    checkpoint_version: int
    last_good_version: int
    last_activity: datetime
    expires_at: datetime
    restarts: int
    memory_bytes: int | None
    conditions: tuple[Condition, ...]
    next_retry_at: datetime | None


@dataclass(frozen=True)
class Outcome(Generic[T]):
    """How one business fared in a ``map``."""

    business_id: str
    ok: bool
    value: T | None = None
    error: Exception | None = None
    attempts: int = 1
    seconds: float = 0.0

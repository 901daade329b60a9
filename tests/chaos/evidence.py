"""What a run leaves behind to be judged: its history, what the sites say, and what still runs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tests.chaos.history import EVERYWHERE, Event, Kind
from tests.sites.rotating.server import Log
from tests.sites.server import Counters


@dataclass(frozen=True)
class Account:
    """A business's account at the allauth site, as the site saw it after the sign-in and at the end."""

    business: str
    email: str
    at_start: Counters
    at_end: Counters


@dataclass(frozen=True)
class RotatingAccount:
    """A business's account at the rotating site, as the site saw it at the end."""

    business: str
    email: str
    log: Log


@dataclass(frozen=True)
class Final:
    """What was left when everything was closed."""

    accounts: tuple[Account, ...] = ()
    rotating: tuple[RotatingAccount, ...] = ()
    orphans: int = 0
    """Browsers of the run's businesses."""
    processes: tuple[str, ...] = ()
    """Other processes of the run's fleets."""
    planned: tuple[str, ...] = ()
    """Faults that had to fire."""
    skipped: Mapping[str, str] = field(default_factory=dict)
    """Faults that this machine does not allow, and why."""

    def __add__(self, other: "Final") -> "Final":
        return Final(
            self.accounts + other.accounts,
            self.rotating + other.rotating,
            self.orphans + other.orphans,
            self.processes + other.processes,
            self.planned + other.planned,
            {**self.skipped, **other.skipped},
        )


@dataclass(frozen=True)
class Run:
    """All the evidence, and ways to look at it."""

    events: Sequence[Event]
    final: Final

    def of(self, kind: Kind, f: str | None = None, business: str | None = None) -> list[Event]:
        """Return the events of a kind, of an operation or fault, of a business."""
        return [
            e
            for e in self.events
            if e.kind is kind and f in {None, e.f} and business in {None, e.business}
        ]

    def about(self, business: str) -> Iterator[Event]:
        """Yield what concerns a business, faults of the whole fleet included."""
        return (e for e in self.events if e.business in {business, EVERYWHERE})

    def fired(self) -> list[Event]:
        """Return the faults that happened."""
        return [e for e in self.of(Kind.FAULT) if e.value]

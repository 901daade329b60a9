"""May a browser go on running? The judgement of a node's janitor over one incarnation. Pure.

The owner of a browser takes it off line by itself when its lease runs out. The janitor is for owners
that are dead, stopped, or do not do what they should.
"""

from dataclasses import dataclass
from enum import StrEnum

GRACE_S = 0.5
"""An owner that runs freezes its browser itself at the deadline; this long it may take."""


class OwnerState(StrEnum):
    """What an owner's process does."""

    RUNNING = "running"
    STOPPED = "stopped"
    DEAD = "dead"


class BrowserState(StrEnum):
    """What the processes of a browser do."""

    RUNNING = "running"
    FROZEN = "frozen"
    GONE = "gone"


@dataclass(frozen=True)
class Found:
    """One incarnation, as the patrol finds it."""

    owner: OwnerState
    browser: BrowserState
    deadline: float | None = None
    """Moment at which the owner has no right any more; None: none was noted yet."""
    condemned: bool = False
    """The supervisor wanted its end."""


@dataclass(frozen=True)
class Keep:
    """Nothing is to be done."""


@dataclass(frozen=True)
class Kill:
    """The browser must go, and with a dead owner the directory too."""

    reason: str


def verdict(found: Found, now: float) -> Keep | Kill:
    """Judge one incarnation.

    Args:
        found: What it looks like.
        now: On the clock of the deadline.
    """
    if found.owner is OwnerState.DEAD:
        return Kill("its owner is dead")
    if found.condemned:
        return Kill("its supervisor gave it up")
    if found.browser is BrowserState.GONE or found.deadline is None or now <= found.deadline:
        return Keep()
    if found.owner is OwnerState.STOPPED:
        return Kill("its owner is stopped and past its deadline")
    if found.browser is BrowserState.RUNNING and now > found.deadline + GRACE_S:
        return Kill("it ran on past its owner's deadline")
    return Keep()

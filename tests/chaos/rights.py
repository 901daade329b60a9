"""Rule: whoever has no right to act any more does nothing, and gets back what is still his.

A page that pings its site all the time shows a browser that runs on by itself, whatever became of
the process that owns it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.chaos.evidence import RotatingAccount, Run
from tests.chaos.history import Event, Kind
from tests.chaos.ownership import LATE_S

PAUSED, OUTAGE = "paused_trial", "outage_trial"


@dataclass(frozen=True)
class Paused:
    """What was seen when an owner was stopped, and let go on after several lease times."""

    stopped_at: float
    """Monotonic seconds."""
    lease: float
    first_pid: int
    second_pid: int | None
    """None: no second owner worked."""
    went_on: bool
    """Whether the first was there to be let go on; if not, somebody had killed it for being stuck."""
    written: str
    """What the second owner wrote, acknowledged."""
    read: Any
    """What was there after the first had gone on."""


@dataclass(frozen=True)
class Outage:
    """What was seen of a business when Redis was away for a while."""

    cut_at: float
    """Monotonic seconds, as *mended_at*."""
    mended_at: float
    lease: float
    same_browser: bool
    """Whether Chromium is the process that it was."""
    remembered: bool
    """Whether the document itself is the one that it was."""


def violations(run: Run) -> list[str]:
    """Return what the trials of a run show that must not be."""
    logs = {account.business: account for account in run.final.rotating}
    found: list[str] = []
    for event in run.of(Kind.OK, PAUSED):
        found += _paused(event, logs[event.business])
    for event in run.of(Kind.OK, OUTAGE):
        found += _outage(event, logs[event.business])
    return found


def _paused(event: Event, account: RotatingAccount) -> Iterator[str]:
    trial = Paused(**event.value)
    deadline = trial.stopped_at + trial.lease + LATE_S
    for pings in account.log.pings.values():
        late = [at for at in pings if at > deadline]
        if pings[0] < trial.stopped_at and late:
            yield (
                f"{event.business}: the page of a paused owner pinged {len(late)} times after its "
                f"deadline, until {late[-1] - trial.stopped_at:.2f} s after the pause"
            )
    if trial.second_pid in {None, trial.first_pid}:
        yield f"{event.business}: no second owner worked while the first was paused"
    elif trial.read != {"cookie": trial.written, "local": trial.written}:
        yield f"{event.business}: {trial.written} of the second was then read as {trial.read}"


def _outage(event: Event, account: RotatingAccount) -> Iterator[str]:
    trial = Outage(**event.value)
    deadline = trial.cut_at + trial.lease + LATE_S
    for pings in account.log.pings.values():
        late = [at for at in pings if deadline < at < trial.mended_at]
        if late:
            yield (
                f"{event.business}: its page pinged {len(late)} times while nobody could renew its "
                f"lease, until {late[-1] - trial.cut_at:.2f} s after the cut"
            )
    if not trial.same_browser:
        yield f"{event.business}: the outage cost it its Chromium"
    elif not trial.remembered:
        yield f"{event.business}: the outage cost it its page"

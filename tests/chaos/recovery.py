"""Rule: every planned fault fires, everybody gets over it, nobody is told more than needed, and
nothing is left in the end.
"""

from tests.chaos.evidence import Run
from tests.chaos.history import Kind
from tests.chaos.ownership import STALE_WRITE

READY = "ready"
NOT_SAVED = "STORAGE_NOT_SAVED"
"""The one final error that a fault may cause: it ran, and running it again would do it twice. The
caller is told to checkpoint instead."""


def faults(run: Run) -> list[str]:
    """Return each planned fault that did not fire, and each that was not got over."""
    happened = {event.f for event in run.fired()}
    missing = [f for f in dict.fromkeys(run.final.planned) if f not in happened]
    found = [f"{f} was planned and did not fire" for f in missing]
    over = {event.op for event in run.of(Kind.RECOVERED)}
    reads = run.of(Kind.OK, "read")
    for fault in run.of(Kind.FAULT):
        if not fault.value and fault.f not in missing:
            found.append(f"{fault.f} did not fire at {fault.business}")
        elif (
            fault.value
            and fault.op not in over
            and not any(r.business == fault.business and r.at > fault.at for r in reads)
        ):
            found.append(f"{fault.business} did not recover from {fault.f}")
    return found


def changed_browsers(run: Run) -> list[str]:
    """Return each business that lost its browser to a fault that must not disturb any."""
    return [
        f"{event.f} cost {', '.join(event.value['changed'])} the browser"
        for event in run.of(Kind.RECOVERED)
        if event.value["changed"]
    ]


def not_ready(run: Run) -> list[str]:
    """Return each business that was not ready again in the end."""
    last = {e.business: e for e in run.events if e.f == READY and e.kind is not Kind.INVOKE}
    return [
        f"{business} is not ready in the end: {event.value}"
        for business, event in last.items()
        if event.kind is not Kind.OK or event.value != "ready"
    ]


def errors(run: Run) -> list[str]:
    """Return each error that told its caller not to try again."""
    return [
        f"{e.business}: {e.f} failed for good: {e.value['error']}"
        for e in run.of(Kind.FAIL)
        if e.f != STALE_WRITE and not e.value["retryable"] and e.value["code"] != NOT_SAVED
    ]


def remains(run: Run) -> list[str]:
    """Return what is left of the fleet, and what the allauth site saw of another device."""
    found = [f"left running: {process}" for process in run.final.processes]
    for account in run.final.accounts:
        if account.at_end.devices != 1:
            found.append(f"{account.business}: {account.at_end.devices} devices instead of 1")
        if account.at_end.notices != account.at_start.notices:
            found.append(f"{account.business}: the owner was sent notices meanwhile")
    return found

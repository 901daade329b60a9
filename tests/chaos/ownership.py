"""Rule: one owner a business. Two browsers never act for it, and an old one writes nothing."""

from collections.abc import Iterator, Sequence
from itertools import combinations, pairwise

from tests.chaos.evidence import RotatingAccount, Run
from tests.chaos.history import Kind

STALE_WRITE = "stale_write"
REFUSED = "SESSION_LEASE_LOST"
NEW_INCARNATION = {"kill-actor"}
"""Faults after which another incarnation must hold the business."""
LATE_S = 0.5
"""A ping that was sent in time may be written down this much later on a busy machine."""
LATE_PINGS = 3


def double_owners(run: Run) -> list[str]:
    """Return each sign that two processes, or two browsers, acted for a business at once."""
    found = list(_overlapping_runs(run))
    for account in run.final.rotating:
        found += _returning_actors(account)
        found += _two_documents(account)
    return found


def _overlapping_runs(run: Run) -> Iterator[str]:
    """Runs of one business that overlapped in time in two processes."""
    witnessed = [e for e in run.of(Kind.OK) if isinstance(e.value, dict) and "pid" in e.value]
    for business in sorted({e.business for e in witnessed}):
        runs = [e.value for e in witnessed if e.business == business]
        first, *later = sorted(runs, key=lambda r: r["began"])
        for other in later:
            if other["began"] < first["ended"] and other["pid"] != first["pid"]:
                yield f"{business}: {first['pid']} and {other['pid']} ran at once"
            first = max(first, other, key=lambda r: r["ended"])


def _returning_actors(account: RotatingAccount) -> Iterator[str]:
    """Processes that acted at the site after another one had taken their place."""
    order = [action.by for action in account.log.actions]
    changes = [order[:1], *([b] for a, b in pairwise(order) if a != b)]
    owners = [by for change in changes for by in change]
    for back in sorted({by for by in owners if owners.count(by) > 1}):
        yield f"{account.business}: {back} acted again after another owner had: {owners}"


def _two_documents(account: RotatingAccount) -> Iterator[str]:
    """Documents that pinged at once: there is one tab, so they were in two browsers."""
    documents = sorted(account.log.pings.items(), key=lambda item: item[1][0])
    for (old, before), (new, after) in combinations(documents, 2):
        if _late(before, after[0]):
            yield (
                f"{account.business}: document {old} pinged until {before[-1]:.2f}, though {new} "
                f"had begun at {after[0]:.2f}"
            )


def _late(pings: Sequence[float], since: float) -> bool:
    return sum(at > since + LATE_S for at in pings) >= LATE_PINGS


def stale_writes(run: Run) -> list[str]:
    """Return each write with an old token that was accepted."""
    accepted = run.of(Kind.OK, STALE_WRITE)
    return [f"{event.business}: a write with a stale token was accepted" for event in accepted]


def untried_writes(run: Run) -> list[str]:
    """Return each new incarnation whose predecessor's token was not tried, or not to the end."""
    found = [
        f"{event.business}: a stale write was not tried: {event.value['error']}"
        for event in run.of(Kind.FAIL, STALE_WRITE)
        if event.value["code"] != REFUSED
    ]
    for fault in run.fired():
        tried = run.of(Kind.INVOKE, STALE_WRITE, fault.business)
        if fault.f in NEW_INCARNATION and not any(attempt.at > fault.at for attempt in tried):
            found.append(f"{fault.business}: no new incarnation was seen after {fault.f}")
    return found

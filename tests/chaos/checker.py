"""Judge a run: a pure function from its history and what was left at its end."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.chaos.history import Event, Kind
from tests.sites.server import Counters

STALE_WRITE = "stale_write"
REFUSED = "SESSION_LEASE_LOST"
NEW_INCARNATION = {"kill-actor"}
"""Faults after which another incarnation must hold the business."""


@dataclass(frozen=True)
class Account:
    """A business's account, as the site saw it after the sign-in and at the end."""

    business: str
    email: str
    at_start: Counters
    at_end: Counters


@dataclass(frozen=True)
class Final:
    """What was left when everything was closed."""

    accounts: tuple[Account, ...] = ()
    orphans: int = 0
    """Browsers of the run's businesses."""
    processes: tuple[str, ...] = ()
    """Other processes of the run's fleets."""


@dataclass(frozen=True)
class Report:
    """The numbers of a run; the contract's JSON line."""

    trials: int
    faults_fired: dict[str, int]
    acknowledged_lost: int
    double_owners: int
    stale_writes_accepted: int
    orphans: int
    signed_out: int
    p50_recovery_s: float | None
    p95_recovery_s: float | None


@dataclass(frozen=True)
class Verdict:
    """A report, and one sentence for each promise that was broken."""

    report: Report
    violations: list[str]


def check(events: Sequence[Event], final: Final) -> Verdict:
    """Return what *events* and *final* say about the promises."""
    found = _Findings(events, final)
    recovered = [float(e.value) for e in events if e.kind is Kind.RECOVERED]
    faults = [e for e in events if e.kind is Kind.FAULT and e.value]
    report = Report(
        trials=len({e.op for e in faults}),
        faults_fired=dict(sorted(Counter(e.f for e in faults).items())),
        acknowledged_lost=found.lost_posts() + found.lost_writes(),
        double_owners=found.double_owners(),
        stale_writes_accepted=found.stale_writes(),
        orphans=found.orphans(),
        signed_out=found.signed_out(),
        p50_recovery_s=percentile(recovered, 0.5),
        p95_recovery_s=percentile(recovered, 0.95),
    )
    found.faults()
    found.errors()
    found.remains()
    return Verdict(report, found.violations)


def percentile(values: Iterable[float], share: float) -> float | None:
    """Return the nearest-rank percentile, None of nothing."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else None


@dataclass
class _Findings:
    """Each method looks for one kind of violation, notes it, and counts it."""

    events: Sequence[Event]
    final: Final
    violations: list[str] = field(default_factory=list)

    def lost_posts(self) -> int:
        """Acknowledged posts that the site does not have; also those it has more often than asked."""
        lost = 0
        for account in self.final.accounts:
            there = account.at_end.posts - account.at_start.posts
            asked = len(self._of(Kind.INVOKE, "publish", account.business))
            acknowledged = len(self._of(Kind.OK, "publish", account.business))
            if there < acknowledged:
                lost += acknowledged - there
                self._note(f"{account.business}: {acknowledged} posts acknowledged, {there} there")
            if there > asked:
                self._note(f"{account.business}: {asked} posts asked for, {there} there")
        return lost

    def lost_writes(self) -> int:
        """Acknowledged values that were not there at the next successful read, or never read."""
        lost = 0
        for written in self._of(Kind.OK, "write"):
            reads = self._of(Kind.OK, "read", written.business)
            after = next((r for r in reads if r.at > written.at), None)
            seen = after.value["value"] if after else None
            wanted = written.value["value"]
            if seen != {"cookie": wanted, "local": wanted}:
                lost += 1
                self._note(f"{written.business}: {wanted} was acknowledged, then read as {seen}")
        return lost

    def double_owners(self) -> int:
        """Runs of one business that overlapped in time in two processes."""
        doubles = 0
        witnessed = [e for e in self.events if e.kind is Kind.OK and "pid" in (e.value or {})]
        for business in sorted({e.business for e in witnessed}):
            runs = [e.value for e in witnessed if e.business == business]
            first, *later = sorted(runs, key=lambda run: run["began"])
            for run in later:
                if run["began"] < first["ended"] and run["pid"] != first["pid"]:
                    doubles += 1
                    self._note(f"{business}: {first['pid']} and {run['pid']} ran at once")
                first = max(first, run, key=lambda run: run["ended"])
        return doubles

    def stale_writes(self) -> int:
        """Writes with an old token that were accepted; each new incarnation must be tried."""
        accepted = self._of(Kind.OK, STALE_WRITE)
        for event in accepted:
            self._note(f"{event.business}: a write with a stale token was accepted")
        for event in self._of(Kind.FAIL, STALE_WRITE):
            if event.value["code"] != REFUSED:
                self._note(f"{event.business}: a stale write was not tried: {event.value['error']}")
        for fault in self.events:
            if fault.kind is Kind.FAULT and fault.f in NEW_INCARNATION and fault.value:
                tried = self._of(Kind.INVOKE, STALE_WRITE, fault.business)
                if not any(attempt.at > fault.at for attempt in tried):
                    self._note(f"{fault.business}: no new incarnation was seen after {fault.f}")
        return len(accepted)

    def orphans(self) -> int:
        """Browsers that outlived their fleet."""
        if self.final.orphans:
            self._note(f"{self.final.orphans} browsers are left")
        return self.final.orphans

    def signed_out(self) -> int:
        """Businesses that lost their sign-in: asked who they are, or told by what the site counts."""
        out = 0
        for account in self.final.accounts:
            answers = [e.value["value"] for e in self._of(Kind.OK, "who", account.business)]
            strangers = [answer for answer in answers if answer != account.email]
            refused = [e for e in self._of(Kind.FAIL, "publish", account.business) if _refused(e)]
            again = account.at_end.sign_ins - 1
            if strangers or refused or again or not answers:
                out += 1
                self._note(
                    f"{account.business}: signed in as {strangers or answers[-1:]}, refused "
                    f"{len(refused)} times, signed in again {again} times"
                )
        return out

    def faults(self) -> None:
        """Every planned fault fired, and was recovered from."""
        recovered = {e.op for e in self.events if e.kind is Kind.RECOVERED}
        reads = self._of(Kind.OK, "read")
        for fault in (e for e in self.events if e.kind is Kind.FAULT):
            if not fault.value:
                self._note(f"{fault.f} did not fire at {fault.business}")
            elif fault.op not in recovered and not any(
                r.business == fault.business and r.at > fault.at for r in reads
            ):
                self._note(f"{fault.business} did not recover from {fault.f}")

    def errors(self) -> None:
        """Whoever is disturbed by a fault is told something that is worth another try."""
        for event in (e for e in self.events if e.kind is Kind.FAIL and e.f != STALE_WRITE):
            if not event.value["retryable"]:
                self._note(f"{event.business}: {event.f} failed for good: {event.value['error']}")

    def remains(self) -> None:
        """Nothing of the fleet is left, and the site saw one device without news of another."""
        for process in self.final.processes:
            self._note(f"left running: {process}")
        for account in self.final.accounts:
            if account.at_end.devices != 1:
                self._note(f"{account.business}: {account.at_end.devices} devices instead of 1")
            if account.at_end.notices != account.at_start.notices:
                self._note(f"{account.business}: the owner was sent notices meanwhile")

    def _of(self, kind: Kind, f: str, business: str | None = None) -> list[Event]:
        return [
            e for e in self.events if e.kind is kind and e.f == f and business in {None, e.business}
        ]

    def _note(self, violation: str) -> None:
        self.violations.append(violation)


def _refused(event: Event) -> bool:
    value: dict[str, Any] = event.value
    return "PermissionError" in value["error"]

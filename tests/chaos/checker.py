"""Judge a run: a pure function from its history and what was left at its end."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tests.chaos import durability, ownership, recovery, rights, signins
from tests.chaos.evidence import Final, Run
from tests.chaos.history import Event, Kind


@dataclass(frozen=True)
class Report:
    """The numbers of a run; the contract's JSON line, and more after it."""

    trials: int
    faults_fired: dict[str, int]
    acknowledged_lost: int
    double_owners: int
    stale_writes_accepted: int
    orphans: int
    signed_out: int
    p50_recovery_s: float | None
    p95_recovery_s: float | None
    recovery: dict[str, dict[str, Any]]
    """For each fault: ``n``, ``p50`` and ``p95`` in seconds."""
    sign_ins_excused: int
    skipped: dict[str, str]
    """Faults that could not be tried here, and why."""
    violations: int


@dataclass(frozen=True)
class Verdict:
    """A report, and one sentence for each promise that was broken."""

    report: Report
    violations: list[str]


def check(events: Sequence[Event], final: Final) -> Verdict:
    """Return what *events* and *final* say about the promises."""
    run = Run(events, final)
    lost = durability.lost(run)
    doubles = [*ownership.double_owners(run), *rights.violations(run)]
    stale, out = ownership.stale_writes(run), signins.signed_out(run)
    orphans = [f"{final.orphans} browsers are left"] if final.orphans else []
    violations = [
        *(*lost, *doubles, *stale, *out, *orphans),
        *durability.surplus(run),
        *ownership.untried_writes(run),
        *(*recovery.faults(run), *recovery.changed_browsers(run), *recovery.not_ready(run)),
        *(*recovery.errors(run), *recovery.remains(run)),
    ]
    times = [e.value["seconds"] for e in run.of(Kind.RECOVERED)]
    report = Report(
        trials=len({e.op for e in run.fired()}),
        faults_fired=dict(sorted(Counter(e.f for e in run.fired()).items())),
        acknowledged_lost=len(lost),
        double_owners=len(doubles),
        stale_writes_accepted=len(stale),
        orphans=final.orphans,
        signed_out=len(out),
        p50_recovery_s=percentile(times, 0.5),
        p95_recovery_s=percentile(times, 0.95),
        recovery=_recovery(run),
        sign_ins_excused=signins.sign_ins_excused(run),
        skipped=dict(final.skipped),
        violations=len(violations),
    )
    return Verdict(report, violations)


def percentile(values: Iterable[float], share: float) -> float | None:
    """Return the nearest-rank percentile, None of nothing."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else None


def _recovery(run: Run) -> dict[str, dict[str, Any]]:
    times: dict[str, list[float]] = {}
    for event in run.of(Kind.RECOVERED):
        times.setdefault(event.f, []).append(event.value["seconds"])
    return {
        f: {"n": len(taken), "p50": percentile(taken, 0.5), "p95": percentile(taken, 0.95)}
        for f, taken in sorted(times.items())
    }

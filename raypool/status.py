"""What ``status()`` tells of a business, laid together from those who know something of it. Pure."""

from collections.abc import Mapping
from datetime import UTC
from typing import Any

from raypool.model import Condition, Desired, InstanceStatus, Lease, Observed, Session, SignIn
from raypool.phase import Phase

NOT_RUNNING = "NotRunning"
NEEDS_HUMAN = "NeedsHuman"
_RUNS = frozenset({Phase.READY, Phase.RECOVERING})
_GONE = frozenset({Phase.ABSENT, Phase.BACKOFF, Phase.HIBERNATED, Phase.QUARANTINED})


def status_of(
    session: Session,
    known: Mapping[str, Any],
    live: Mapping[str, Any],
    lease: Lease | None = None,
) -> InstanceStatus:
    """Lay what the instance says over what the supervisor remembers over what the record holds.

    Args:
        session: The record.
        known: The supervisor's row; empty when it has none.
        live: What the instance said; empty when it did not answer.
        lease: Who holds the business, where that was asked.
    """
    observed = session.observed
    phase = live.get("phase") or known.get("phase") or observed.phase
    if not known and not live and lease is None:
        phase = Phase.ABSENT  # whatever it last said: nobody holds it, nobody knows it
    phase = _settled(phase, session, known)
    why = _why_not(phase, session, known, lease) if phase not in _RUNS else None
    conditions = live.get("conditions", _lasting(phase, observed))
    return InstanceStatus(
        business_id=session.business_id,
        session_id=session.id,
        phase=phase,
        desired=session.desired,
        sign_in=live.get("sign_in") or _last_known(phase, observed),
        cluster=observed.cluster,
        node_id=live.get("node_id", observed.node_id),
        pid=live.get("pid"),
        browser_pid=live.get("browser_pid"),
        incarnation=known.get("incarnation", observed.incarnation),
        fencing_token=session.fencing_token,
        checkpoint_version=session.checkpoint_version,
        last_good_version=session.last_good_version,
        last_activity=session.last_activity,
        expires_at=session.expires_at,
        restarts=known.get("restarts", 0),
        memory_bytes=live.get("memory_bytes"),
        conditions=(*conditions, *([why] if why else []), *_off_line(session, live)),
        next_retry_at=known.get("next_retry_at"),
    )


def _last_known(phase: Phase, observed: Observed) -> SignIn:
    """Return what holds without a browser, too: only that a person is needed."""
    lasts = phase not in _GONE or observed.sign_in is SignIn.NEEDS_HUMAN
    return observed.sign_in if lasts else SignIn.UNKNOWN


def _lasting(phase: Phase, observed: Observed) -> tuple[Condition, ...]:
    """Return the conditions that hold without a browser, too."""
    return tuple(c for c in observed.conditions if phase not in _GONE or c.type == NEEDS_HUMAN)


def _settled(phase: Phase, session: Session, known: Mapping[str, Any]) -> Phase:
    """Return the phase of a business that nobody supervises now, from what its record wants."""
    if phase in {Phase.ABSENT, Phase.HIBERNATED} or not known:
        if session.supervision.quarantined and session.desired is Desired.RUNNING:
            return Phase.QUARANTINED
        if session.desired is Desired.HIBERNATED and phase not in _RUNS:
            return Phase.HIBERNATED
    return phase


def _why_not(
    phase: Phase, session: Session, known: Mapping[str, Any], lease: Lease | None
) -> Condition:
    """Return why the business is not running: the first reason that explains all others."""
    reason, message = _reason(phase, session, known, lease)
    return Condition(type=NOT_RUNNING, reason=reason, message=message, since=session.updated_at)


def _reason(
    phase: Phase, session: Session, known: Mapping[str, Any], lease: Lease | None
) -> tuple[str, str]:
    return _by_wish(session, known) or _by_phase(phase, known, lease)


def _by_wish(session: Session, known: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return why nobody even tries to run it."""
    if session.desired is Desired.STOPPED:
        return "Stopped", "nobody wants it to run: `pool.run` or `raypool wake` starts it"
    if session.desired is Desired.HIBERNATED:
        return "Hibernated", "it rests; the next call wakes it"
    if quarantined := session.supervision.quarantined:
        lets_out = f"`raypool release {session.business_id}` lets it out"
        return "Quarantined", f"{quarantined.message}. {lets_out}"
    if not known and session.assigned_cluster:
        return "Assigned", f"it is assigned to cluster {session.assigned_cluster!r}"
    return None


def _by_phase(phase: Phase, known: Mapping[str, Any], lease: Lease | None) -> tuple[str, str]:
    """Return what stands in the way of whoever tries."""
    if known.get("no_room"):
        return "NoRoom", "every browser that may live is in use, here and on every node"
    if lease is not None and phase in _GONE:
        return "Locked", _held(lease)
    if not known:
        return "NoSupervisor", "no supervisor of this cluster knows it: is the fleet up?"
    about = {
        Phase.BACKOFF: _waits(known),
        Phase.UNKNOWN: ("Silent", "its actor does not answer; its node is asked after it"),
    }
    return about.get(phase, (phase.capitalize(), f"it is {phase}"))


def _waits(known: Mapping[str, Any]) -> tuple[str, str]:
    if known.get("error"):
        return "Failed", f"{known['error']}; the next try is at {_time(known)}"
    return (
        "Waits",
        f"another cluster may have been asked for it; it is tried here at {_time(known)}",
    )


def _held(lease: Lease) -> str:
    holder = lease.holder
    since = lease.since.astimezone(UTC).strftime("%H:%M:%S")
    return (
        f"{holder.kind} of cluster {holder.cluster or '?'} (node {holder.node_id[:8] or '?'}, pid "
        f"{holder.pid}) has held it since {since} UTC; an owner that died keeps it for "
        f"{lease.ttl:.0f} s more"
    )


def _time(known: Mapping[str, Any]) -> str:
    at = known.get("next_retry_at")
    return at.astimezone(UTC).strftime("%H:%M:%S UTC") if at else "?"


def _off_line(session: Session, live: Mapping[str, Any]) -> list[Condition]:
    if not live.get("off_line"):
        return []
    message = "its lease could not be renewed: the browser is frozen until Redis answers again"
    return [Condition(type="OffLine", reason="Lease", message=message, since=session.updated_at)]

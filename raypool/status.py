"""What ``status()`` tells of a business, laid together from those who know something of it. Pure."""

from collections.abc import Mapping
from typing import Any

from raypool.model import InstanceStatus, Session, SignIn
from raypool.phase import Phase


def status_of(
    session: Session, known: Mapping[str, Any], live: Mapping[str, Any]
) -> InstanceStatus:
    """Lay what the instance says over what the supervisor remembers over what the record holds.

    Args:
        session: The record.
        known: The supervisor's row; empty when it has none.
        live: What the instance said; empty when it did not answer.
    """
    observed = session.observed
    phase = live.get("phase") or known.get("phase") or observed.phase
    absent = phase in {Phase.ABSENT, Phase.BACKOFF}
    return InstanceStatus(
        business_id=session.business_id,
        session_id=session.id,
        phase=phase,
        desired=session.desired,
        sign_in=live.get("sign_in") or (SignIn.UNKNOWN if absent else observed.sign_in),
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
        conditions=live.get("conditions", observed.conditions),
        next_retry_at=known.get("next_retry_at"),
    )

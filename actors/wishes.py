"""What the records want, as far as it is known: kept up with changes, not read anew each time.

A wish is dropped for a reason only: a record that says so. A record that is *missing* is no reason.
The server may have come back empty, and the live instance writes it again; so a missing record keeps
its wish for a while, and when many are missing at once, for as long as that lasts.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from raypool.logs import get_logger
from raypool.model import Desired, Session
from raypool.planner import Want

log = get_logger(__name__)

MISSING_GRACE_S = 60.0
FEW = 2
FEW_SHARE = 0.2
"""As many records, or this share of all that is wanted, may be missing before it looks like a loss."""


@dataclass
class _Wish:
    session_id: str
    since: float
    missing_since: float | None = None


class Wishes:
    """The wishes of one cluster.

    Args:
        cluster: Whose; sessions that are assigned to another one are none of ours.
    """

    def __init__(self, cluster: str) -> None:
        self._cluster = cluster
        self._wishes: dict[str, _Wish] = {}

    def __contains__(self, business_id: str) -> bool:
        return business_id in self._wishes

    def wants(self, awaited: Iterable[str]) -> list[Want]:
        """Return what shall run; *awaited* businesses are those that somebody waits for."""
        waited = set(awaited)
        return [Want(b, w.session_id, w.since, b in waited) for b, w in self._wishes.items()]

    def unlisted(self, sessions: Iterable[Session]) -> set[str]:
        """Take over a whole list of what is desired; return whose record must be looked at singly."""
        listed = {s.business_id: s for s in sessions}
        for session in listed.values():
            self.read(session)
        return self._wishes.keys() - listed.keys()

    def read(self, session: Session) -> None:
        """Take over the active session of a business as it was just read."""
        business_id = session.business_id
        if session.desired is Desired.RUNNING and self.is_ours(session):
            self._wishes[business_id] = _Wish(session.id, session.last_activity.timestamp())
        else:
            self._wishes.pop(business_id, None)

    def not_found(self, business_id: str, session_id: str, now: float) -> None:
        """Note that a business has no record, though it was wanted or an instance of it lives."""
        wish = self._wishes.setdefault(business_id, _Wish(session_id, 0.0))
        wish.missing_since = wish.missing_since or now

    def give_up(self, now: float) -> None:
        """Drop wishes whose record has been missing for long, unless it looks like a loss."""
        missing = [b for b, w in self._wishes.items() if w.missing_since is not None]
        if len(missing) > max(FEW, FEW_SHARE * len(self._wishes)):
            log.error("many records are missing at once; nothing is stopped", missing=len(missing))
            return
        for business_id in missing:
            since = self._wishes[business_id].missing_since
            if since is not None and now - since > MISSING_GRACE_S:
                del self._wishes[business_id]

    def missing(self) -> set[str]:
        """Return the businesses whose record was not there when it was last looked for."""
        return {b for b, w in self._wishes.items() if w.missing_since is not None}

    def is_ours(self, session: Session) -> bool:
        """Tell whether this cluster may run it."""
        return session.assigned_cluster in {None, self._cluster}

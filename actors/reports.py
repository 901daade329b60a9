"""What an incarnation tells of itself: to whoever asks it, and in the record."""

from typing import Any

from actors.life import Incarnation
from actors.tenure import Tenure
from actors.workplace import Workplace
from raypool.errors import RaypoolError
from raypool.logs import get_logger
from raypool.model import Observed, SignIn
from raypool.phase import Phase
from raypool.store.base import SessionStore

log = get_logger(__name__)


def vitals(who: Incarnation, place: Workplace | None, tenure: Tenure | None) -> dict[str, Any]:
    """Return who it is, what it may do, and what its browser is, from plain fields."""
    browser = place.browser if place else None
    return {
        "business_id": who.business_id,
        "session_id": who.session_id,
        "holder_id": who.holder.id,
        "incarnation": who.number,
        "off_line": tenure.off_line if tenure else False,
        "fencing_token": tenure.token if tenure else 0,
        "sign_in": place.sign_in if place else None,
        "browser_pid": browser.browser_pid if browser else None,
        "driver_pid": browser.driver_pid if browser else None,
        "conditions": tuple(place.conditions.values()) if place else (),
    }


class Reports:
    """Writes an incarnation's reports into its record.

    Args:
        incarnation: Whose.
        sessions: The records.
    """

    def __init__(self, incarnation: Incarnation, sessions: SessionStore) -> None:
        self._who, self._sessions = incarnation, sessions
        self._told: SignIn | None = None

    def is_outdated(self, place: Workplace) -> bool:
        """Tell whether the record says something else of the sign-in than is known by now."""
        return self._told is not place.sign_in

    async def write(
        self, place: Workplace | None, tenure: Tenure | None, phase: Phase, commands: int
    ) -> None:
        """Write how it is; Redis being away must not stop the instance."""
        if place is None or tenure is None:
            return
        holder, browser = self._who.holder, place.browser
        observed = Observed(
            phase=phase,
            cluster=holder.cluster,
            node_id=holder.node_id,
            pid=holder.pid,
            browser_pid=browser.browser_pid if browser else None,
            incarnation=self._who.number,
            worked=commands > 0,
            sign_in=place.sign_in,
            conditions=tuple(place.conditions.values()),
        )
        try:
            await self._sessions.report(place.session.id, tenure.token, observed)
            self._told = place.sign_in
        except RaypoolError as error:
            log.warning("report not written", error=str(error))

"""Drivers that are attached to a browser: let in under the lease, counted as use, tidied up after."""

from dataclasses import dataclass

from actors.keeper import now
from actors.ports import Browser
from actors.workplace import Workplace
from raypool.tickets import Tickets


@dataclass(frozen=True)
class Admission:
    """What a driver needs to attach."""

    endpoint: str
    page_id: str


class Visits:
    """Who is attached to the browser of one incarnation."""

    def __init__(self) -> None:
        self._tickets = Tickets()
        self._admitted: dict[str, Browser] = {}
        self._tidy = True

    @property
    def present(self) -> bool:
        """Whether somebody is attached."""
        return bool(self._tickets.active(now()))

    async def admit(self, place: Workplace, ticket_id: str, host: str) -> Admission:
        """Let a driver in, or the same one again.

        Raises:
            RateLimitError: Too many are attached.
        """
        if not self.present:
            self._admitted = {}  # of those who died without a word
        browser = place.present
        self._tickets = self._tickets.issue(ticket_id, now())
        self._admitted[ticket_id] = browser
        self._tidy = False
        return Admission(await browser.bind(host), await browser.active_page_id())

    def stay(self, ticket_id: str) -> None:
        """Keep a driver attached.

        Raises:
            InstanceNotReady: It is not.
        """
        self._tickets = self._tickets.renew(ticket_id, now())

    def leave(self, ticket_id: str) -> Browser | None:
        """Take a driver's ticket back and return the browser that it was let into. Idempotent."""
        self._tickets = self._tickets.leave(ticket_id, now())
        return self._admitted.pop(ticket_id, None)

    async def look_after(self, place: Workplace) -> None:
        """Tidy up when the last driver has left. Takes the page."""
        if not self.present and not self._tidy:
            await self.see_out(place)

    async def see_out(self, place: Workplace) -> None:
        """Close what attached drivers left, save the rest, and shut the door if nobody is there."""
        if not self.present:
            await place.present.unbind()
            self._tidy = True
        await place.present.tidy()
        await place.save("detached")

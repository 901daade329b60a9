"""Who is attached to a browser, as its owner may believe it: whoever said so a moment ago.

A driver script that dies says nothing, and the browser cannot tell its connection from that of a
script that thinks. So each attached driver holds a ticket and renews it; what is not renewed in time
counts no more.
"""

from dataclasses import dataclass, replace

from raypool.errors import ErrorCodes, create_error

TTL_S = 15.0
RENEW_EVERY_S = 5.0
MOST = 16
_MAX_ID = 64


@dataclass(frozen=True)
class Ticket:
    """One attached driver. Times are seconds on the owner's clock."""

    id: str
    since: float
    expires_at: float


@dataclass(frozen=True)
class Tickets:
    """The tickets of one browser. What changes them returns new ones, the expired left out.

    Args:
        issued: Tickets, some perhaps expired; at most one an id.
        ttl: Seconds that a ticket is good for, from each renewal.
        most: Drivers that may be attached at once.
    """

    issued: tuple[Ticket, ...] = ()
    ttl: float = TTL_S
    most: int = MOST

    def active(self, now: float) -> tuple[Ticket, ...]:
        """Return the tickets that count at *now*, oldest first."""
        return tuple(ticket for ticket in self.issued if ticket.expires_at > now)

    def issue(self, ticket_id: str, now: float) -> "Tickets":
        """Let a driver attach. The same id again, as after a lost reply, renews its ticket.

        Raises:
            ConfigurationError: *ticket_id* is empty or longer than 64 characters.
            RateLimitError: As many drivers as may be are attached (``RATE_LIMIT_CAPACITY``);
                ``retry_after`` is when the next ticket expires unless it is renewed.
        """
        if not 0 < len(ticket_id) <= _MAX_ID:
            raise create_error(
                ErrorCodes.CONFIG_INVALID_ARGUMENT, f"a ticket's id has 1 to {_MAX_ID} characters"
            )
        active = self.active(now)
        if any(ticket.id == ticket_id for ticket in active):
            return self.renew(ticket_id, now)
        if len(active) >= self.most:
            raise self._full(active, now)
        return replace(self, issued=(*active, Ticket(ticket_id, now, now + self.ttl)))

    def renew(self, ticket_id: str, now: float) -> "Tickets":
        """Keep a driver attached for another ``ttl`` seconds.

        Raises:
            InstanceNotReady: The ticket has expired or was never issued; attach again.
        """
        active = self.active(now)
        if all(ticket.id != ticket_id for ticket in active):
            raise create_error(
                ErrorCodes.BROWSER_INSTANCE_NOT_READY,
                f"this driver is not attached: it was not heard of for {self.ttl:g} s, or has left",
                recovery="Attach again.",
            )
        return replace(self, issued=tuple(self._renewed(t, ticket_id, now) for t in active))

    def leave(self, ticket_id: str, now: float) -> "Tickets":
        """Take a driver's ticket back. Idempotent."""
        kept = tuple(ticket for ticket in self.active(now) if ticket.id != ticket_id)
        return replace(self, issued=kept)

    def _renewed(self, ticket: Ticket, ticket_id: str, now: float) -> Ticket:
        if ticket.id != ticket_id:
            return ticket
        # A renewal that was overtaken by a later one takes nothing back.
        return replace(ticket, expires_at=max(ticket.expires_at, now + self.ttl))

    def _full(self, active: tuple[Ticket, ...], now: float) -> Exception:
        return create_error(
            ErrorCodes.RATE_LIMIT_CAPACITY,
            f"{len(active)} drivers are attached to this browser, and no more may be",
            recovery="Let one of them leave, or try again later.",
            retry_after=min(ticket.expires_at for ticket in active) - now,
        )

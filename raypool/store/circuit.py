"""What a circuit breaker is: its states, its times, and the sites that have one. Pure."""

import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from raypool.errors import ErrorCodes, create_error
from raypool.spec import Frozen

_HOST = r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*"
_SITE = re.compile(rf"({_HOST}|\[[0-9a-f:.]+\])(:\d{{1,5}})?")
_LONGEST_SITE = 260  # a host of 253 characters with its port


class BreakerState(StrEnum):
    """Whether calls to a site go through."""

    CLOSED = "closed"
    """They do."""
    OPEN = "open"
    """They do not: the site is down."""
    HALF_OPEN = "half_open"
    """One does, to see whether the site is back."""


class Breaker(Frozen):
    """What is known of a site; every actor of the fleet sees the same."""

    site: str
    state: BreakerState = BreakerState.CLOSED
    failures: int = 0
    """Since the last success."""
    opened_at: datetime | None = None
    retry_at: datetime | None = None
    """No call goes through before."""


@dataclass(frozen=True)
class Timing:
    """When a breaker opens, and for how long. Seconds."""

    failures: int = 5
    """That many without a success between them, within *window*, open it."""
    window: float = 60.0
    pause: float = 30.0
    """Before the first attempt to see whether the site is back; doubles with each that fails."""
    longest_pause: float = 600.0
    permit: float = 60.0
    """How long that attempt may take; then another caller may try."""
    jitter: float = 0.2
    """A pause is longer by up to this share: sites that went down together come back apart."""


def parse_site(value: object) -> str:
    """Return the name of a site: ``host`` or ``host:port``, in lower case.

    Raises:
        ConfigurationError: It is neither; a URL is not either.
    """
    text = value.lower().rstrip(".") if isinstance(value, str) else ""
    if len(text) <= _LONGEST_SITE and _SITE.fullmatch(text):
        return text
    raise create_error(
        ErrorCodes.CONFIG_INVALID_ARGUMENT,
        f"{str(value)[:140]!r} is not a site: it must be a host name, with :port where that matters",
        recovery="Use what urllib.parse.urlsplit(url).netloc gives, without user and password.",
    )

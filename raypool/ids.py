"""What a caller may name: business ids, e-mail addresses, durations. Checked once, at the door."""

import re
from datetime import timedelta

from raypool.errors import ErrorCodes, create_error

BUSINESS_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
# Not RFC 5322: just enough to catch a slip of the hand. The site is the judge of addresses.
_EMAIL = re.compile(r"[^@\s]+@[^@\s.]+(\.[^@\s.]+)+")
_MAX_EMAIL = 254
MAX_TTL_S = 10 * 365 * 86_400


def parse_business_id(value: object) -> str:
    """Return *value* if it is a business id.

    Raises:
        ConfigurationError: It is not; the message shows the value and what fits.
    """
    if isinstance(value, str) and BUSINESS_ID.fullmatch(value):
        return value
    raise create_error(
        ErrorCodes.CONFIG_INVALID_ARGUMENT,
        f"{str(value)[:140]!r} is not a business id: it must be 1 to 128 characters, letters, digits, "
        "'.', '_' or '-', and begin with a letter or digit",
        recovery="Use an id like 'business-123'.",
    )


def parse_email(value: object) -> str:
    """Return *value*, trimmed, if it looks like an e-mail address.

    Raises:
        ConfigurationError: It does not.
    """
    text = value.strip() if isinstance(value, str) else ""
    if len(text) <= _MAX_EMAIL and _EMAIL.fullmatch(text):
        return text
    raise create_error(
        ErrorCodes.CONFIG_INVALID_ARGUMENT,
        f"{str(value)[:140]!r} is not an e-mail address: it must look like name@example.com",
        recovery="Pass email=None when the business has none.",
    )


def parse_duration(value: object, *, name: str, most: float = MAX_TTL_S) -> float:
    """Return *value* (seconds or a timedelta) in seconds, when it is above 0 and at most *most*.

    Raises:
        ConfigurationError: It is not; the message names *name* and what fits.
    """
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(seconds, int | float) and not isinstance(seconds, bool) and 0 < seconds <= most:
        return float(seconds)
    raise create_error(
        ErrorCodes.CONFIG_INVALID_ARGUMENT,
        f"{name}={value!r} is not a duration: it must be seconds above 0 and at most {most:.0f}, "
        "or a timedelta",
        recovery=f"Use for example {name}=86400 or {name}=timedelta(days=1).",
    )

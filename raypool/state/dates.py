"""Dates of JavaScript as text: ``Date.prototype.toJSON`` and back, for every year it has. Pure."""

import re
from datetime import datetime, timedelta

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 -- JavaScript's time values know no zone
_YEARS = 400
_CYCLE = timedelta(days=146_097)
"""The Gregorian calendar repeats itself after so many years; Python has less than 25 such cycles."""
_FARTHEST_MS = 8_640_000_000_000_000
_FOUR_DIGITS = 9999
_JSON = re.compile(r"(\d{4}|[+-]\d{6})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)\.(\d{3})Z", re.ASCII)


def date_text(ms: float) -> str:
    """Return a date as JavaScript writes it into JSON: ``2030-01-01T00:00:00.000Z``.

    Args:
        ms: Milliseconds since 1970, its time value.

    Raises:
        ValueError: JavaScript has no such date.
    """
    if not -_FARTHEST_MS <= ms <= _FARTHEST_MS:
        raise ValueError("no date of JavaScript")
    cycles, rest = divmod(timedelta(milliseconds=int(ms)), _CYCLE)
    at = _EPOCH + rest
    year = at.year + cycles * _YEARS
    shown = f"{year:04}" if 0 <= year <= _FOUR_DIGITS else f"{year:+07}"
    return f"{shown}-{at:%m-%dT%H:%M:%S}.{at.microsecond // 1000:03}Z"


def date_value(text: str) -> int:
    """Return the time value of what :func:`date_text` gives.

    Raises:
        ValueError: It is nothing of the kind.
    """
    found = _JSON.fullmatch(text)
    if not found:
        raise ValueError("a date that is none")
    year, month, day, hour, minute, second, ms = map(int, found.groups())
    cycles, year = divmod(year - _EPOCH.year, _YEARS)
    at = datetime(_EPOCH.year + year, month, day, hour, minute, second, ms * 1000)  # noqa: DTZ001
    return (at - _EPOCH + cycles * _CYCLE) // timedelta(milliseconds=1)

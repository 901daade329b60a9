"""Step the wall clock of this one Python process.

Imported before anything that reads the clock. What it covers: ``time.time``, ``time.time_ns`` and
``now``, ``utcnow`` and ``today`` of ``datetime``, so all that Python code in this process takes for
the date. What it does not: extensions that ask the kernel (Ray's core, OpenSSL), other processes,
and monotonic clocks, which a step must not move anyway.
"""

import datetime
import time
from typing import Any

_offset = [datetime.timedelta()]
_time, _time_ns, _real = time.time, time.time_ns, datetime.datetime


class _Any(type):
    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, _real)


class SteppedDatetime(_real, metaclass=_Any):
    """``datetime.datetime`` whose present is stepped; its values are plain datetimes."""

    __slots__ = ()  # extensions check its size

    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> Any:
        return _real.now(tz) + _offset[0]

    @classmethod
    def utcnow(cls) -> Any:
        return _real.now(datetime.UTC).replace(tzinfo=None) + _offset[0]

    @classmethod
    def today(cls) -> Any:
        return cls.now()


def install() -> None:
    """Replace the clocks of this process; until the first step they show what they did before."""
    time.time = lambda: _time() + _offset[0].total_seconds()
    time.time_ns = lambda: _time_ns() + int(_offset[0].total_seconds() * 1e9)
    datetime.datetime = SteppedDatetime  # type: ignore[misc]


def step(seconds: float) -> float:
    """Set the clock *seconds* from where it really is; return what it shows now."""
    _offset[0] = datetime.timedelta(seconds=seconds)
    return time.time()

"""Who and what the current work is about: the ids that every log line and error carries.

A context variable, so that it follows an ``await`` and a task. Errors copy it when they are made,
log lines when they are written. Nothing else may hide in here: it is for ids, never for secrets.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

_EMPTY: Mapping[str, object] = {}
_current: ContextVar[Mapping[str, object]] = ContextVar("raypool_context", default=_EMPTY)


def current() -> dict[str, object]:
    """Return a copy of the ids that are bound here (``trace_id``, ``business_id``, …)."""
    return dict(_current.get())


@contextmanager
def bound(**ids: object) -> Iterator[None]:
    """Bind *ids* for the block, beside those already bound; ``None`` values are left out."""
    merged = {**_current.get(), **{k: v for k, v in ids.items() if v is not None}}
    token = _current.set(merged)
    try:
        yield
    finally:
        _current.reset(token)

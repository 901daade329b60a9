"""Structured logs: constant messages with fields, as JSON lines or for a terminal.

Every line carries the ids bound in :mod:`raypool.context`; secrets are removed from every field by
the last step before rendering, so no caller can forget it. A program that uses raypool as a library
keeps its own structlog: nothing here touches structlog's global configuration.
"""

import logging
import sys
import uuid
from collections.abc import MutableMapping
from contextlib import AbstractContextManager, suppress
from typing import Any, Literal

import structlog

from raypool import context
from raypool.redaction import redacted_fields

Format = Literal["auto", "console", "json"]


class _ToStandardError:
    """Writes finished lines to whatever standard error is at that moment."""

    def msg(self, line: str) -> None:
        # A full disk or a pipe that nobody reads costs the line, never what was being logged.
        with suppress(OSError, ValueError):
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()

    debug = info = warning = error = critical = msg


class _Render:
    """Last step of every line: level, ids, secrets, text. One for the process."""

    def __init__(self) -> None:
        self.set("auto", "INFO")

    def set(self, log_format: Format, level: str) -> None:
        self._format, self._least = log_format, logging.getLevelNamesMapping()[level]

    def __call__(self, logger: Any, method: str, event: MutableMapping[str, Any]) -> str:
        if logging.getLevelNamesMapping()[method.upper()] < self._least:
            raise structlog.DropEvent
        for key, value in context.current().items():
            event.setdefault(key, value)
        return str(self._renderer()(logger, method, redacted_fields(event)))

    def _renderer(self) -> Any:
        terminal = sys.stderr.isatty()
        if self._format == "json" or (self._format == "auto" and not terminal):
            return structlog.processors.JSONRenderer()
        return structlog.dev.ConsoleRenderer(
            colors=terminal, exception_formatter=structlog.dev.plain_traceback
        )


_render = _Render()
_STEPS = (
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.format_exc_info,
    _render,
)


def new_trace_id() -> str:
    """Return a fresh id that ties together what one call does in every process."""
    return uuid.uuid4().hex[:16]


def get_logger(name: str) -> Any:
    """Return the logger for a module; it may be made before :func:`configure` is called."""
    return structlog.wrap_logger(
        _ToStandardError(),
        processors=_STEPS,
        wrapper_class=structlog.make_filtering_bound_logger(logging.NOTSET),
        cache_logger_on_first_use=False,
        module=name,
    )


def configure(log_format: Format = "auto", level: str = "INFO") -> None:
    """Set format and lowest level for this process; lines go to standard error. Idempotent."""
    _render.set(log_format, level)


def traced(business_id: str) -> AbstractContextManager[None]:
    """Bind the ids that errors and log lines of this call carry."""
    trace_id = context.current().get("trace_id") or new_trace_id()
    return context.bound(trace_id=trace_id, business_id=business_id)

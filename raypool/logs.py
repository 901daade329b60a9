"""Structured logs: constant messages with fields, as JSON lines or for a terminal.

Every line carries the ids bound in :mod:`raypool.context`; secrets are removed from every field by
the last step before rendering, so no caller can forget it.
"""

import logging
import sys
import uuid
from collections.abc import MutableMapping
from typing import Any, Literal

import structlog

from raypool import context
from raypool.redaction import redact


def new_trace_id() -> str:
    """Return a fresh id that ties together what one call does in every process."""
    return uuid.uuid4().hex[:16]


def get_logger(name: str) -> Any:
    """Return the logger for a module; safe to call before :func:`configure`."""
    return structlog.get_logger(module=name)


def _with_ids(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key, value in context.current().items():
        event.setdefault(key, value)
    return event


def _without_secrets(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {key: redact(value, name=key) for key, value in event.items()}


def configure(log_format: Literal["auto", "console", "json"] = "auto", level: str = "INFO") -> None:
    """Set up logging for this process, to standard error. Idempotent."""
    console = log_format == "console" or (log_format == "auto" and sys.stderr.isatty())
    renderer: Any = (
        structlog.dev.ConsoleRenderer() if console else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _with_ids,
            structlog.processors.format_exc_info,
            _without_secrets,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level)),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )

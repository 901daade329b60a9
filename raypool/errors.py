"""Every error that raypool raises, on one page.

    RaypoolError
    ├── AuthenticationError     the site refuses who we are
    ├── SessionError            the durable record or the right to act on it
    │   ├── SessionNotFound
    │   ├── SessionLocked       somebody else holds the lease; says who
    │   ├── LeaseLost           it was ours and is not any more
    │   └── VersionConflict     the record changed since it was read
    ├── BrowserError            Chromium, its pages, or the actor that owns them
    │   ├── InstanceLost        the instance died while a command was in flight
    │   ├── InstanceNotReady    it did not come up
    │   ├── CommandTimeout      a function ran past its deadline
    │   └── FunctionFailed      the caller's own function raised; ``__cause__`` is what it raised
    ├── NetworkError            Ray or a site cannot be reached
    ├── StorageError            Redis, or what was read from it
    │   ├── StoreUnavailable
    │   └── CheckpointCorrupt
    ├── RateLimitError          too much, too soon
    ├── ConfigurationError      a setting, an argument, or something missing on the machine
    └── InternalError           a bug in raypool

The *class* says who has to act, the *code* says what happened, ``retryable`` whether trying again can
help. Callers catch classes and show ``user_message`` and ``recovery``. Everything beyond the message
lives in ``__dict__``, so that each error survives pickling between actors; ``__cause__`` does not
(Python drops it), which is why ``context["cause"]`` repeats it in words.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from raypool import context as ids
from raypool.codes import CODES, ErrorCategory, ErrorCodes
from raypool.redaction import redact_text, redacted_fields

__all__ = [
    "CODES",
    "AuthenticationError",
    "BrowserError",
    "CheckpointCorrupt",
    "CommandTimeout",
    "ConfigurationError",
    "ErrorCategory",
    "ErrorCodes",
    "FunctionFailed",
    "InstanceLost",
    "InstanceNotReady",
    "InternalError",
    "LeaseLost",
    "NetworkError",
    "RateLimitError",
    "RaypoolError",
    "SessionError",
    "SessionLocked",
    "SessionNotFound",
    "StorageError",
    "StoreUnavailable",
    "VersionConflict",
    "create_error",
]


class RaypoolError(Exception):
    """Base of all errors of raypool.

    Args:
        message: One sentence: what, which value, what fits. Credentials in it are hidden.
        code: What happened; a subclass has a default.
        context: Ids and values worth having (secrets are hidden). What is bound in
            :mod:`raypool.context` is added.
        retry_after: Seconds to wait before trying again, when known.
        recovery: What to do, when it is more precise than the code's own hint.
    """

    default_code: ClassVar[ErrorCodes] = ErrorCodes.INTERNAL_ERROR

    def __init__(
        self,
        message: str = "",
        *,
        code: ErrorCodes | None = None,
        context: Mapping[str, Any] | None = None,
        retry_after: float | None = None,
        recovery: str | None = None,
    ) -> None:
        self.code = code or self.default_code
        info = CODES[self.code]
        self.message = redact_text(message) or info.user_message
        super().__init__(self.message)
        self.retry_after = retry_after
        self.recovery = redact_text(recovery) if recovery else info.recovery
        self.context: dict[str, Any] = redacted_fields({**ids.current(), **(context or {})})

    @property
    def category(self) -> ErrorCategory:
        """Who or what the error is about."""
        return CODES[self.code].category

    @property
    def retryable(self) -> bool:
        """Whether the same call may succeed later."""
        return CODES[self.code].retryable

    @property
    def user_message(self) -> str:
        """A sentence for people who do not know raypool."""
        return CODES[self.code].user_message

    @property
    def trace_id(self) -> str | None:
        """The id that ties the error to log lines of every process involved."""
        return self.context.get("trace_id")

    def to_dict(self) -> dict[str, Any]:
        """Return the error as JSON-ready data, the same for CLI, HTTP and logs."""
        return {
            "code": str(self.code),
            "category": str(self.category),
            "message": self.message,
            "user_message": self.user_message,
            "recovery": self.recovery,
            "retryable": self.retryable,
            "retry_after": self.retry_after,
            "context": self.context,
        }

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.code}: {self.message!r})"


class AuthenticationError(RaypoolError):
    """The site refuses who we are."""

    default_code = ErrorCodes.AUTH_INVALID_CREDENTIALS


class SessionError(RaypoolError):
    """The durable record, or the right to act on it."""

    default_code = ErrorCodes.SESSION_NOT_FOUND


class SessionNotFound(SessionError):
    """No record with this id, or it has expired."""


class SessionLocked(SessionError):
    """Another holder has the lease; ``context`` names holder, cluster, node and since when."""

    default_code = ErrorCodes.SESSION_LOCKED


class LeaseLost(SessionError):
    """The lease was ours and is not any more; nothing was written."""

    default_code = ErrorCodes.SESSION_LEASE_LOST


class VersionConflict(SessionError):
    """The record changed since it was read; nothing was written."""

    default_code = ErrorCodes.SESSION_VERSION_CONFLICT


class BrowserError(RaypoolError):
    """Chromium, its pages, or the actor that owns them."""

    default_code = ErrorCodes.BROWSER_CRASHED


class InstanceLost(BrowserError):
    """The instance died while a command was in flight: it may or may not have happened."""

    default_code = ErrorCodes.BROWSER_INSTANCE_LOST


class InstanceNotReady(BrowserError):
    """The instance did not come up in time, or its start failed; the message says why."""

    default_code = ErrorCodes.BROWSER_INSTANCE_NOT_READY


class CommandTimeout(BrowserError):
    """A function ran past its deadline; its browser was rebuilt from the last checkpoint."""

    default_code = ErrorCodes.BROWSER_COMMAND_TIMEOUT


class FunctionFailed(BrowserError):
    """The caller's own function raised; ``__cause__`` is its exception where it can be carried."""

    default_code = ErrorCodes.BROWSER_FUNCTION_FAILED


class NetworkError(RaypoolError):
    """Ray or a site cannot be reached."""

    default_code = ErrorCodes.NETWORK_SITE_UNREACHABLE


class StorageError(RaypoolError):
    """Redis, or what was read from it."""

    default_code = ErrorCodes.STORAGE_UNAVAILABLE


class StoreUnavailable(StorageError):
    """Redis cannot be reached or takes no writes; nothing was acknowledged."""


class CheckpointCorrupt(StorageError):
    """A stored part cannot be read back: damaged, tampered with, or from another session."""

    default_code = ErrorCodes.STORAGE_CORRUPT


class RateLimitError(RaypoolError):
    """Too much, too soon; ``retry_after`` says how long to wait."""

    default_code = ErrorCodes.RATE_LIMIT_CAPACITY


class ConfigurationError(RaypoolError):
    """A setting, an argument, or something missing on the machine."""

    default_code = ErrorCodes.CONFIG_INVALID


class InternalError(RaypoolError):
    """A bug in raypool."""


_BY_CATEGORY: Mapping[ErrorCategory, type[RaypoolError]] = {
    ErrorCategory.AUTHENTICATION: AuthenticationError,
    ErrorCategory.SESSION: SessionError,
    ErrorCategory.BROWSER: BrowserError,
    ErrorCategory.NETWORK: NetworkError,
    ErrorCategory.STORAGE: StorageError,
    ErrorCategory.RATE_LIMIT: RateLimitError,
    ErrorCategory.CONFIGURATION: ConfigurationError,
    ErrorCategory.INTERNAL: InternalError,
}
_BY_CODE: Mapping[ErrorCodes, type[RaypoolError]] = {
    ErrorCodes.SESSION_NOT_FOUND: SessionNotFound,
    ErrorCodes.SESSION_EXPIRED: SessionNotFound,
    ErrorCodes.SESSION_LOCKED: SessionLocked,
    ErrorCodes.SESSION_LEASE_LOST: LeaseLost,
    ErrorCodes.SESSION_VERSION_CONFLICT: VersionConflict,
    ErrorCodes.BROWSER_INSTANCE_LOST: InstanceLost,
    ErrorCodes.BROWSER_INSTANCE_NOT_READY: InstanceNotReady,
    ErrorCodes.BROWSER_COMMAND_TIMEOUT: CommandTimeout,
    ErrorCodes.BROWSER_FUNCTION_FAILED: FunctionFailed,
    ErrorCodes.STORAGE_UNAVAILABLE: StoreUnavailable,
    ErrorCodes.STORAGE_READ_ONLY: StoreUnavailable,
    ErrorCodes.STORAGE_FULL: StoreUnavailable,
    ErrorCodes.STORAGE_NOT_REPLICATED: StoreUnavailable,
    ErrorCodes.STORAGE_NOT_SAVED: StoreUnavailable,
    ErrorCodes.STORAGE_CORRUPT: CheckpointCorrupt,
}


def create_error(
    code: ErrorCodes | str,
    message: str = "",
    context: Mapping[str, Any] | None = None,
    *,
    retry_after: float | None = None,
    recovery: str | None = None,
) -> RaypoolError:
    """Return the error for *code*, in the class that callers catch.

    Args:
        code: A member of :class:`ErrorCodes` or its name.
        message: One sentence; the code's own message when empty.
        context: Ids and values; secrets are hidden.
        retry_after: Seconds to wait before trying again.
        recovery: What to do, when more precise than the code's hint.

    Raises:
        ValueError: *code* is not one of :class:`ErrorCodes`.

    Example:
        >>> raise create_error("AUTH_INVALID_CREDENTIALS", "Invalid e-mail or password")
    """
    known = ErrorCodes(code)
    cls = _BY_CODE.get(known) or _BY_CATEGORY[CODES[known].category]
    return cls(message, code=known, context=context, retry_after=retry_after, recovery=recovery)

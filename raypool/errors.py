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
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar

from raypool import context as ids
from raypool.redaction import redact_text, redacted_fields


class ErrorCategory(StrEnum):
    """Who or what an error is about."""

    AUTHENTICATION = "authentication"
    SESSION = "session"
    BROWSER = "browser"
    NETWORK = "network"
    STORAGE = "storage"
    RATE_LIMIT = "rate_limit"
    CONFIGURATION = "configuration"
    INTERNAL = "internal"


class ErrorCodes(StrEnum):
    """What happened. Codes are part of the public contract: they never change their meaning."""

    AUTH_INVALID_CREDENTIALS = "AUTH_INVALID_CREDENTIALS"
    AUTH_SIGNED_OUT = "AUTH_SIGNED_OUT"
    AUTH_NEEDS_HUMAN = "AUTH_NEEDS_HUMAN"
    SESSION_NOT_FOUND = "SESSION_NOT_FOUND"
    SESSION_EXPIRED = "SESSION_EXPIRED"
    SESSION_LOCKED = "SESSION_LOCKED"
    SESSION_LEASE_LOST = "SESSION_LEASE_LOST"
    SESSION_VERSION_CONFLICT = "SESSION_VERSION_CONFLICT"
    BROWSER_NOT_FOUND = "BROWSER_NOT_FOUND"
    BROWSER_START_FAILED = "BROWSER_START_FAILED"
    BROWSER_CRASHED = "BROWSER_CRASHED"
    BROWSER_INSTANCE_LOST = "BROWSER_INSTANCE_LOST"
    BROWSER_INSTANCE_NOT_READY = "BROWSER_INSTANCE_NOT_READY"
    BROWSER_COMMAND_TIMEOUT = "BROWSER_COMMAND_TIMEOUT"
    BROWSER_FUNCTION_FAILED = "BROWSER_FUNCTION_FAILED"
    BROWSER_CHECKPOINT_FAILED = "BROWSER_CHECKPOINT_FAILED"
    NETWORK_RAY_UNREACHABLE = "NETWORK_RAY_UNREACHABLE"
    NETWORK_SITE_UNREACHABLE = "NETWORK_SITE_UNREACHABLE"
    STORAGE_UNAVAILABLE = "STORAGE_UNAVAILABLE"
    STORAGE_READ_ONLY = "STORAGE_READ_ONLY"
    STORAGE_FULL = "STORAGE_FULL"
    STORAGE_ACCESS_DENIED = "STORAGE_ACCESS_DENIED"
    STORAGE_UNSUPPORTED = "STORAGE_UNSUPPORTED"
    STORAGE_CORRUPT = "STORAGE_CORRUPT"
    STORAGE_KEY_UNKNOWN = "STORAGE_KEY_UNKNOWN"
    RATE_LIMIT_CAPACITY = "RATE_LIMIT_CAPACITY"
    RATE_LIMIT_SIGN_IN = "RATE_LIMIT_SIGN_IN"
    CONFIG_INVALID = "CONFIG_INVALID"
    CONFIG_INVALID_ARGUMENT = "CONFIG_INVALID_ARGUMENT"
    CONFIG_INVALID_FUNCTION = "CONFIG_INVALID_FUNCTION"
    CONFIG_RESULT_NOT_PICKLABLE = "CONFIG_RESULT_NOT_PICKLABLE"
    CONFIG_RAY_VERSION = "CONFIG_RAY_VERSION"
    CONFIG_ENCRYPTION_KEY = "CONFIG_ENCRYPTION_KEY"
    INTERNAL_ERROR = "INTERNAL_ERROR"
    INTERNAL_ILLEGAL_TRANSITION = "INTERNAL_ILLEGAL_TRANSITION"


@dataclass(frozen=True)
class CodeInfo:
    """What a code means to a program (``category``, ``retryable``) and to a person (the rest)."""

    category: ErrorCategory
    retryable: bool
    user_message: str
    recovery: str


_A, _S, _B = ErrorCategory.AUTHENTICATION, ErrorCategory.SESSION, ErrorCategory.BROWSER
_N, _ST, _R = ErrorCategory.NETWORK, ErrorCategory.STORAGE, ErrorCategory.RATE_LIMIT
_C, _I = ErrorCategory.CONFIGURATION, ErrorCategory.INTERNAL

CODES: Mapping[ErrorCodes, CodeInfo] = {
    ErrorCodes.AUTH_INVALID_CREDENTIALS: CodeInfo(
        _A,
        False,
        "The site did not accept the e-mail address or password.",
        "Check the credentials by hand once; do not retry, the site may lock the account.",
    ),
    ErrorCodes.AUTH_SIGNED_OUT: CodeInfo(
        _A,
        False,
        "The business is signed out on the site.",
        "Sign in again, or roll back to an earlier checkpoint.",
    ),
    ErrorCodes.AUTH_NEEDS_HUMAN: CodeInfo(
        _A, False, "The site asks for a person.", "Sign in by hand in the business's browser."
    ),
    ErrorCodes.SESSION_NOT_FOUND: CodeInfo(
        _S,
        False,
        "There is no such session.",
        "List the sessions of the business; it may have expired (SESSION_TTL) or been deleted.",
    ),
    ErrorCodes.SESSION_EXPIRED: CodeInfo(
        _S,
        False,
        "The session has expired.",
        "Create a new session and sign in, or raise SESSION_TTL.",
    ),
    ErrorCodes.SESSION_LOCKED: CodeInfo(
        _S,
        True,
        "The business is in use by another holder.",
        "Wait until the holder named in the message releases it, or stop it there.",
    ),
    ErrorCodes.SESSION_LEASE_LOST: CodeInfo(
        _S,
        True,
        "The right to act for the business went to somebody else.",
        "Try again: the next call goes to the present owner.",
    ),
    ErrorCodes.SESSION_VERSION_CONFLICT: CodeInfo(
        _S,
        True,
        "The session was changed by somebody else meanwhile.",
        "Read the session again and repeat the change on what it holds now.",
    ),
    ErrorCodes.BROWSER_NOT_FOUND: CodeInfo(
        _B,
        False,
        "No Chromium was found.",
        "Run `raypool install-browser`, or set RAYPOOL_CHROMIUM to an executable.",
    ),
    ErrorCodes.BROWSER_START_FAILED: CodeInfo(
        _B,
        True,
        "Chromium did not start.",
        "Run `raypool doctor`; look for missing libraries, memory, or a full disk.",
    ),
    ErrorCodes.BROWSER_CRASHED: CodeInfo(
        _B,
        True,
        "The page or its browser crashed.",
        "Try again: the browser is rebuilt from the last checkpoint.",
    ),
    ErrorCodes.BROWSER_INSTANCE_LOST: CodeInfo(
        _B,
        True,
        "The instance died while it was working.",
        "Try again (idempotent=True does it for you): it comes back from the last checkpoint.",
    ),
    ErrorCodes.BROWSER_INSTANCE_NOT_READY: CodeInfo(
        _B,
        True,
        "The instance is not ready yet.",
        "Try again in a moment; `raypool status` says what it is waiting for.",
    ),
    ErrorCodes.BROWSER_COMMAND_TIMEOUT: CodeInfo(
        _B,
        False,
        "The function ran past its deadline.",
        "Give it more time (timeout=…), or make it shorter. What it had done may have happened.",
    ),
    ErrorCodes.BROWSER_FUNCTION_FAILED: CodeInfo(
        _B,
        False,
        "The function raised an error.",
        "Look at the cause; the business stays signed in and can be used again.",
    ),
    ErrorCodes.BROWSER_CHECKPOINT_FAILED: CodeInfo(
        _B,
        True,
        "The state of the browser could not be saved.",
        "Try again; the last acknowledged checkpoint is untouched.",
    ),
    ErrorCodes.NETWORK_RAY_UNREACHABLE: CodeInfo(
        _N,
        True,
        "The Ray cluster cannot be reached.",
        "Check RAYPOOL_RAY_ADDRESS and that the head is up: `ray status --address …`.",
    ),
    ErrorCodes.NETWORK_SITE_UNREACHABLE: CodeInfo(
        _N,
        True,
        "The site cannot be reached.",
        "Check the address and the proxy of the business, then try again.",
    ),
    ErrorCodes.STORAGE_UNAVAILABLE: CodeInfo(
        _ST,
        True,
        "Redis cannot be reached.",
        "Check REDIS_URL and that the server runs: `raypool doctor`.",
    ),
    ErrorCodes.STORAGE_READ_ONLY: CodeInfo(
        _ST,
        True,
        "Redis takes no writes: it is a read-only replica.",
        "Point REDIS_URL at the primary (or at Sentinel).",
    ),
    ErrorCodes.STORAGE_FULL: CodeInfo(
        _ST,
        True,
        "Redis is out of memory or its disk is full.",
        "Give it more memory or disk; nothing that was acknowledged is lost.",
    ),
    ErrorCodes.STORAGE_ACCESS_DENIED: CodeInfo(
        _ST,
        False,
        "Redis refused the credentials.",
        "Put the user and password into REDIS_URL (redis://user:password@host:6379).",
    ),
    ErrorCodes.STORAGE_UNSUPPORTED: CodeInfo(
        _ST,
        False,
        "This Redis server cannot be used.",
        "Use Redis 7.0 or newer, or Valkey 8 or newer, with maxmemory-policy noeviction.",
    ),
    ErrorCodes.STORAGE_CORRUPT: CodeInfo(
        _ST,
        False,
        "A stored part cannot be read back.",
        "Roll back to an earlier checkpoint; the broken part is named in the message.",
    ),
    ErrorCodes.STORAGE_KEY_UNKNOWN: CodeInfo(
        _ST,
        False,
        "The data was encrypted with a key that is not configured.",
        "Add the key that wrote it to RAYPOOL_ENCRYPTION_KEYS (after the current one).",
    ),
    ErrorCodes.RATE_LIMIT_CAPACITY: CodeInfo(
        _R,
        True,
        "There is no room for another browser now.",
        "Wait, stop idle businesses, or add a node.",
    ),
    ErrorCodes.RATE_LIMIT_SIGN_IN: CodeInfo(
        _R,
        True,
        "Too many sign-ins for this business.",
        "Wait for the time given; more attempts would risk a lock-out.",
    ),
    ErrorCodes.CONFIG_INVALID: CodeInfo(
        _C, False, "A setting is wrong.", "Correct the setting that the message names."
    ),
    ErrorCodes.CONFIG_INVALID_ARGUMENT: CodeInfo(
        _C, False, "An argument is wrong.", "Correct the argument that the message names."
    ),
    ErrorCodes.CONFIG_INVALID_FUNCTION: CodeInfo(
        _C,
        False,
        "The function cannot be sent to the browser's actor.",
        "Pass an `async def fn(page, …)` whose arguments and closure can be pickled.",
    ),
    ErrorCodes.CONFIG_RESULT_NOT_PICKLABLE: CodeInfo(
        _C,
        False,
        "The function's result cannot be sent back.",
        "Return plain data (text, numbers, lists, dicts), not pages or handles.",
    ),
    ErrorCodes.CONFIG_RAY_VERSION: CodeInfo(
        _C,
        False,
        "The Ray cluster runs other versions than this program.",
        "Install the same Ray and Python minor version here and on the cluster.",
    ),
    ErrorCodes.CONFIG_ENCRYPTION_KEY: CodeInfo(
        _C,
        False,
        "The encryption keys are missing or wrong.",
        "Make one with `raypool keys generate` and set RAYPOOL_ENCRYPTION_KEYS.",
    ),
    ErrorCodes.INTERNAL_ERROR: CodeInfo(
        _I, False, "Something went wrong inside raypool.", "Please report it with the trace id."
    ),
    ErrorCodes.INTERNAL_ILLEGAL_TRANSITION: CodeInfo(
        _I,
        False,
        "An instance was asked to do what its phase does not allow.",
        "Please report it with the trace id.",
    ),
}


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

"""What can go wrong, by code: who it is about, whether trying again helps, what to tell people.

Codes are part of the public contract: they never change their meaning.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


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
    BROWSER_QUARANTINED = "BROWSER_QUARANTINED"
    NETWORK_RAY_UNREACHABLE = "NETWORK_RAY_UNREACHABLE"
    NETWORK_SITE_UNREACHABLE = "NETWORK_SITE_UNREACHABLE"
    STORAGE_UNAVAILABLE = "STORAGE_UNAVAILABLE"
    STORAGE_READ_ONLY = "STORAGE_READ_ONLY"
    STORAGE_FULL = "STORAGE_FULL"
    STORAGE_NOT_REPLICATED = "STORAGE_NOT_REPLICATED"
    STORAGE_NOT_SAVED = "STORAGE_NOT_SAVED"
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
    ErrorCodes.BROWSER_QUARANTINED: CodeInfo(
        _B,
        False,
        "The business kept failing and was set aside.",
        "Mend what the message names, then `raypool release BUSINESS`.",
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
    ErrorCodes.STORAGE_NOT_REPLICATED: CodeInfo(
        _ST,
        True,
        "Redis took the write, but too few of its replicas have it.",
        "Bring the replicas back (INFO replication on the primary), or lower RAYPOOL_REPLICAS or "
        "RAYPOOL_DURABILITY. The write may have happened; repeating it is safe.",
    ),
    ErrorCodes.STORAGE_NOT_SAVED: CodeInfo(
        _ST,
        False,
        "The function ran, but what it changed is not saved yet.",
        "When Redis is back, call pool.checkpoint(business); running the function again would do "
        "its work twice.",
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

"""A fleet of real, signed-in browsers that never lose their sign-in.

    import raypool

    with raypool.connect() as pool:
        pool.run("business-123", post_update, "Open until nine tonight")

Names are imported when they are first used: ``import raypool`` needs no Ray, Redis or browser.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from raypool.config import Settings as Settings
    from raypool.errors import ErrorCategory as ErrorCategory
    from raypool.errors import ErrorCodes as ErrorCodes
    from raypool.errors import RaypoolError as RaypoolError
    from raypool.errors import create_error as create_error
    from raypool.model import CheckpointInfo as CheckpointInfo
    from raypool.model import Outcome as Outcome
    from raypool.pool import AsyncPool as AsyncPool
    from raypool.retry import ErrorRetry as ErrorRetry
    from raypool.retry import RetryBudget as RetryBudget
    from raypool.retry import with_retry as with_retry
    from raypool.spec import Probe as Probe
    from raypool.store.sessions import RedisSessionManager as RedisSessionManager
    from raypool.sync_pool import Pool as Pool
    from raypool.wiring import connect as connect
    from raypool.wiring import connect_async as connect_async

    BrowserInstanceManager = AsyncPool

__version__ = "0.1.0"

_HOME = {
    "AsyncPool": ("raypool.pool", "AsyncPool"),
    "BrowserInstanceManager": ("raypool.pool", "AsyncPool"),
    "CheckpointInfo": ("raypool.model", "CheckpointInfo"),
    "ErrorCategory": ("raypool.errors", "ErrorCategory"),
    "ErrorCodes": ("raypool.errors", "ErrorCodes"),
    "ErrorRetry": ("raypool.retry", "ErrorRetry"),
    "Outcome": ("raypool.model", "Outcome"),
    "Pool": ("raypool.sync_pool", "Pool"),
    "Probe": ("raypool.spec", "Probe"),
    "RaypoolError": ("raypool.errors", "RaypoolError"),
    "RedisSessionManager": ("raypool.store.sessions", "RedisSessionManager"),
    "RetryBudget": ("raypool.retry", "RetryBudget"),
    "Settings": ("raypool.config", "Settings"),
    "connect": ("raypool.wiring", "connect"),
    "connect_async": ("raypool.wiring", "connect_async"),
    "create_error": ("raypool.errors", "create_error"),
    "with_retry": ("raypool.retry", "with_retry"),
}

__all__ = [
    "AsyncPool",
    "BrowserInstanceManager",
    "CheckpointInfo",
    "ErrorCategory",
    "ErrorCodes",
    "ErrorRetry",
    "Outcome",
    "Pool",
    "Probe",
    "RaypoolError",
    "RedisSessionManager",
    "RetryBudget",
    "Settings",
    "connect",
    "connect_async",
    "create_error",
    "with_retry",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'raypool' has no attribute {name!r}")
    module, attribute = _HOME[name]
    return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    return [*globals(), *_HOME]

"""How a function travels to a business's actor, and its result or error back.

Functions go by value (cloudpickle), so that a script's own function runs on nodes that have never
seen the script. Errors are data in the reply, never exceptions of the transport: what the caller
gets does not depend on how Ray wraps things.
"""

import contextlib
import functools
import inspect
import pickle
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from raypool.errors import ErrorCodes, RaypoolError, create_error
from raypool.redaction import redact_text

_OWN_PACKAGES = ("raypool", "actors")


def pack_call(fn: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> bytes:
    """Return the call as bytes.

    Raises:
        ConfigurationError: *fn* is not an ``async def``, or it cannot be pickled.
    """
    if not _is_async(fn):
        raise create_error(
            ErrorCodes.CONFIG_INVALID_FUNCTION,
            f"{_name(fn)} is not an async function: it must be `async def {_name(fn)}(page, …)`",
        )
    with _by_value(fn):
        try:
            return _dumps((_driver_path(), _dumps((fn, tuple(args), dict(kwargs)))))
        except Exception as error:
            raise create_error(
                ErrorCodes.CONFIG_INVALID_FUNCTION,
                f"{_name(fn)} or its arguments cannot be pickled: {error}",
            ) from error


def unpack_call(data: bytes) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
    """Return function, arguments and keyword arguments of a packed call.

    Raises:
        ConfigurationError: Something that it needs is not installed here.
    """
    path, call = pickle.loads(data)  # noqa: S301 -- running the caller's code is the purpose
    sys.path.extend(p for p in path if p not in sys.path and Path(p).is_dir())
    try:
        fn, args, kwargs = pickle.loads(call)  # noqa: S301
    except Exception as error:
        raise create_error(
            ErrorCodes.CONFIG_INVALID_FUNCTION,
            f"the function cannot be loaded in the business's actor: {error}",
            recovery="Install what it imports on the nodes, or define it in the script itself.",
        ) from error
    return fn, args, kwargs


def pack_value(value: Any) -> bytes:
    """Return a successful reply.

    Raises:
        ConfigurationError: *value* cannot be pickled.
    """
    try:
        return _dumps((True, _dumps(value)))
    except Exception as error:
        raise create_error(
            ErrorCodes.CONFIG_RESULT_NOT_PICKLABLE,
            f"the result, a {type(value).__name__}, cannot be sent back: {error}",
        ) from error


def pack_error(error: BaseException, what: str = "the function") -> bytes:
    """Return a reply that raises *error* at the caller: its own if it is ours, else wrapped."""
    if isinstance(error, RaypoolError):
        return _dumps((False, error))
    failed = create_error(
        ErrorCodes.BROWSER_FUNCTION_FAILED,
        f"{what} raised {type(error).__name__}: {_first_line(error)}",
        {"cause": repr(error), "traceback": "".join(traceback.format_exception(error))},
    )
    with contextlib.suppress(Exception):
        pickle.loads(carried := _dumps(error))  # noqa: S301 -- some exceptions pickle but do not load
        failed.original = carried  # type: ignore[attr-defined]
    return _dumps((False, failed))


def unpack_reply(data: bytes) -> Any:
    """Return the value of a reply, or raise its error, with the original one as ``__cause__``."""
    ok, content = pickle.loads(data)  # noqa: S301
    if ok:
        return pickle.loads(content)  # noqa: S301
    cause = None
    with contextlib.suppress(Exception):
        cause = pickle.loads(content.original)  # noqa: S301
    raise content from cause


def _dumps(value: Any) -> bytes:
    from ray import cloudpickle  # noqa: PLC0415 -- Ray takes a second to import

    return bytes(cloudpickle.dumps(value))  # type: ignore[no-untyped-call]


def _is_async(fn: Any) -> bool:
    return inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(
        getattr(fn, "__call__", None)  # noqa: B004 -- an object with an async __call__
    )


def _name(fn: Any) -> str:
    return getattr(_unwrapped(fn), "__name__", type(fn).__name__)


def _unwrapped(fn: Any) -> Any:
    while isinstance(fn, functools.partial):
        fn = fn.func
    return fn


@contextlib.contextmanager
def _by_value(fn: Any) -> Iterator[None]:
    """Send the function's module by value when it is the user's own, not an installed one."""
    from ray import cloudpickle  # noqa: PLC0415

    module = sys.modules.get(getattr(_unwrapped(fn), "__module__", "") or "")
    if module is None or not _is_users_own(module):
        yield
        return
    cloudpickle.register_pickle_by_value(module)  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        cloudpickle.unregister_pickle_by_value(module)  # type: ignore[no-untyped-call]


def _is_users_own(module: Any) -> bool:
    file = getattr(module, "__file__", None)
    if file is None or module.__name__.split(".")[0] in {*_OWN_PACKAGES, "__main__"}:
        return False
    installed = [sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")]
    return not any(Path(file).is_relative_to(path) for path in installed)


def _driver_path() -> list[str]:
    """Return where the caller's own modules lie; nodes that share the disk can import them."""
    installed = [sys.prefix, sys.base_prefix]
    paths = [str(Path(p).absolute()) for p in sys.path]
    return [p for p in paths if not any(Path(p).is_relative_to(i) for i in installed)]


def _first_line(error: BaseException) -> str:
    text = redact_text(str(error)).strip()  # before the cut: half a credential looks like none
    return text.splitlines()[0][:300] if text else "no message"

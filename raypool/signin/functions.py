"""Functions that look whether a business is signed in: named in its spec, imported where it runs."""

import asyncio
import importlib
import inspect
from typing import Any


class ProbeFailedError(Exception):
    """A look that came to no verdict; its text says why."""


async def ask(name: str, page: Any) -> bool:
    """Return what the function *name* (``package.module:name``) says of *page*.

    Raises:
        ProbeFailedError: It cannot be imported, is no async function, raised, or its answer is
            neither True nor False: a forgotten ``return`` must not pass for signed out.
    """
    function = await asyncio.to_thread(_load, name)
    try:
        answer = await function(page)
    except Exception as error:
        raise ProbeFailedError(f"{name} raised {type(error).__name__}: {error}") from error
    if not isinstance(answer, bool):
        kind = type(answer).__name__
        raise ProbeFailedError(f"{name} returned {kind}, and neither True nor False")
    return answer


def _load(name: str) -> Any:
    module, _, attribute = name.partition(":")
    try:
        function = getattr(importlib.import_module(module), attribute)
    except Exception as error:  # whatever a module does when it is imported
        reason = f"{type(error).__name__}: {error}"
        raise ProbeFailedError(f"{name} cannot be imported on its node: {reason}") from error
    if not inspect.iscoroutinefunction(function):
        raise ProbeFailedError(f"{name} is not an async function")
    return function

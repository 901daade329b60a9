"""Ask a browser, but not for ever."""

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

from raypool.errors import ErrorCodes, create_error

T = TypeVar("T")


async def bounded(call: Awaitable[T], seconds: float, what: str) -> T:
    """Await a Playwright call, but not for ever.

    The call itself is never cancelled: Playwright does not support that
    (https://playwright.dev/python/docs/library, "Cancelling"). It is left to finish on its own.

    Raises:
        BrowserError: It took longer than *seconds* (``BROWSER_CHECKPOINT_FAILED``).
    """
    task = asyncio.ensure_future(call)
    done, _ = await asyncio.wait({task}, timeout=seconds)
    if not done:
        task.add_done_callback(lambda t: t.cancelled() or t.exception())
        raise create_error(
            ErrorCodes.BROWSER_CHECKPOINT_FAILED, f"{what} took longer than {seconds:.0f} s"
        )
    return task.result()


def swallow(task: "asyncio.Future[Any]") -> None:
    """Take note of an answer that nobody waits for any more."""
    if not task.cancelled():
        task.exception()


class Notes:
    """What people should know about a state: one line for each thing that is not as it should be."""

    def __init__(self) -> None:
        self._lines: dict[str, str] = {}

    @property
    def lines(self) -> list[str]:
        """All of them, in order."""
        return sorted(self._lines.values())

    def say(self, about: str, line: str | None) -> None:
        """Note *line* about a thing, in place of what was said before; None: it is well."""
        self._lines.pop(about, None)
        if line is not None:
            self._lines[about] = line

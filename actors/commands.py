"""Run a caller's function on a page, watching the deadline and the browser beside it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from actors.keeper import now
from actors.ports import Browser
from actors.presence import ALIVE_TIMEOUT_S, swallow
from actors.workplace import Workplace
from raypool.errors import ErrorCodes, RaypoolError, create_error

T = TypeVar("T")
Work = Callable[[Any], Awaitable[T]]


async def attempt(work: Work[T], place: Workplace, timeout: float) -> "asyncio.Task[T]":
    """Run *work* on the active page to its end; the task that is returned has ended.

    Time that the browser spends off line does not count.

    Raises:
        InstanceLost: The browser died first, or *work* failed because it was off line meanwhile.
        CommandTimeout: It ran past *timeout* seconds. Its browser is gone.
    """
    lost, off_before = place.lost, place.off_line_seconds()
    task: asyncio.Task[T] = asyncio.ensure_future(_on_page(work, place.present))
    await _ended(task, place, timeout)
    if not task.done() and not lost.done():
        raise await _past_deadline(task, place, timeout)
    if task.done() and not lost.done() and _is_playwrights(task.exception()):
        if place.off_line_seconds() > off_before:
            raise place.interrupted()
        # The error of a dying browser may arrive before the news of its death.
        await asyncio.wait({lost}, timeout=0 if await place.answers() else ALIVE_TIMEOUT_S)
    if lost.done() and not (task.done() and task.exception() is None):
        task.add_done_callback(swallow)
        raise place.lost_error()
    return task


async def _on_page(work: Work[T], browser: Browser) -> T:
    return await work(await browser.page())


async def _ended(task: "asyncio.Task[Any]", place: Workplace, timeout: float) -> None:
    """Return when *task* has ended, its browser is lost, or the time on line is used up."""
    ends: set[asyncio.Future[Any]] = {task, place.lost}
    deadline = now() + timeout - place.off_line_seconds()
    while (left := deadline + place.off_line_seconds() - now()) > 0:
        done, _ = await asyncio.wait(ends, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        if done:
            return


async def _past_deadline(
    task: "asyncio.Task[Any]", place: Workplace, timeout: float
) -> RaypoolError:
    # Cancelling a Playwright call is undefined behaviour while its driver lives: the browser goes
    # first, the task after it.
    await place.drop()
    task.add_done_callback(swallow)
    task.cancel()
    return create_error(
        ErrorCodes.BROWSER_COMMAND_TIMEOUT, f"the function ran longer than {timeout:g} s"
    )


def _is_playwrights(error: BaseException | None) -> bool:
    return error is not None and type(error).__module__.startswith("playwright")

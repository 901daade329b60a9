"""A driver's visit to a browser that lives in an actor: a ticket, kept while the visit lasts."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Protocol

from raypool.errors import InstanceLost, InstanceNotReady, RaypoolError
from raypool.logs import get_logger
from raypool.tickets import RENEW_EVERY_S

log = get_logger(__name__)

ATTEMPTS = 5
"""So often a door is knocked at that was said to be open, or a command given that did not begin."""
PAUSE_S = 0.2
"""After the first attempt; after each more by as much longer."""


@dataclass(frozen=True)
class Components:
    """A business's browser, as Playwright's own objects."""

    browser: Any
    context: Any
    page: Any
    agent: Any = None


class Doors(Protocol):
    """Where tickets are given out."""

    async def attach(self, business_id: str, ticket_id: str) -> Any: ...  # noqa: D102
    async def stay(self, business_id: str, ticket_id: str) -> None: ...  # noqa: D102
    async def detach(self, business_id: str, ticket_id: str) -> None: ...  # noqa: D102


class Visit:
    """One driver at one browser.

    Args:
        doors: Where tickets are given out.
        business_id: Whose browser.
        ready: Brings it up, and returns when it is.
    """

    def __init__(
        self, doors: Doors, business_id: str, ready: Callable[[], Awaitable[None]]
    ) -> None:
        self._doors, self._business_id, self._ready = doors, business_id, ready
        self._ticket_id = uuid.uuid4().hex
        self._renewing: asyncio.Task[None] | None = None

    async def begin(self) -> Any:
        """Bring the business up; return where its browser listens, and which page is active.

        Raises:
            RaypoolError: It did not come up, or lets nobody in; nothing has begun.
        """
        admission = await self._let_in()
        self._renewing = asyncio.ensure_future(self._renew())
        return admission

    async def _let_in(self) -> Any:
        attempt = 1
        while True:
            await self._ready()
            try:
                return await self._doors.attach(self._business_id, self._ticket_id)
            except (InstanceNotReady, InstanceLost):  # met between two lives
                if attempt == ATTEMPTS:
                    raise
            await asyncio.sleep(PAUSE_S * attempt)
            attempt += 1

    async def end(self) -> None:
        """Leave; when this returns what was changed is acknowledged.

        Raises:
            RaypoolError: It could not be saved; says why.
        """
        if self._renewing:
            self._renewing.cancel()
        await self._doors.detach(self._business_id, self._ticket_id)

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(RENEW_EVERY_S)
            try:
                await self._stay()
            except RaypoolError as error:
                log.warning("not attached any more", error=error.message)

    async def _stay(self) -> None:
        try:
            await self._doors.stay(self._business_id, self._ticket_id)
        except InstanceNotReady:  # not heard of for too long: the same ticket lets us in again
            await self._doors.attach(self._business_id, self._ticket_id)


@asynccontextmanager
async def visit(stay: Visit) -> AsyncIterator[Components]:
    """Attach to a browser for the block; leaving closes nothing.

    Raises:
        InstanceNotReady: It cannot be attached to now; nothing has begun.
        InstanceLost: The browser went away under the block.
    """
    from raypool.browser.remote import connect_remote  # noqa: PLC0415 -- Playwright, only when used

    admission = await stay.begin()
    async with _ending(stay.end), connect_remote(admission.endpoint, admission.page_id) as remote:
        yield Components(remote.browser, remote.context, remote.page)


@asynccontextmanager
async def _ending(end: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """Await *end* after the block; an error of the block is worth more than one of the end."""
    try:
        yield
    except BaseException:
        with suppress(RaypoolError):
            await end()
        raise
    await end()


@contextmanager
def ending(end: Callable[[], None]) -> Iterator[None]:
    """Call *end* after the block; the same for scripts without asyncio."""
    try:
        yield
    except BaseException:
        with suppress(RaypoolError):
            end()
        raise
    end()

"""What driver scripts hold: one object that runs functions in the browsers of many businesses."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from typing import Any, Self, TypeVar
from weakref import WeakValueDictionary

from actors.turns import Turns
from raypool import calls
from raypool.attaching import ATTEMPTS, PAUSE_S, Components, Visit, visit
from raypool.config import Settings
from raypool.errors import (
    ErrorCodes,
    InstanceLost,
    InstanceNotReady,
    create_error,
)
from raypool.ids import parse_business_id, parse_duration, parse_email
from raypool.logs import get_logger, traced
from raypool.model import CheckpointInfo, Desired, Outcome, Session
from raypool.operations import KEY_PREFIX, Fleet, Operations, business_of
from raypool.retry import RetryBudget
from raypool.spec import parse_spec
from raypool.store.sessions import RedisSessionManager

log = get_logger(__name__)
T = TypeVar("T")

DEFAULT_CONCURRENCY = 4


class AsyncPool(Operations):
    """Browsers of many businesses, each signed in, one command at a time each.

    Made by :func:`raypool.connect_async`. All methods may be called concurrently.
    """

    def __init__(
        self,
        sessions: RedisSessionManager,
        fleet: Fleet,
        settings: Settings,
        on_close: Callable[[], Awaitable[None]],
    ) -> None:
        super().__init__(sessions, fleet, settings, on_close)
        self._budget = RetryBudget()
        """Of runs that are done again: a fleet that is dying is not hammered by its own retries."""
        self._turns: WeakValueDictionary[str, Turns] = WeakValueDictionary()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Leave the fleet. Idempotent. The last to leave a local fleet brings it down in order."""
        on_close, self._on_close = self._on_close, _nothing
        await on_close()

    async def get_or_create_instance(
        self, business_id: str, *, email: str | None = None, **spec: Any
    ) -> str:
        """Return the key of the business's instance once it is ready, restored and verified.

        Idempotent; two callers at once get the same instance. A spec that needs a new browser takes
        effect at the next incarnation, and the log says so.

        Args:
            business_id: ``[A-Za-z0-9][A-Za-z0-9._-]{0,127}``.
            email: Whose account it is; kept in the record.
            **spec: Names of Playwright's ``new_context``, and ``browser``, ``headless``, ``probe``,
                ``idle_after``, ``ttl``.

        Raises:
            ConfigurationError: An argument does not fit.
            SessionLocked: Another cluster holds the business.
            InstanceNotReady: It did not come up in ``RAYPOOL_START_TIMEOUT``.
        """
        parse_business_id(business_id)
        parse_spec(spec)
        with traced(business_id):
            self._fleet.check()
            before = await self.sessions.get_active_session(business_id)
            email = parse_email(email) if email is not None else None
            session = await self._want(business_id, email=email, **spec)
            await self._ready(business_id)
            if before and before.observed.pid and before.spec.needs_new_browser(session.spec):
                log.warning("spec changed; it takes effect with the next browser")
            return f"{KEY_PREFIX}{business_id}"

    async def run(
        self,
        business_id: str,
        fn: Callable[..., Awaitable[T]],
        *args: Any,
        timeout: float | None = None,
        idempotent: bool = False,
        **kwargs: Any,
    ) -> T:
        """Return ``await fn(page, *args, **kwargs)``, run inside the business's actor.

        When it returns, what it changed is acknowledged by Redis. One at a time a business, in order.

        Args:
            business_id: Its instance is made when there is none.
            fn: ``async def fn(page, …)``; its arguments and result must pickle.
            *args: Passed on.
            timeout: Seconds for *fn*; ``RAYPOOL_COMMAND_TIMEOUT`` when None.
            idempotent: Run it again on the next incarnation when the instance dies meanwhile.
            **kwargs: Passed on.

        Raises:
            InstanceLost: The instance died while *fn* ran (retryable).
            FunctionFailed: *fn* raised; ``__cause__`` is its error. The state was saved all the same.
            CommandTimeout: *fn* ran past *timeout*.
            RateLimitError: ``RAYPOOL_MAX_QUEUED`` calls wait for the business already, or this one
                waited for ``RAYPOOL_COMMAND_TIMEOUT``; *fn* has not begun.
        """
        value, _ = await self._run(business_id, fn, args, kwargs, timeout, idempotent)
        return value

    async def _run(
        self,
        business_id: str,
        fn: Callable[..., Awaitable[T]],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        timeout: float | None,
        idempotent: bool,
    ) -> tuple[T, int]:
        parse_business_id(business_id)
        seconds = self._settings.command_timeout
        if timeout is not None:
            seconds = parse_duration(timeout, name="timeout")
        call = calls.pack_call(fn, args, kwargs)
        most, patience = self._settings.max_queued, self._settings.command_timeout
        turns = self._turns.setdefault(business_id, Turns(business_id, most, patience))
        async with (
            turns.take()
        ):  # the actor would take them in the order in which they arrive there
            with traced(business_id):
                return await self._attempts(business_id, call, seconds, idempotent)

    async def _attempts(
        self, business_id: str, call: bytes, seconds: float, idempotent: bool
    ) -> tuple[Any, int]:
        await self._want(business_id)
        self._budget.record_call()
        attempt = 1
        while True:
            await self._ready(business_id)
            try:
                return await self._fleet.run(business_id, call, seconds), attempt
            except InstanceNotReady:  # it had not begun
                if attempt == ATTEMPTS:
                    raise
            except InstanceLost:
                if not idempotent or attempt == ATTEMPTS or not self._budget.spend():
                    raise
            await asyncio.sleep(PAUSE_S * attempt)
            attempt += 1

    async def map(
        self,
        fn: Callable[..., Awaitable[T]],
        business_ids: Iterable[str],
        *args: Any,
        concurrency: int | None = None,
        progress: bool = False,
        timeout: float | None = None,
        idempotent: bool = False,
        **kwargs: Any,
    ) -> AsyncIterator[Outcome[T]]:
        """Run *fn* for each business and yield each :class:`Outcome` as it ends.

        One failure never stops the rest. At most *concurrency* (4) run at once.
        """
        ids = list(dict.fromkeys(business_ids))
        room = asyncio.Semaphore(
            _positive(DEFAULT_CONCURRENCY if concurrency is None else concurrency)
        )

        async def one(business_id: str) -> Outcome[T]:
            async with room:
                return await self._outcome(business_id, fn, args, kwargs, timeout, idempotent)

        tasks = [asyncio.ensure_future(one(business_id)) for business_id in ids]
        try:
            with _bar(len(ids), show=progress) as advance:
                for done in asyncio.as_completed(tasks):
                    outcome = await done
                    advance()
                    yield outcome
        finally:
            for task in tasks:
                task.cancel()

    async def _outcome(
        self,
        business_id: str,
        fn: Callable[..., Awaitable[T]],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        timeout: float | None,
        idempotent: bool,
    ) -> Outcome[T]:
        began = time.monotonic()
        try:
            value, attempts = await self._run(business_id, fn, args, kwargs, timeout, idempotent)
        except Exception as error:  # noqa: BLE001 -- the outcome carries it
            return Outcome(business_id, False, error=error, seconds=time.monotonic() - began)
        seconds = time.monotonic() - began
        return Outcome(business_id, True, value=value, attempts=attempts, seconds=seconds)

    async def checkpoint(self, business_id: str) -> CheckpointInfo:
        """Save the business's state now and return the acknowledged version."""
        with traced(parse_business_id(business_id)):
            info: CheckpointInfo = await self._fleet.checkpoint(business_id)
            return info

    @asynccontextmanager
    async def attach(self, business_id: str) -> AsyncIterator[Any]:
        """Give the block a real Playwright ``BrowserContext`` on the business's live browser.

        It is used over Playwright's own connection, beside the functions that run there; what it
        changes is saved as it goes, and acknowledged when the block ends. Leaving closes nothing.
        docs/attach.md says what is different from a context of one's own.

        Raises:
            InstanceLost: The browser went away under the block.
        """
        async with self.get_instance_components(business_id) as components:
            yield components.context

    @asynccontextmanager
    async def get_instance_components(self, key: str) -> AsyncIterator[Components]:
        """Give the block ``Components(browser, context, page, agent)`` of a live browser.

        See :meth:`attach`.
        """
        with traced(business_of(key)):
            async with visit(self.visiting(key)) as components:
                yield components

    def visiting(self, key: str) -> Visit:
        """Return a visit to a business's browser that has not begun."""
        business_id = business_of(key)

        async def up() -> None:
            await self._want(business_id)
            await self._ready(business_id)

        return Visit(self._fleet, business_id, up)

    async def _want(self, business_id: str, **changes: Any) -> Session:
        self._fleet.check()
        return await self.sessions.ensure_active(business_id, desired=Desired.RUNNING, **changes)

    async def _ready(self, business_id: str) -> None:
        await self._fleet.ready(business_id, self._settings.start_timeout)


def _positive(concurrency: int) -> int:
    if isinstance(concurrency, int) and concurrency > 0:
        return concurrency
    raise create_error(
        ErrorCodes.CONFIG_INVALID_ARGUMENT, f"concurrency={concurrency!r} must be 1 or more"
    )


def _bar(total: int, *, show: bool) -> AbstractContextManager[Callable[[], None]]:
    if not show:
        return nullcontext(lambda: None)
    from raypool.progress import bar  # noqa: PLC0415 -- only for people

    return bar("businesses", total)


async def _nothing() -> None:
    """Leave what was left already."""

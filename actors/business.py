"""The Ray actor of one business: a shell. What it does is in :mod:`actors.session`.

The constructor stores ids and cannot fail; ``start`` does the work. Every method answers with a
packed reply (:mod:`raypool.calls`), so that errors reach the caller as they are.
"""

import asyncio
import os
import threading
from collections.abc import Awaitable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import ray

from actors.life import Incarnation
from actors.names import business_actor
from actors.ports import Stores
from actors.runtime import title_process
from actors.session import InstanceSession
from actors.turns import not_ready
from raypool import calls, context, logs
from raypool.browser.live import Launcher
from raypool.config import Settings
from raypool.store.crypto import Keyring
from raypool.store.sessions import RedisSessionManager

log = logs.get_logger(__name__)
EXIT_DELAY_S = 0.2
TITLE_EVERY_S = 2.0


@ray.remote(concurrency_groups={"control": 4})  # type: ignore[call-overload]
class Business:
    """Owns the browser of one business for one incarnation."""

    def __init__(self, business_id: str) -> None:
        self.business_id = business_id
        self._session: InstanceSession | None = None
        self._manager: RedisSessionManager | None = None
        self._thread = threading.get_ident()
        self._ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def __repr__(self) -> str:
        return business_actor(self.business_id)

    async def start(self, incarnation: Incarnation, settings: Settings, keyring: Keyring) -> bytes:
        """Come up: lease, browser, restore, probe. Answers when ready."""
        here = settings.on_this_node()
        logs.configure(here.log_format, here.log_level)
        with context.bound(business_id=self.business_id, session_id=incarnation.session_id):
            return await self._replied(self._start(incarnation, here, keyring), "start")

    async def _start(self, incarnation: Incarnation, settings: Settings, keyring: Keyring) -> None:
        self._manager = manager = RedisSessionManager(settings, keyring)
        await manager.open()
        self._session = InstanceSession(
            incarnation,
            settings,
            Stores(manager, manager.leases, manager.checkpoints, manager.breakers),
            Launcher(settings.chromium),
            lambda: _open_leases(settings, keyring),
            self._end,
        )
        await self._session.start()

    async def run(self, call: bytes, timeout: float, ids: dict[str, object]) -> bytes:
        """Run a packed function on the page; what it changed is durable when this answers.

        It goes on to its end when the caller leaves: Ray cancels the calls of a driver that is gone
        (https://github.com/ray-project/ray/issues/53665), and half a command is worse than a whole.
        """
        with context.bound(**ids):
            work = asyncio.ensure_future(self._replied(self._run(call, timeout), "the function"))
            return await asyncio.shield(work)

    async def _run(self, call: bytes, timeout: float) -> bytes:
        fn, args, kwargs = calls.unpack_call(call)
        value = await self._live.run(lambda page: fn(page, *args, **kwargs), timeout)
        return calls.pack_value(value)

    async def checkpoint(self, ids: dict[str, object]) -> bytes:
        """Save now; answers with the acknowledged version."""
        with context.bound(**ids):
            work = asyncio.ensure_future(self._replied(self._live_checkpoint(), "checkpoint"))
            return await asyncio.shield(work)

    async def _live_checkpoint(self) -> Any:
        return await self._live.checkpoint()

    async def stop(self, timeout: float) -> bytes:
        """Save, close, release; the process is then of no more use."""
        with context.bound(business_id=self.business_id):
            return await self._replied(self._live.stop(timeout), "stop")

    async def hibernate(self, idle_for: float, timeout: float) -> bytes:
        """The same, if nobody has used it for *idle_for* seconds; answers None if somebody has."""
        with context.bound(business_id=self.business_id):
            return await self._replied(self._live.hibernate(idle_for, timeout), "hibernate")

    async def attach(self, ticket_id: str, ids: dict[str, object]) -> bytes:
        """Let a driver in; answers with where the browser listens."""
        with context.bound(**ids):
            host = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
            return await self._replied(self._live.attach(ticket_id, host), "attach")

    async def stay(self, ticket_id: str) -> bytes:
        """Keep a driver attached."""

        async def stay() -> None:
            self._live.stay(ticket_id)

        return await self._replied(stay(), "attach")

    async def detach(self, ticket_id: str, ids: dict[str, object]) -> bytes:
        """End a driver's visit; what it changed is durable when this answers."""
        with context.bound(**ids):
            work = asyncio.ensure_future(self._replied(self._live.detach(ticket_id), "detach"))
            return await asyncio.shield(work)

    async def touch(self) -> None:
        """Begin to count idle time anew."""
        self._live.touch()

    async def ended(self) -> str:
        """Answer only when this incarnation ended by itself, with the reason."""
        while not self._ended.done():
            title_process(self)
            await asyncio.wait({self._ended}, timeout=TITLE_EVERY_S)
        return self._ended.result()

    @ray.method(concurrency_group="control")
    async def describe(self) -> dict[str, Any]:
        """Answer at once, also while the event loop of the browser is busy."""
        seen = self._session.describe() if self._session else {"phase": None}
        node_id = ray.get_runtime_context().get_node_id()
        return {**seen, "pid": os.getpid(), "node_id": node_id}

    @property
    def _live(self) -> InstanceSession:
        if self._session is None:  # a caller that found the name is faster than the supervisor
            raise not_ready(self.business_id, "is coming up")
        return self._session

    async def _replied(self, work: Awaitable[Any], what: str) -> bytes:
        try:
            value = await work
            return value if isinstance(value, bytes) else calls.pack_value(value)
        except Exception as error:  # noqa: BLE001 -- every error goes to the caller
            return calls.pack_error(error, what)

    def _end(self, reason: str) -> None:
        """End the process. Called from the loop or, when the loop is stuck, from the keeper."""
        log.error("incarnation over", business_id=self.business_id, reason=reason)
        if threading.get_ident() != self._thread:
            os._exit(1)
        if not self._ended.done():
            self._ended.set_result(reason)
        self._ended.get_loop().call_later(EXIT_DELAY_S, os._exit, 1)


def _open_leases(settings: Settings, keyring: Keyring) -> AbstractAsyncContextManager[Any]:
    @asynccontextmanager
    async def opened() -> Any:
        async with RedisSessionManager(settings, keyring) as manager:
            yield manager.leases

    return opened()

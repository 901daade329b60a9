"""The pool for scripts that do not use asyncio: the same methods, called plainly."""

import asyncio
import inspect
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self, TypeVar

from raypool.attaching import Components, ending
from raypool.errors import ErrorCodes, create_error
from raypool.model import CheckpointInfo, InstanceStatus, Lease, Outcome
from raypool.pool import AsyncPool
from raypool.store.circuit import Breaker

T = TypeVar("T")


class LoopThread:
    """An event loop of its own, in a thread, for as long as a sync pool lives."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="raypool", daemon=True)
        self._thread.start()

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Run *work* on the loop and return its result; Ctrl-C cancels it.

        Raises:
            ConfigurationError: The loop has ended.
        """
        if self.closed:
            work.close()
            raise create_error(
                ErrorCodes.CONFIG_INVALID,
                "the pool is closed",
                recovery="Call raypool.connect() again, or stay inside its `with` block.",
            )
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    @property
    def closed(self) -> bool:
        """Whether the loop has ended."""
        return self._loop.is_closed()

    def close(self) -> None:
        """End the loop. Idempotent."""
        if self._loop.is_running():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(timeout=5)
        if not self._loop.is_running() and not self._loop.is_closed():
            self._loop.close()


class Sessions:
    """The :class:`RedisSessionManager`, with its methods called plainly."""

    def __init__(self, manager: Any, loop: LoopThread) -> None:
        self._manager, self._loop = manager, loop

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._manager, name)
        if not inspect.iscoroutinefunction(method):
            return method
        return lambda *args, **kwargs: self._loop.call(method(*args, **kwargs))

    @contextmanager
    def lock(self, business_id: str, **options: Any) -> Iterator[int]:
        """Hold the business's lease for the block; gives the fencing token."""
        held = self._manager.lock(business_id, **options)
        token = self._loop.call(held.__aenter__())
        try:
            yield token
        finally:
            self._loop.call(held.__aexit__(None, None, None))


class Pool:
    """Browsers of many businesses; see :class:`raypool.AsyncPool` for what each method promises.

    Made by :func:`raypool.connect`. Use it as a context manager, or call :meth:`close`.
    """

    def __init__(self, pool: AsyncPool, loop: LoopThread) -> None:
        self._pool, self._loop = pool, loop
        self.sessions = Sessions(pool.sessions, loop)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave the fleet. Idempotent. The last to leave a local fleet brings it down in order."""
        if self._loop.closed:
            return
        try:
            self._loop.call(self._pool.close())
        finally:
            self._loop.close()

    def get_or_create_instance(
        self, business_id: str, *, email: str | None = None, **spec: Any
    ) -> str:
        """Return the key of the business's instance once it is ready, restored and verified."""
        return self._loop.call(self._pool.get_or_create_instance(business_id, email=email, **spec))

    def run(
        self,
        business_id: str,
        fn: Callable[..., Awaitable[T]],
        *args: Any,
        timeout: float | None = None,
        idempotent: bool = False,
        **kwargs: Any,
    ) -> T:
        """Return ``await fn(page, …)``, run inside the business's actor; its changes are durable."""
        return self._loop.call(
            self._pool.run(business_id, fn, *args, timeout=timeout, idempotent=idempotent, **kwargs)
        )

    def map(
        self,
        fn: Callable[..., Awaitable[T]],
        business_ids: Iterable[str],
        *args: Any,
        **kwargs: Any,
    ) -> Iterator[Outcome[T]]:
        """Run *fn* for each business and yield each outcome as it ends; one failure stops nothing."""
        outcomes = self._pool.map(fn, business_ids, *args, **kwargs)
        try:
            while True:
                try:
                    yield self._loop.call(_next(outcomes))
                except StopAsyncIteration:
                    return
        finally:
            self._loop.call(_close(outcomes))

    def checkpoint(self, business_id: str) -> CheckpointInfo:
        """Save the business's state now and return the acknowledged version."""
        return self._loop.call(self._pool.checkpoint(business_id))

    def checkpoints(self, business_id: str) -> list[CheckpointInfo]:
        """Return the kept versions of a business's state, newest first."""
        return self._loop.call(self._pool.checkpoints(business_id))

    def rollback(self, business_id: str, version: int) -> CheckpointInfo:
        """Go back to a version; returns the new one that repeats it."""
        return self._loop.call(self._pool.rollback(business_id, version))

    def export_session(self, business_id: str, file: str | Path, **options: Any) -> CheckpointInfo:
        """Write a version of a business's state into one file."""
        return self._loop.call(self._pool.export_session(business_id, file, **options))

    def import_session(self, file: str | Path, **options: Any) -> CheckpointInfo:
        """Make the state in a file the newest version of a business."""
        return self._loop.call(self._pool.import_session(file, **options))

    def update_instance_activity(self, key: str) -> None:
        """Slide the idle timer and the TTL of an instance."""
        self._loop.call(self._pool.update_instance_activity(key))

    def remove_instance(self, key: str) -> None:
        """Stop an instance: acknowledged checkpoint, browser gone, lease released, actor gone."""
        self._loop.call(self._pool.remove_instance(key))

    @contextmanager
    def attach(self, business_id: str) -> Iterator[Any]:
        """Give the block a real (synchronous) Playwright ``BrowserContext`` on the live browser."""
        with self.get_instance_components(business_id) as components:
            yield components.context

    @contextmanager
    def get_instance_components(self, key: str) -> Iterator[Components]:
        """Give the block ``Components(browser, context, page, agent)``, for the calling thread."""
        from raypool.browser.remote_sync import connect_remote_sync  # noqa: PLC0415 -- Playwright

        stay = self._pool.visiting(key)
        admission = self._loop.call(stay.begin())
        with (
            ending(lambda: self._loop.call(stay.end())),
            connect_remote_sync(admission.endpoint, admission.page_id) as remote,
        ):
            yield Components(remote.browser, remote.context, remote.page)

    def hibernate(self, business_id: str) -> None:
        """Save a business and close its browser; the next call wakes it."""
        self._loop.call(self._pool.hibernate(business_id))

    def wake(self, business_id: str) -> str:
        """Bring a business up and return its key once it is ready."""
        return self._loop.call(self._pool.wake(business_id))

    def release(self, business_id: str) -> None:
        """Let a business out of quarantine."""
        self._loop.call(self._pool.release(business_id))

    def drain(self, node_id: str, timeout: Any = 60.0) -> list[dict[str, Any]]:
        """Empty a node for good; return what could not be saved."""
        return self._loop.call(self._pool.drain(node_id, timeout))

    def unlock(self, business_id: str, reason: str) -> Lease | None:
        """Break the lease of a business, whoever holds it; return whom it was taken from."""
        return self._loop.call(self._pool.unlock(business_id, reason))

    def hand_over(self, business_id: str, cluster: str, timeout: Any = 120.0) -> None:
        """Move a business to another cluster on the same Redis."""
        self._loop.call(self._pool.hand_over(business_id, cluster, timeout))

    def sites(self) -> list[Breaker]:
        """Return the sites that failed lately, and whether commands are kept away from them."""
        return self._loop.call(self._pool.sites())

    def nodes(self) -> list[dict[str, Any]]:
        """Return each node with its places and what its janitor says."""
        return self._loop.call(self._pool.nodes())

    def status(self, business_id: str) -> InstanceStatus:
        """Return all that is known of a business."""
        return self._loop.call(self._pool.status(business_id))

    def instances(self) -> list[InstanceStatus]:
        """Return the status of every business that is wanted or live."""
        return self._loop.call(self._pool.instances())


async def _next(outcomes: Any) -> Any:
    return await anext(outcomes)


async def _close(outcomes: Any) -> None:
    await outcomes.aclose()

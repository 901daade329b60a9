"""Wire everything together: settings, Redis, Ray, supervisor and pool. One function a process."""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from actors.client import RayFleet
from raypool import local, logs, rays
from raypool.config import Settings
from raypool.errors import ErrorCodes, create_error
from raypool.keyfile import keyring_for
from raypool.local import FleetPaths, Say
from raypool.pool import AsyncPool
from raypool.store.sessions import RedisSessionManager
from raypool.sync_pool import LoopThread, Pool

log = logs.get_logger(__name__)
T = TypeVar("T")


def connect(settings: Settings | None = None, *, say: Say | None = None) -> Pool:
    """Return a pool, connected to the fleet that the settings describe.

    With nothing configured, a local fleet is started (embedded Redis, local Ray) or joined when one
    runs; the last script to leave brings it down in order. With ``RAYPOOL_RAY_ADDRESS`` and
    ``REDIS_URL`` the fleet is the cluster's, and stays.

    Args:
        settings: Read from the environment when None.
        say: Told what is being done, one line a step; None logs it.

    Raises:
        RaypoolError: What is wrong and what to do.

    Example:
        >>> with raypool.connect() as pool:
        ...     pool.run("business-123", post_update, "Open until nine tonight")
    """
    loop = LoopThread()
    try:
        return Pool(loop.call(_connected(settings or Settings(), say or _log)), loop)
    except BaseException:
        loop.close()
        raise


def connect_async(
    settings: Settings | None = None, *, say: Say | None = None
) -> AbstractAsyncContextManager[AsyncPool]:
    """Return :func:`connect`'s pool for asyncio: ``async with raypool.connect_async() as pool``."""

    @asynccontextmanager
    async def opened() -> Any:
        pool = await _connected(settings or Settings(), say or _log)
        try:
            yield pool
        finally:
            await pool.close()

    return opened()


async def _connected(settings: Settings, say: Say) -> AsyncPool:
    if settings.ray_address is None:
        return await _local(settings, say)
    if settings.redis_url is None:
        raise create_error(
            ErrorCodes.CONFIG_INVALID,
            "RAYPOOL_RAY_ADDRESS is set but REDIS_URL is not: an embedded server cannot be reached "
            "from the nodes of a cluster",
            recovery="Set REDIS_URL to a Redis that every node reaches, or unset "
            "RAYPOOL_RAY_ADDRESS for a local fleet.",
        )
    return await _attached(settings, None, None, _nothing)


async def _local(settings: Settings, say: Say) -> AsyncPool:
    member, fleet = await asyncio.to_thread(local.join, settings, say)
    ended = member.ended()

    async def left() -> None:
        member.overlook()
        _report(await _apart(lambda: local.leave(member)))

    try:
        return await _attached(fleet, FleetPaths.of(settings).ray_token, ended, left)
    except BaseException:
        member.overlook()
        member.close()
        raise


async def _attached(
    settings: Settings,
    ray_token: Path | None,
    ended: "asyncio.Future[None] | None",
    left: Callable[[], Awaitable[None]],
) -> AsyncPool:
    keyring, _ = keyring_for(settings, embedded=False)
    manager = RedisSessionManager(settings, keyring)
    await manager.open()
    for problem in manager.warnings:
        log.warning("Redis is not safe", problem=problem.message, recovery=problem.recovery)
    joined = await asyncio.to_thread(rays.connect, settings, ray_token)

    async def close() -> None:
        await manager.close()
        if joined:
            await _apart(rays.leave)
        await left()

    return AsyncPool(manager, RayFleet(settings, keyring, ended), settings, close)


async def _apart(work: Callable[[], T]) -> T:
    """Return what *work* does in a thread of its own: where a Ray died the shared ones may all hang."""
    thread = ThreadPoolExecutor(1)
    try:
        return await asyncio.get_running_loop().run_in_executor(thread, work)
    finally:
        thread.shutdown(wait=False)


def _report(unsaved: list[dict[str, Any]]) -> None:
    for stop in unsaved:
        log.error("not saved", business_id=stop["business_id"], why=stop["why"])


def _log(line: str) -> None:
    log.info(line)


async def _nothing() -> None:
    """Leave a cluster's fleet as it is."""

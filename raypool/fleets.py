"""Fleets as the command line handles them: bring one up, see what it does, take it down."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

from actors.client import RayFleet, ensure_supervisor
from raypool import local, rays
from raypool.config import Settings
from raypool.errors import ErrorCodes, create_error
from raypool.ids import parse_business_id
from raypool.keyfile import keyring_for
from raypool.local import FleetPaths, Member, Say
from raypool.model import Desired, InstanceStatus, Lease
from raypool.operations import STOP_TIMEOUT_S, break_lease, let_out
from raypool.pool import AsyncPool
from raypool.store.circuit import Breaker
from raypool.store.embedded import EmbeddedServer
from raypool.store.sessions import RedisSessionManager
from raypool.versions import Versions
from raypool.wiring import connect_async

T = TypeVar("T")
LOOK_EVERY_S = 2.0


def up(settings: Settings, say: Say) -> dict[str, Any]:
    """Bring the fleet up and leave it running. Idempotent.

    Returns:
        ``ray`` address, ``dashboard`` URL with its ``token_file``, and how many businesses are
        ``wanted``.
    """
    about: dict[str, Any] = {"ray": settings.ray_address, "dashboard": None}
    if settings.ray_address is None:
        member, _ = local.join(settings, say)
        about = member.ask("stay", timeout=5)
        member.close()
    return {**about, "wanted": asyncio.run(_wanted(settings, say))}


async def _wanted(settings: Settings, say: Say) -> int:
    async with connect_async(settings, say=say) as pool:
        if settings.ray_address is not None:  # a local fleet's host has made its supervisor
            keyring, _ = keyring_for(settings, embedded=False)
            supervisor = await asyncio.to_thread(ensure_supervisor, settings, keyring)
            await supervisor.reopen.remote()
        return len(await pool.sessions.list_sessions(desired=Desired.RUNNING))


def stay(settings: Settings) -> list[dict[str, Any]]:
    """Wait for Ctrl-C or SIGTERM, then take the fleet down; return what could not be saved."""
    signals = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    while signal.sigtimedwait(signals, LOOK_EVERY_S) is None:
        if settings.ray_address is None:
            _running(settings).close()  # raises when the fleet is gone: nothing is left to stay for
    return down(settings)


def down(settings: Settings) -> list[dict[str, Any]]:
    """Take the fleet down in order; return what could not be saved.

    Raises:
        NetworkError: No fleet runs.
    """
    if settings.ray_address is None:
        return local.bring_down(_running(settings))
    return asyncio.run(_cluster_down(settings))


async def _cluster_down(settings: Settings) -> list[dict[str, Any]]:
    keyring, _ = keyring_for(settings, embedded=False)
    await asyncio.to_thread(rays.connect, settings, None)
    stops = await RayFleet(settings, keyring).close(STOP_TIMEOUT_S)
    return [stop for stop in stops if not stop["saved"]]


async def status(settings: Settings, business_id: str | None) -> list[InstanceStatus]:
    """Return the status of one business or of all, of a fleet that runs already.

    Raises:
        NetworkError: No fleet runs.
    """
    if settings.ray_address is None:
        _running(settings).close()
    async with connect_async(settings) as pool:
        return [await pool.status(business_id)] if business_id else await pool.instances()


async def operate(settings: Settings, do: Callable[[AsyncPool], Awaitable[T]]) -> T:
    """Return what *do* does with a pool of a fleet that runs already.

    Raises:
        NetworkError: No fleet runs.
    """
    if settings.ray_address is None:
        _running(settings).close()
    async with connect_async(settings) as pool:
        return await do(pool)


async def unlock(settings: Settings, business_id: str, reason: str) -> Lease | None:
    """Break the lease of a business; return whom it was taken from. Needs Redis alone."""
    async with records(settings) as sessions:
        return await break_lease(sessions, business_id, reason)


async def release(settings: Settings, business_id: str) -> None:
    """Let a business out of quarantine. Needs Redis alone."""
    async with records(settings) as sessions:
        await let_out(sessions, business_id)


async def sites(settings: Settings) -> list[Breaker]:
    """Return the sites that failed lately. Needs Redis alone."""
    async with records(settings) as sessions:
        return await sessions.breakers.list()


async def look(settings: Settings, do: Callable[[Versions], Awaitable[T]]) -> T:
    """Return what *do* reads of the versions. Needs Redis alone."""
    return await with_records(settings, lambda sessions: do(Versions(sessions)))


async def change(settings: Settings, business_id: str, do: Callable[[Versions], Awaitable[T]]) -> T:
    """Return what *do* writes as a version of a business. Needs the fleet only if it is live.

    Raises:
        SessionLocked: It is live, and no fleet runs here that could stop it.
    """
    if await with_records(settings, lambda s: s.leases.get(parse_business_id(business_id))):
        member = local.find(settings) if settings.ray_address is None else None
        if member:
            member.close()
        if member or settings.ray_address is not None:
            return await operate(settings, lambda pool: do(pool.versions))
    return await look(settings, do)


async def with_records(settings: Settings, do: Callable[[RedisSessionManager], Awaitable[T]]) -> T:
    """Return what *do* does with the session records."""
    async with records(settings) as sessions:
        return await do(sessions)


@contextlib.asynccontextmanager
async def records(settings: Settings) -> AsyncIterator[RedisSessionManager]:
    """Open the session records, starting the embedded server for as long as it takes."""
    embedded = settings.redis_url is None
    with contextlib.ExitStack() as stack:
        if embedded:
            paths = FleetPaths.of(settings)
            url = stack.enter_context(EmbeddedServer(paths.redis)).url
            settings = Settings(**{**settings.model_dump(), "redis_url": url})
        keyring, _ = keyring_for(settings, embedded=embedded)
        async with RedisSessionManager(settings, keyring) as manager:
            yield manager


def _running(settings: Settings) -> Member:
    member = local.find(settings)
    if member is None:
        raise create_error(
            ErrorCodes.NETWORK_RAY_UNREACHABLE,
            "no local fleet is running with these settings",
            recovery="Start one with `raypool up`, or set RAYPOOL_RAY_ADDRESS to a cluster's.",
        )
    return member

"""Redis: the server that REDIS_URL names, or the embedded one that takes its place."""

import asyncio
import os
import shutil
import tempfile
import time
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from raypool.config import Settings
from raypool.doctor.address import ENCODE, Address, advice, read_address
from raypool.doctor.background import in_thread
from raypool.doctor.report import Check, Finding, Level, conclude
from raypool.errors import ErrorCodes, StorageError
from raypool.store.client import build_client
from raypool.store.server_check import ServerReport, inspect_server
from raypool.store.server_process import bundled_server, find_server

_NAME = "redis"
_SOCKET_TIMEOUT_S = 3.0
_PORT, _SENTINEL_PORT = 6379, 26379
_LITTLE_ROOM = 200 * 2**20
_NO_ROOM = 16 * 2**20


async def check_redis(settings: Settings) -> Check:
    """Is there a server that can hold sessions, and will it keep them?"""
    if settings.redis_url is None:
        return await in_thread(_check_embedded, settings)
    url = settings.redis_url.get_secret_value()
    address = read_address(url, _SENTINEL_PORT if "+sentinel:" in url else _PORT)
    if address is None or not (address.scheme == "unix" or address.hosts[0][0]):
        return _unreadable()
    closed = await _judge_doors(address) if "+" in address.scheme else None
    if closed and closed.level is Level.FAIL:
        return conclude(_NAME, address.shown, [closed])
    return await _check_server(settings.redis_url, address, closed)


def _unreadable() -> Check:
    do = f"Write it as redis://user:password@host:6379/0. {ENCODE}"
    return Check(_NAME, Level.FAIL, "REDIS_URL cannot be read", do)


async def _check_server(url: SecretStr, address: Address, known: Finding | None) -> Check:
    try:
        client = _client(url, address)
    except (ValueError, RedisError):  # the text of either quotes the URL
        return _unreadable()
    try:
        report = await inspect_server(client)
        return _described(report, address, await _ping_ms(client), known)
    except StorageError as error:
        denied = error.code is ErrorCodes.STORAGE_ACCESS_DENIED
        do = error.recovery if denied else advice(error, "REDIS_URL")
        saw = f"{address.shown}: {error.message[:300]}"
        return conclude(_NAME, saw, [Finding(Level.FAIL, "", do), known])
    finally:
        await _close(client)


def _client(url: SecretStr, address: Address) -> Any:
    if "+" in address.scheme:
        return build_client(url, "raypool-doctor", timeout=_SOCKET_TIMEOUT_S, connections=2)
    # One try: what the fleet's client would try again for long is to be said now.
    return Redis.from_url(
        url.get_secret_value(),
        socket_timeout=_SOCKET_TIMEOUT_S,
        socket_connect_timeout=_SOCKET_TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
    )


async def _close(client: Any) -> None:
    # A client that goes through Sentinels leaves its connections to them open.
    manager = getattr(getattr(client, "connection_pool", None), "sentinel_manager", None)
    for each in (client, *(manager.sentinels if manager else ())):
        with suppress(RedisError, OSError):
            await each.aclose()


async def _ping_ms(client: Redis) -> str:
    started = time.perf_counter()
    try:
        await client.ping()
    except RedisError as error:
        return f"PING refused ({type(error).__name__})"
    return f"PING {(time.perf_counter() - started) * 1000:.1f} ms"


def _described(report: ServerReport, address: Address, ping: str, known: Finding | None) -> Check:
    saw = (
        f"{report.server} {report.version} at {address.shown}, {ping},"
        f" persistence {report.persistence}, policy {report.maxmemory_policy}"
    )
    problems = (Finding(Level(p.level), p.message, p.recovery) for p in report.problems)
    return conclude(_NAME, saw, [*problems, known])


async def _judge_doors(address: Address) -> Finding | None:
    """Say which Sentinels or cluster nodes take no connection; a *fail* when none does."""
    errors = await asyncio.gather(*(_knock(host, port) for host, port in address.hosts))
    closed = [f"{h}:{p}" for (h, p), error in zip(address.hosts, errors, strict=True) if error]
    first = next(filter(None, errors), None)
    if first is None:
        return None
    level = Level.FAIL if len(closed) == len(errors) else Level.WARN
    return Finding(level, f"Not reached: {', '.join(closed)}", advice(first, "REDIS_URL"))


async def _knock(host: str, port: int) -> OSError | None:
    try:
        async with asyncio.timeout(_SOCKET_TIMEOUT_S):
            _, writer = await asyncio.open_connection(host, port)
    except OSError as error:
        return error
    writer.close()
    return None


def _check_embedded(settings: Settings) -> Check:
    if settings.ray_address is not None:
        return Check(
            _NAME,
            Level.FAIL,
            "RAYPOOL_RAY_ADDRESS is set but REDIS_URL is not: nodes of a cluster cannot reach an"
            " embedded server",
            "Set REDIS_URL to a Redis that every node reaches, or unset RAYPOOL_RAY_ADDRESS.",
        )
    program = find_server()
    source = "bundled" if program == bundled_server() else "of this system"
    # Imported late: it brings Ray with it, which takes a while to load.
    local = import_module("raypool.local")
    directory: Path = local.FleetPaths.of(settings).redis
    saw = f"Embedded server ({source}: {program}), data in {directory}"
    if member := local.find(settings):
        member.close()
        saw += "; the local fleet's host is up"
    return conclude(_NAME, saw, [_judge_directory(directory)])


def _judge_directory(directory: Path) -> Finding | None:
    place = next(path for path in (directory, *directory.parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            os.fsync(file.fileno())
    except OSError as error:
        return Finding(
            Level.FAIL,
            f"{place} cannot be written: {error.strerror}",
            "Set RAYPOOL_DATA_DIR to a directory on a local disk that this user can write.",
        )
    return judge_room(shutil.disk_usage(place).free)


def judge_room(free: int) -> Finding | None:
    """Judge the *free* bytes of the disk that the embedded server writes to."""
    if free >= _LITTLE_ROOM:
        return None
    level = Level.WARN if free >= _NO_ROOM else Level.FAIL
    return Finding(
        level,
        f"Only {free // 2**20} MB are free there",
        "Free some space there, or set RAYPOOL_DATA_DIR to another disk.",
    )

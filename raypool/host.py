"""The process behind a local fleet: owns the embedded server and the local Ray, and their end.

Started by :mod:`raypool.local` with its settings on standard input; answers there once, when it
listens or when it failed. It lives while it has members, or until it is told to go, and whatever
ends it (last member, ``down``, SIGTERM) goes the same way: every instance stopped after an
acknowledged checkpoint, then Ray, then Redis.
"""

import asyncio
import contextlib
import fcntl
import json
import os
import pickle
import signal
import struct
import sys
from typing import Any

import psutil
from pydantic import SecretStr

from actors.client import RayFleet, ensure_supervisor
from raypool import calls, logs, rays
from raypool.browser.proc import Process, kill_session, living
from raypool.browser.processes import sweep
from raypool.config import Settings
from raypool.keyfile import keyring_for
from raypool.local import FleetPaths
from raypool.model import Desired
from raypool.store.embedded import EmbeddedServer
from raypool.store.sessions import RedisSessionManager

log = logs.get_logger(__name__)

STOP_TIMEOUT_S = 20.0
LONELY_S = 0.5
SERVER_POLL_S = 0.1
SERVER_RETRY_S = 1.0
RAY_POLL_S = 0.5
_LENGTH = struct.Struct("!I")


class Host:
    """One local fleet while it runs."""

    def __init__(self, settings: Settings) -> None:
        self._paths = FleetPaths.of(settings)
        self._server = None if settings.redis_url else EmbeddedServer(self._paths.redis)
        self._settings = settings
        self._members: set[asyncio.StreamWriter] = set()
        self._stay = False
        self._over = asyncio.Event()
        self._unsaved: asyncio.Future[list[dict[str, Any]]] | None = None
        self._fleet: RayFleet | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._ray: list[int] = []

    async def start(self) -> asyncio.Server:
        """Bring up Redis, Ray and the supervisor, then listen."""
        self._unsaved = asyncio.get_running_loop().create_future()
        settings = self._settings
        if self._server:
            url = await asyncio.to_thread(self._server.start)
            settings = settings.model_copy(update={"redis_url": SecretStr(url)})
            self._keeper = asyncio.create_task(_keep_up(self._server))
        keyring, keys = keyring_for(settings, embedded=self._server is not None)
        # A wrong key or an unusable server is said now, not by the first actor.
        async with RedisSessionManager(settings, keyring) as manager:
            if self._server:
                await _release_dead(manager)
        address = rays.start_local(settings, self._paths.ray_token)
        self._ray = rays.local_servers()
        self._settings = settings.model_copy(
            update={"ray_address": address, "encryption_keys": keys}
        )
        self._fleet = RayFleet(self._settings, keyring)
        await asyncio.to_thread(ensure_supervisor, self._settings, keyring)
        self._paths.socket.unlink(missing_ok=True)
        return await asyncio.start_unix_server(self._serve, self._paths.socket)

    async def run(self) -> None:
        """Live until the fleet is over, then take it down."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._over.set)
        loop.call_later(rays.JOIN_TIMEOUT_S, self._end_if_lonely)
        watching = loop.create_task(self._watch_ray())
        await self._over.wait()
        watching.cancel()
        await self._down()

    async def _watch_ray(self) -> None:
        """End the fleet when Ray's own servers are gone: no call is answered any more."""
        while len(living(self._ray)) == len(self._ray):  # noqa: ASYNC110 -- nobody tells
            await asyncio.sleep(RAY_POLL_S)
        log.error("the local Ray died; the fleet goes down, the next script starts another")
        # Ray's agents, and workers that were just starting, would look for it for up to a minute.
        # Ray's processes stay in this session; Redis and the browsers lead sessions of their own.
        await asyncio.to_thread(kill_session, Process.of(os.getpid()), but=[os.getpid()])
        self._over.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
                request = json.loads(await reader.readexactly(length))["request"]
                answer = await self._answer(request, writer)
                writer.write(_LENGTH.pack(len(answer)) + answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._members.discard(writer)
            writer.close()
            asyncio.get_running_loop().call_later(LONELY_S, self._end_if_lonely)

    async def _answer(self, request: str, writer: asyncio.StreamWriter) -> bytes:
        assert self._unsaved is not None  # noqa: S101 -- made before listening
        match request:
            case "join":
                if self._over.is_set():
                    raise ConnectionError  # going down: whoever asks again starts the next one
                self._members.add(writer)
                return calls.pack_value(self._settings)
            case "stay":
                self._stay = True
                return calls.pack_value(self._about())
            case "leave":
                self._members.discard(writer)
                await asyncio.sleep(LONELY_S)
                self._end_if_lonely()
                if not self._over.is_set():
                    return calls.pack_value([])
            case "down":
                self._over.set()
        return calls.pack_value(await asyncio.shield(self._unsaved))

    def _about(self) -> dict[str, str | None]:
        return {
            "ray": self._settings.ray_address,
            "dashboard": rays.dashboard_url(),
            "token_file": str(self._paths.ray_token),
        }

    def _end_if_lonely(self) -> None:
        if not self._members and not self._stay:
            self._over.set()

    async def _down(self) -> None:
        assert self._fleet is not None  # noqa: S101 -- made before listening
        assert self._unsaved is not None  # noqa: S101
        unsaved = await self._stopped(self._fleet)
        for stop in unsaved:
            log.error("not saved", **stop)
        await asyncio.to_thread(rays.stop_local)
        await asyncio.to_thread(sweep)
        if self._server and self._keeper:
            self._keeper.cancel()
            await asyncio.to_thread(self._server.stop)
        self._paths.socket.unlink(missing_ok=True)
        self._unsaved.set_result(unsaved)
        await asyncio.sleep(0.1)  # for the answer to reach whoever waits for it

    async def _stopped(self, fleet: RayFleet) -> list[dict[str, Any]]:
        """Stop every instance; return what could not be saved."""
        if len(living(self._ray)) < len(self._ray):
            return [_all("the local Ray died")]
        try:
            stops = await asyncio.wait_for(fleet.close(STOP_TIMEOUT_S), 3 * STOP_TIMEOUT_S)
        except Exception as error:  # noqa: BLE001 -- going down must end
            return [_all(f"the fleet did not answer: {error!r}")]
        return [stop for stop in stops if not stop["saved"]]


def _all(why: str) -> dict[str, Any]:
    """Say that nobody's last changes could be saved."""
    return {
        "business_id": "every business",
        "why": f"{why}; what was acknowledged before is saved",
    }


async def _keep_up(server: EmbeddedServer) -> None:
    """Start the server again whenever it died; it comes back with all that it acknowledged."""
    while True:
        await asyncio.sleep(SERVER_POLL_S)
        if server.pid and psutil.pid_exists(server.pid):
            continue
        log.error("the embedded server died; it is started again")
        try:
            await asyncio.to_thread(server.start)
        except Exception as error:  # noqa: BLE001 -- whatever it was, a full disk for one, it may pass
            log.error("the embedded server does not start", error=str(error))  # noqa: TRY400
            await asyncio.sleep(SERVER_RETRY_S)


def main() -> None:
    """Run the host of a local fleet."""
    settings: Settings = pickle.load(sys.stdin.buffer)  # noqa: S301 -- from our own parent
    starter = _Starter()
    logs.configure(settings.log_format, settings.log_level)
    lock = os.open(FleetPaths.of(settings).lock, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        starter.tell(calls.pack_value("another host is starting or running"))
        return
    asyncio.run(_host(settings, starter))


async def _host(settings: Settings, starter: "_Starter") -> None:
    host = Host(settings)
    try:
        listening = await host.start()
    except BaseException as error:
        log.error("host not started", error=str(error))  # noqa: TRY400
        starter.tell(calls.pack_error(error, "the local fleet"))
        with contextlib.suppress(Exception):
            rays.stop_local()
        raise SystemExit(1) from error
    starter.tell(calls.pack_value("listening"))
    async with listening:
        await host.run()


async def _release_dead(manager: RedisSessionManager) -> None:
    """Release what owners of this machine held when they were killed, all at once, with their host.

    The embedded server is this fleet's alone, so an owner whose process is gone is gone for good.
    """
    for session in await manager.list_sessions(desired=Desired.RUNNING):
        lease = await manager.leases.get(session.business_id)
        if lease and lease.holder.pid and not psutil.pid_exists(lease.holder.pid):
            await manager.leases.release(lease)


class _Starter:
    """Whoever started this process and waits for one answer on its standard output.

    The pipe is kept out of the hands of Ray and Redis, which would hold it open for ever.
    """

    def __init__(self) -> None:
        self._pipe = os.dup(sys.stdout.fileno())
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def tell(self, answer: bytes) -> None:
        with os.fdopen(self._pipe, "wb") as pipe:
            pipe.write(answer)


if __name__ == "__main__":
    main()

"""A local fleet's directory and socket: how drivers find its host, join it, and start one.

The host (:mod:`raypool.host`) is the one process that owns the embedded server and the local Ray.
A driver is a member for as long as its connection is open, so that even a SIGKILL of the driver is
seen by the host, which brings the fleet down in order when the last member is gone.
"""

import asyncio
import hashlib
import json
import pickle
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raypool import calls
from raypool.browser.processes import home
from raypool.config import Settings
from raypool.errors import ErrorCodes, NetworkError, RaypoolError, create_error
from raypool.logs import get_logger

log = get_logger(__name__)

Say = Callable[[str], None]
START_TIMEOUT_S = 120.0
LEAVE_TIMEOUT_S = 90.0
GONE_TIMEOUT_S = 30.0
_LENGTH = struct.Struct("!I")


@dataclass(frozen=True)
class FleetPaths:
    """Where the files of one local fleet lie. Fleets that may not share anything differ."""

    directory: Path

    @classmethod
    def of(cls, settings: Settings) -> "FleetPaths":
        """Return the paths of the fleet that *settings* describe."""
        url = settings.redis_url.get_secret_value() if settings.redis_url else "embedded"
        same = f"{url}\n{settings.redis_prefix}\n{settings.namespace}"
        name = hashlib.sha256(same.encode()).hexdigest()[:12]
        return cls(settings.data_dir / "fleets" / name)

    @property
    def lock(self) -> Path:
        """Held by the host while it lives."""
        return self.directory / "lock"

    @property
    def log(self) -> Path:
        """What the host says."""
        return self.directory / "host.log"

    @property
    def redis(self) -> Path:
        """Directory of the embedded server."""
        return self.directory / "redis"

    @property
    def ray_token(self) -> Path:
        """Token of the local Ray."""
        return self.directory / "ray_token"

    @property
    def socket(self) -> Path:
        """Where the host listens. In the temporary directory: socket paths are short by law."""
        name = hashlib.sha256(str(self.directory).encode()).hexdigest()[:12]
        return home() / f"fleet-{name}.sock"


class Member:
    """A connection to the host of a local fleet."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def ask(self, request: str, timeout: float) -> Any:
        """Send one request and return the answer.

        Raises:
            RaypoolError: What the host answered instead.
            OSError: The host is gone.
        """
        self._connection.settimeout(timeout)
        send(self._connection, json.dumps({"request": request}).encode())
        return calls.unpack_reply(receive(self._connection))

    def ended(self) -> "asyncio.Future[None]":
        """Return a future of the running loop that is done when the host is gone.

        The host says nothing unless it is asked: what is there to be read is the end. Call
        :meth:`overlook` before the connection is asked or closed.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()

        def gone() -> None:
            self.overlook()
            future.set_result(None)

        loop.add_reader(self._connection, gone)
        return future

    def overlook(self) -> None:
        """Look for the end of the host no more. Idempotent."""
        asyncio.get_running_loop().remove_reader(self._connection)

    def close(self) -> None:
        """Leave without waiting."""
        self._connection.close()


def send(connection: socket.socket, message: bytes) -> None:
    """Send one framed message."""
    connection.sendall(_LENGTH.pack(len(message)) + message)


def receive(connection: socket.socket) -> bytes:
    """Return one framed message.

    Raises:
        ConnectionError: The other side left.
    """
    (length,) = _LENGTH.unpack(_exactly(connection, _LENGTH.size))
    return _exactly(connection, length)


def _exactly(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        if not (chunk := connection.recv(size - len(data))):
            raise ConnectionError("the host of the fleet is gone")
        data += chunk
    return data


def find(settings: Settings) -> Member | None:
    """Return a connection to the fleet's host, None when it does not run."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect(str(FleetPaths.of(settings).socket))
    except OSError:
        connection.close()
        return None
    return Member(connection)


def join(settings: Settings, say: Say) -> tuple[Member, Settings]:
    """Return a membership and the settings of the running fleet, starting one when there is none.

    Raises:
        RaypoolError: Why the fleet does not come up.
    """
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        member = find(settings)
        if member is None:
            say("starting a local fleet …")
            _start(settings, say)
            continue
        with suppress(OSError):
            fleet: Settings = member.ask("join", timeout=START_TIMEOUT_S)
            return member, fleet
        member.close()  # it was going down; the next round starts another
        time.sleep(0.2)
    raise create_error(
        ErrorCodes.NETWORK_RAY_UNREACHABLE,
        f"the local fleet did not come up within {START_TIMEOUT_S:.0f} s",
        recovery=f"Look into {FleetPaths.of(settings).log}.",
    )


def _start(settings: Settings, say: Say) -> None:
    """Start a host, and another one when Ray does not come up.

    On a busy machine Ray's agent takes longer to load than the 15 s for which its raylet waits
    (2.60; not a setting): the raylet aborts. The second time the machine has it in memory.
    """
    try:
        start_host(settings)
    except RaypoolError as error:
        if error.code is not ErrorCodes.NETWORK_RAY_UNREACHABLE:
            raise
        say("the local Ray did not come up; trying once more …")
        start_host(settings)


def start_host(settings: Settings) -> None:
    """Start the host in the background and return when it listens, or when another one does.

    Raises:
        RaypoolError: Why it did not start.
    """
    paths = FleetPaths.of(settings)
    _private(settings.data_dir, paths.directory)
    with paths.log.open("ab") as host_log:
        host = subprocess.Popen(
            [sys.executable, "-m", "raypool.host"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=host_log,
            start_new_session=True,  # Ctrl-C in the driver's terminal is the driver's own affair
        )
    answer = _answer_of(host, settings)
    # It outlives this call, and may outlive this process; when it does not, it must leave no zombie.
    threading.Thread(target=host.wait, name="raypool-host", daemon=True).start()
    if not answer:
        raise create_error(
            ErrorCodes.INTERNAL_ERROR,
            "the host of the local fleet died while it was starting",
            recovery=f"Look into {paths.log}.",
        )
    try:
        calls.unpack_reply(answer)
    except RaypoolError:
        with suppress(subprocess.TimeoutExpired):
            host.wait(GONE_TIMEOUT_S)  # while it lives no other can start
        raise


def _answer_of(host: "subprocess.Popen[bytes]", settings: Settings) -> bytes:
    """Hand the host its settings and return the one thing that it says: until its pipe closes."""
    assert host.stdin is not None  # noqa: S101 -- it was asked for
    assert host.stdout is not None  # noqa: S101
    patience = threading.Timer(START_TIMEOUT_S, host.kill)
    patience.start()
    try:
        with suppress(BrokenPipeError), host.stdin as pipe:
            pipe.write(pickle.dumps(settings))
        with host.stdout as pipe:
            return pipe.read()
    finally:
        patience.cancel()


def leave(member: Member) -> list[dict[str, Any]]:
    """End a membership; wait for the fleet to come down when it was the last.

    Returns:
        What could not be saved: ``business_id`` and ``why`` of each. Nothing, when somebody else took
        the fleet down before: it was told to them.
    """
    try:
        return _ended(member, "leave")
    except NetworkError as error:
        log.warning("the fleet was gone already", error=error.message)
        return []


def bring_down(member: Member) -> list[dict[str, Any]]:
    """Bring the fleet down for all its members; return what could not be saved."""
    return _ended(member, "down")


def _ended(member: Member, request: str) -> list[dict[str, Any]]:
    try:
        unsaved: list[dict[str, Any]] = member.ask(request, timeout=LEAVE_TIMEOUT_S)
    except (OSError, EOFError) as error:
        raise create_error(
            ErrorCodes.NETWORK_RAY_UNREACHABLE,
            f"the host of the local fleet did not answer while it was going down: {error}",
            recovery="What was acknowledged is kept. `raypool doctor` shows what still runs.",
        ) from error
    finally:
        member.close()
    return unsaved


def _private(*directories: Path) -> None:
    for directory in directories:
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise create_error(
                ErrorCodes.CONFIG_INVALID,
                f"{directory} cannot be used: {error.strerror}",
                recovery="Set RAYPOOL_DATA_DIR to a directory that you may write to.",
            ) from error

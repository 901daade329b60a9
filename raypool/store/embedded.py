"""A real Valkey of our own, for when there is no Redis to connect to.

Who runs it: the first process that starts it owns it, others adopt it, and it ends with its owner.

The lock on the directory is what keeps two servers from writing one append-only file, since
servers take no lock themselves. It is held by the *server*, not by its owner: the owner takes it,
the server inherits the open descriptor, the owner closes its own. So the kernel frees it exactly
when the server is dead, whoever died first and however; and a free lock always means that a new
server may start.
"""

import os
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import BusyLoadingError, RedisError
from redis.retry import Retry

from raypool.errors import ErrorCodes, RaypoolError, create_error
from raypool.store.endpoint import Endpoint, ProcessId, ServerDirectory, unusable
from raypool.store.server_process import ServerProcess, find_server, log_tail, server_config

_POLL_INTERVAL = 0.02
# How long a server may take to end by itself after its owner died, before it is killed.
_ORPHAN_GRACE = 2.0
_PING_TIMEOUT = 1.0


class EmbeddedServer:
    """A Valkey server on a private unix socket, whose acknowledged writes are on disk.

    There is at most one for a directory. The process whose :meth:`start` started it owns it; a
    :meth:`start` elsewhere adopts it. It ends with its owner, even on SIGKILL; an adopter then
    calls :meth:`start` again and becomes the owner. Address and password of a directory stay the
    same, so clients reconnect by themselves. Methods may be called from any thread; all block.

    Args:
        directory: Where data, log and password live; private to this user, on a local disk.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = ServerDirectory(directory)
        self._guard = threading.Lock()
        self._process: ServerProcess | None = None
        self._owner_pid = 0
        self._pid: int | None = None
        self._url: str | None = None

    @property
    def owned(self) -> bool:
        """Whether this process started the server, and so ends it; a forked child never does."""
        return self._process is not None and self._owner_pid == os.getpid()

    @property
    def pid(self) -> int | None:
        """The server's process id, None before :meth:`start` and after :meth:`stop`."""
        return self._pid

    @property
    def url(self) -> str:
        """The address with its password. Never log it."""
        if self._url is None:
            raise create_error(
                ErrorCodes.STORAGE_UNAVAILABLE,
                f"The embedded server in {self._directory.path} is not started.",
                recovery="Call start() before asking for the URL.",
            )
        return self._url

    def start(self, timeout: float = 10.0) -> str:
        """Start the server, or adopt the living one. Idempotent; restarts a server that died.

        Args:
            timeout: Seconds for the server to answer. While it says that it is loading its data
                it is waited for as long as that takes.

        Returns:
            ``unix://:PASSWORD@/path/to/socket``, when the server takes commands.

        Raises:
            StorageError: No program, a directory that cannot be used, a full disk, a server that
                does not come up (with the end of its log) or belongs to a process that hangs.
        """
        with self._guard:
            try:
                self._directory.prepare()
                self._start_or_adopt(timeout)
            except OSError as error:
                raise unusable(self._directory.path, error) from error
            return self.url

    def stop(self, timeout: float = 10.0) -> None:
        """Stop the server if it is ours, else just let go of it. Idempotent.

        Args:
            timeout: Seconds until a server that does not end is killed. It is gone on return.
        """
        with self._guard:
            if self.owned and self._process:
                self._process.stop(timeout)
            self._release()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _release(self) -> None:
        self._process = self._pid = self._url = None

    def _start_or_adopt(self, timeout: float) -> None:
        patience = _Patience(timeout)
        while True:
            lock = self._directory.try_lock()
            if lock is not None:
                self._launch(lock, timeout)
                return
            endpoint = self._directory.read_endpoint()
            if endpoint and not endpoint.owner.alive():
                if patience.waited > min(_ORPHAN_GRACE, timeout / 2):
                    _kill(endpoint.server)
            elif endpoint and self._adopt(endpoint, patience):
                return
            if patience.over:
                raise self._held_by_other(endpoint, timeout)
            time.sleep(_POLL_INTERVAL)

    def _adopt(self, endpoint: Endpoint, patience: "_Patience") -> bool:
        password = self._directory.read_password()
        try:
            if password is None or _ask_pid(endpoint.socket, password) != endpoint.server.pid:
                return False
        except BusyLoadingError:
            patience.renew()
            return False
        except RedisError:
            return False
        if self._process and self._process.pid != endpoint.server.pid:
            self._process = None
        self._pid, self._url = endpoint.server.pid, endpoint.url(password)
        return True

    def _launch(self, lock: int, timeout: float) -> None:
        self._release()
        try:
            self._directory.check_space()
            program = find_server()
            password = self._directory.make_password()
            socket = self._directory.make_socket_path()
            socket.unlink(missing_ok=True)
            config = server_config(self._directory.path, socket, password)
            process = ServerProcess(program, config, self._directory.log, lock)
            endpoint = self._publish(process, socket)
        finally:
            # Only now: as long as we hold it too, nobody else can have written the endpoint.
            os.close(lock)
        self._process, self._owner_pid = process, os.getpid()
        try:
            self._wait_until_ready(endpoint, password, timeout)
        except BaseException:
            process.stop(timeout)
            self._release()
            raise
        self._pid, self._url = process.pid, endpoint.url(password)

    def _publish(self, process: ServerProcess, socket: Path) -> Endpoint:
        try:
            server, owner = ProcessId.of(process.pid), ProcessId.of(os.getpid())
            endpoint = Endpoint(str(socket), server, owner)
            self._directory.write_endpoint(endpoint)
        except psutil.NoSuchProcess as error:
            raise self._did_not_start("ended at once") from error
        except OSError:
            process.stop(_ORPHAN_GRACE)
            raise
        return endpoint

    def _wait_until_ready(self, endpoint: Endpoint, password: str, timeout: float) -> None:
        patience = _Patience(timeout)
        while True:
            if not endpoint.server.alive():
                raise self._did_not_start("ended at once")
            try:
                _ask_pid(endpoint.socket, password)
            except BusyLoadingError:
                patience.renew()
            except RedisError as error:
                if patience.over:
                    raise self._did_not_start(f"did not answer within {timeout:g} s") from error
            else:
                return
            time.sleep(_POLL_INTERVAL)

    def _did_not_start(self, what: str) -> RaypoolError:
        log = self._directory.log
        return create_error(
            ErrorCodes.STORAGE_UNAVAILABLE,
            f"The embedded server in {self._directory.path} {what}. The end of its log:\n"
            f"{log_tail(log)}",
            {"log": str(log)},
            recovery=f"See {log}; free disk or memory if it asks for that, then start again.",
        )

    def _held_by_other(self, endpoint: Endpoint | None, timeout: float) -> RaypoolError:
        holder = f"process {endpoint.owner.pid}" if endpoint else "another process"
        return create_error(
            ErrorCodes.STORAGE_UNAVAILABLE,
            f"The embedded server in {self._directory.path} belongs to {holder} and did not answer"
            f" within {timeout:g} s.",
            {"log": str(self._directory.log)},
            recovery=f"Try again, or end {holder}; its log is {self._directory.log}.",
        )


class _Patience:
    """A timeout that begins anew whenever a server says that it is loading its data."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self.renew()

    def renew(self) -> None:
        self._begun = time.monotonic()

    @property
    def waited(self) -> float:
        return time.monotonic() - self._begun

    @property
    def over(self) -> bool:
        return self.waited > self._timeout


def _ask_pid(socket: str, password: str) -> int:
    """Return the pid of the server at *socket*; redis-py's error when it cannot serve us now."""
    with Redis(
        unix_socket_path=socket,
        password=password,
        socket_timeout=_PING_TIMEOUT,
        socket_connect_timeout=_PING_TIMEOUT,
        retry=Retry(NoBackoff(), 0),
    ) as client:
        client.ping()
        info: Any = client.info("server")
    return int(info["process_id"])


def _kill(server: ProcessId) -> None:
    with suppress(psutil.NoSuchProcess):
        if server.alive():
            psutil.Process(server.pid).kill()

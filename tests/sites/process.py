"""A test site in a process of its own, which says where it listens and dies with who started it."""

from __future__ import annotations

import ctypes
import json
import os
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.parse
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from types import TracebackType

_REPOSITORY = Path(__file__).resolve().parents[2]
_STOP_SECONDS = 5
_PR_SET_PDEATHSIG = 1
# A proxy in the environment must not see what is meant for loopback.
_HTTP = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def die_with(parent_pid: int) -> None:
    """Let the kernel kill this process when its parent *parent_pid* dies (Linux)."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # The parent may have died before the kernel was told to watch it.
    if os.getppid() != parent_pid:
        sys.exit("the parent is gone")


class SiteProcess:
    """A running site; leaving the context kills it.

    The same directory given again brings back all that the site knew. The process dies with the
    thread that entered the context (Linux), so a test that is killed leaves nothing behind.

    Args:
        module: What ``python -m`` runs. It takes ``--directory``, ``--port`` and ``--parent-pid``,
            and says on one line of JSON that it listens: ``url`` and what else there is to know.
        directory: Where the site keeps what it knows; a temporary one, removed at exit, if None.
        port: Where to listen on 127.0.0.1; 0 takes a free port.
        start_timeout: Seconds until a site that does not accept connections is given up.
        options: More arguments.
    """

    url: str

    def __init__(
        self,
        module: str,
        directory: Path | None,
        port: int,
        start_timeout: float,
        options: tuple[str, ...] = (),
    ) -> None:
        self._module, self._options = module, options
        self._kept_directory = directory
        self._port = port
        self._start_timeout = start_timeout

    def __enter__(self) -> Self:
        """Start the site and wait until it accepts connections.

        Raises:
            RuntimeError: The site did not come up; the message carries its standard error.
        """
        prefix = f"{self._module.rpartition('.')[2].replace('_', '-')}-"
        self._directory = self._kept_directory or Path(tempfile.mkdtemp(prefix=prefix))
        self._directory.mkdir(parents=True, exist_ok=True)
        self._process = self._spawn()
        try:
            ready = json.loads(self._read_ready_line())
        except BaseException:
            self._stop()
            raise
        self.url = ready["url"]
        self.listening(ready)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop()

    def listening(self, ready: dict[str, Any]) -> None:
        """Take note of what the site said when it began to listen."""

    @property
    def pid(self) -> int:
        """The process id of the site."""
        return self._process.pid

    def ask(self, method: str, path: str, **query: str) -> Any:
        """Return what the site answers to a request that is for tests, not for browsers."""
        url = f"{self.url}{path}?{urllib.parse.urlencode(query)}"
        request = urllib.request.Request(url, method=method)
        with _HTTP.open(request, timeout=10) as response:
            return json.load(response)

    def _spawn(self) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", self._module]
        command += ["--directory", str(self._directory), "--port", str(self._port)]
        command += ["--parent-pid", str(os.getpid()), *self._options]
        with self._stderr_path.open("w") as stderr:
            return subprocess.Popen(
                command,
                cwd=_REPOSITORY,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                start_new_session=True,  # Ctrl-C is for the tests, which then stop the site
            )

    def _read_ready_line(self) -> str:
        stdout = self._process.stdout
        assert stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(stdout, selectors.EVENT_READ)
            if selector.select(self._start_timeout):
                line = stdout.readline()
                if line:
                    return line
        raise RuntimeError(f"the test site did not start:\n{self._stderr_path.read_text()}")

    def _stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        if self._kept_directory is None:
            shutil.rmtree(self._directory)

    @property
    def _stderr_path(self) -> Path:
        return self._directory / "stderr.log"

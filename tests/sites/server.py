"""Run the test site in a process of its own, so that Django's settings stay out of the tests."""

from __future__ import annotations

import json
import os
import selectors
import shutil
import subprocess
import sys
import tempfile
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

_REPOSITORY = Path(__file__).resolve().parents[2]
_STOP_SECONDS = 5
# A proxy in the environment must not see what is meant for loopback.
_HTTP = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True)
class Account:
    """The credentials of one user of the site."""

    email: str
    password: str
    totp_secret: str


@dataclass(frozen=True)
class Counters:
    """What one user has done, as the site saw it."""

    sign_ins: int
    notices: int
    devices: int
    posts: int


class AllauthSite:
    """A running site with users; leaving the context kills it.

    The same directory given again brings back users, sessions and posts. The process dies with the
    thread that entered the context (Linux), so a test that is killed leaves nothing behind.

    Args:
        directory: Where the database is kept; a temporary one, removed at exit, if not given.
        users: How many users there are at least.
        port: Where to listen on 127.0.0.1; 0 takes a free port.
        start_timeout: Seconds until a site that does not accept connections is given up.
    """

    url: str
    users: list[Account]

    def __init__(
        self,
        directory: Path | None = None,
        *,
        users: int = 3,
        port: int = 0,
        start_timeout: float = 30,
    ) -> None:
        self._kept_directory = directory
        self._user_count = users
        self._port = port
        self._start_timeout = start_timeout

    def __enter__(self) -> Self:
        """Start the site and wait until it accepts connections.

        Raises:
            RuntimeError: The site did not come up; the message carries its standard error.
        """
        self._directory = self._kept_directory or Path(tempfile.mkdtemp(prefix="allauth-site-"))
        self._directory.mkdir(parents=True, exist_ok=True)
        self._process = self._spawn()
        try:
            ready = json.loads(self._read_ready_line())
        except BaseException:
            self._stop()
            raise
        self.url = ready["url"]
        self.users = [Account(**user) for user in ready["users"]]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop()

    @property
    def pid(self) -> int:
        """The process id of the site."""
        return self._process.pid

    def counters(self, email: str) -> Counters:
        """Return what the user has done so far."""
        return Counters(**self._ask("GET", "/test/counters/", email))

    def sign_out_everywhere(self, email: str) -> None:
        """End all sessions of the user, as the button on the page does; idempotent."""
        self._ask("POST", "/test/sign-out-everywhere/", email)

    def _ask(self, method: str, path: str, email: str) -> dict[str, int]:
        query = urllib.parse.urlencode({"email": email})
        request = urllib.request.Request(f"{self.url}{path}?{query}", method=method)
        with _HTTP.open(request, timeout=10) as response:
            answer: dict[str, int] = json.load(response)
        return answer

    def _spawn(self) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "tests.sites.allauth_site"]
        command += ["--directory", str(self._directory), "--port", str(self._port)]
        command += ["--users", str(self._user_count), "--parent-pid", str(os.getpid())]
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

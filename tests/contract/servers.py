"""Real servers for the contract: small, on unix sockets, gone after the test run."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from redis import Redis
from redis.exceptions import RedisError

from raypool.store.server_process import bundled_server

PASSWORD = "kept-secret"


def program(kind: str) -> Path | None:
    """Return the server program of *kind*: ``valkey`` (bundled) or ``redis`` (the system's)."""
    found = shutil.which("redis-server")
    return bundled_server() if kind == "valkey" else Path(found) if found else None


@contextmanager
def running(server: Path, directory: Path, *options: str) -> Iterator[str]:
    """Run *server* on a socket in *directory*; gives its URL, password included."""
    socket = directory / "s"
    command = [server, "--port", "0", "--unixsocket", socket, "--dir", directory, "--save", "",
               "--appendonly", "yes", "--requirepass", PASSWORD, *options]  # fmt: skip
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        url = f"unix://:{PASSWORD}@{socket}"
        _wait_for(url)
        yield url
    finally:
        process.kill()
        process.wait()


@contextmanager
def clustered(server: Path, directory: Path, port: int) -> Iterator[str]:
    """Run a cluster of one node that serves all slots; gives its URL."""
    options = ["--port", str(port), "--cluster-enabled", "yes", "--cluster-config-file",
               str(directory / "nodes"), "--bind", "127.0.0.1"]  # fmt: skip
    with running(server, directory, *options) as url:
        with Redis.from_url(url) as admin:
            admin.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
            while b"cluster_state:ok" not in _info(admin):
                time.sleep(0.02)
        yield f"redis+cluster://:{PASSWORD}@127.0.0.1:{port}"


def _info(admin: "Redis") -> bytes:
    text = admin.execute_command("CLUSTER", "INFO")
    return text if isinstance(text, bytes) else str(text).encode()


def _wait_for(url: str) -> None:
    deadline = time.monotonic() + 10
    while True:
        try:
            with Redis.from_url(url) as admin:
                admin.ping()
        except RedisError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return

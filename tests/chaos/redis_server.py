"""A Redis or Valkey of the run's own, which can be killed and comes back with what it had."""

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
from redis import Redis
from redis.exceptions import RedisError

from tests.chaos import targets
from tests.contract.servers import program

START_TIMEOUT_S = 15.0
# Becomes the server, and dies with the run.
_LAUNCHER = """
import os, sys
from tests.sites.process import die_with
die_with(int(sys.argv[1]))
os.execv(sys.argv[2], sys.argv[2:])
"""


class RedisServer:
    """A server on a unix socket, whose acknowledged writes are on disk.

    Args:
        directory: Where data, log and socket are; its path is short.
    """

    def __init__(self, directory: Path) -> None:
        found = program("redis") or program("valkey")
        assert found is not None
        self._program, self._directory = found, directory
        self.socket = directory / "s"
        self._process: subprocess.Popen[bytes] | None = None

    def find(self, _: str) -> psutil.Process | None:
        """Return its process while it runs."""
        running = self._process is not None and self._process.poll() is None
        return psutil.Process(self._process.pid) if running and self._process else None

    async def start(self) -> None:
        """Start it and wait until it takes commands. Idempotent. Call from the main thread."""
        if self.find("") is None:
            # With any other appendfsync, a write may be acknowledged before it is in the file.
            server = [self._program, "--port", "0", "--unixsocket", self.socket,
                      "--dir", self._directory, "--save", "", "--appendonly", "yes",
                      "--appendfsync", "always", "--maxmemory-policy", "noeviction"]  # fmt: skip
            command = [sys.executable, "-c", _LAUNCHER, str(os.getpid()), *server]
            with (self._directory / "log").open("ab") as log:
                self._process = subprocess.Popen(command, stdout=log, stderr=log)
        await asyncio.to_thread(self._wait)

    def _wait(self) -> None:
        with Redis(unix_socket_path=str(self.socket)) as client:
            for _ in range(int(START_TIMEOUT_S / 0.05)):
                try:
                    client.ping()
                except RedisError:
                    time.sleep(0.05)
                else:
                    return
        raise RuntimeError(f"the server did not start:\n{(self._directory / 'log').read_text()}")

    def kill(self) -> bool:
        """SIGKILL it; tell whether it was there to be killed."""
        process = self.find("")
        if process is None or self._process is None:
            return False
        return targets.kill(process) and self._process.wait() != 0

    def stop(self) -> None:
        """End it for good. Idempotent."""
        process = self.find("")
        if process is not None:
            targets.resume(process)
            self.kill()

"""Real servers for the contract: small, on unix sockets, gone after the test run."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
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
    path = directory / "s"
    command = [server, "--port", "0", "--unixsocket", path, "--dir", directory, "--save", "",
               "--appendonly", "yes", "--requirepass", PASSWORD, *options]  # fmt: skip
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        url = f"unix://:{PASSWORD}@{path}"
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


@dataclass
class Member:
    """One server of a group that replicates, which may be killed and started again."""

    program: Path
    directory: Path
    port: int
    follows: int | None = None

    @contextmanager
    def running(self) -> Iterator[str]:
        """Run it, reachable by other servers too; gives the URL of its socket."""
        self.directory.mkdir(exist_ok=True)
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--masterauth", PASSWORD,
                   "--repl-diskless-sync-delay", "0", "--appendfsync", "always"]  # fmt: skip
        if self.follows:
            options += ["--replicaof", "127.0.0.1", str(self.follows)]
        with running(self.program, self.directory, *options) as url:
            yield url

    def kill(self) -> None:
        """End it as a machine that loses its power would."""
        with Redis(port=self.port, password=PASSWORD) as admin:
            os.kill(int(admin.info("server")["process_id"]), signal.SIGKILL)


def members(server: Path, directory: Path) -> tuple[Member, Member]:
    """Return a primary and its replica, not running yet."""
    primary = Member(server, directory / "1", free_port())
    return primary, Member(server, directory / "2", free_port(), follows=primary.port)


@contextmanager
def replicated(server: Path, directory: Path) -> Iterator[tuple[str, str]]:
    """Run a primary with one replica that is in step; gives the URLs of both."""
    primary, replica = members(server, directory)
    with primary.running() as url, replica.running() as copy:
        wait_in_step(copy)
        yield url, copy


def wait_in_step(replica: str) -> None:
    """Wait until a replica has what its primary has."""
    with Redis.from_url(replica) as admin:
        _until(lambda: admin.info("replication").get("master_link_status") == "up")


@contextmanager
def watched(server: Path, directory: Path, primary: int) -> Iterator[str]:
    """Run three Sentinels that watch a primary with one replica; gives the URL through them."""
    ports = [free_port() for _ in range(3)]
    with ExitStack() as stack:
        for port in ports:
            config = directory / f"sentinel-{port}"
            config.write_text(
                f"port {port}\nbind 127.0.0.1\nsentinel monitor mine 127.0.0.1 {primary} 2\n"
                f"sentinel auth-pass mine {PASSWORD}\nsentinel down-after-milliseconds mine 1000\n"
                "sentinel failover-timeout mine 4000\n"
            )
            process = subprocess.Popen([server, config, "--sentinel"], stdout=subprocess.DEVNULL)
            stack.callback(process.wait)
            stack.callback(process.kill)
            admin = stack.enter_context(Redis(port=port))
            _until(lambda admin=admin: _sees_all(admin))
        hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
        yield f"redis+sentinel://:{PASSWORD}@{hosts}/mine"


def _sees_all(sentinel: Redis) -> bool:
    with suppress(RedisError):
        return bool(sentinel.sentinel_master("mine")["num-slaves"] == 1)
    return False


@contextmanager
def clustered_with_replica(server: Path, directory: Path) -> Iterator[tuple[str, str]]:
    """Run a cluster of one primary and one replica; gives its URL, and the replica's own."""
    primary, replica, ports = directory / "1", directory / "2", (free_port(), free_port())
    primary.mkdir()
    replica.mkdir()
    options = ["--port", str(ports[1]), "--cluster-enabled", "yes", "--cluster-config-file",
               str(replica / "nodes"), "--bind", "127.0.0.1", "--masterauth", PASSWORD,
               "--appendfsync", "always"]  # fmt: skip
    with clustered(server, primary, ports[0]) as url, running(server, replica, *options) as copy:
        with Redis.from_url(copy) as admin, Redis(port=ports[0], password=PASSWORD) as first:
            admin.execute_command("CLUSTER", "MEET", "127.0.0.1", ports[0])
            mine = first.execute_command("CLUSTER", "MYID").decode()
            _until(lambda: mine.encode() in _nodes(admin))
            admin.execute_command("CLUSTER", "REPLICATE", mine)
            _until(lambda: admin.info("replication").get("master_link_status") == "up")
            _until(lambda: first.info("replication")["connected_slaves"] == 1)
        yield url, copy


def free_port() -> int:
    """Return a port that nobody uses, nor the one 10,000 above: a cluster takes both."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = int(first.getsockname()[1])
            with suppress(OSError, OverflowError):
                second.bind(("127.0.0.1", port + 10_000))
                return port


@contextmanager
def paused(url: str) -> Iterator[None]:
    """Stop the process of the server at *url* for the block; its connections stay open."""
    with Redis.from_url(url) as admin:
        pid = int(admin.info("server")["process_id"])
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def _nodes(admin: Redis) -> bytes:
    text = admin.execute_command("CLUSTER", "NODES")
    return text if isinstance(text, bytes) else str(text).encode()


def _until(check: Callable[[], object], timeout: float = 15) -> None:
    deadline = time.monotonic() + timeout
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.02)


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

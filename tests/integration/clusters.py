"""Ray clusters of several nodes on one machine, each node killable by itself; nothing of them stays.

A node is what the deploy files start: ``ray start --block``. Nodes differ by their loopback address;
each has a ``--temp-dir`` (Ray's sockets) and a ``TMPDIR`` (our browsers) of its own, as machines have.
By its ``TMPDIR`` everything that a node started is found and killed, whatever became of its parents.
"""

import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import psutil

from raypool import rays
from raypool.config import Settings
from tests.integration.scripts import ROOT, closed_port, kill, until

T = TypeVar("T")
RAY = ("setpriv", "--pdeathsig", "KILL", str(Path(sys.executable).parent / "ray"), "start")
"""A node ends with the process that started it, also when that one had no time to clean up."""
HEAD_IP = "127.0.0.2"
FAST_HEALTH = {  # a silent node is given up after 4 s, a dead one after 2 s
    "RAY_health_check_initial_delay_ms": "0",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
}
_STORE_BYTES = 80_000_000  # the least that Ray takes


class RayNode:
    """One ``ray start --block`` with all that it starts."""

    def __init__(
        self, command: list[str], variables: Mapping[str, str], directory: Path, address: str
    ) -> None:
        self.address = address
        # Short, since Ray makes sockets below it.
        self.tmp = Path(tempfile.mkdtemp(prefix=f"n{address.rpartition('.')[2]}-", dir=directory))
        self.log = self.tmp / "log"
        self._command = [*command, f"--temp-dir={self.tmp}/ray"]
        self._variables = {**variables, "TMPDIR": str(self.tmp)}
        self._process = self._launched()

    def _launched(self) -> "subprocess.Popen[bytes]":
        with self.log.open("w") as log:
            return subprocess.Popen(
                self._command,
                env=self._variables,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C in a test run must not reach it
            )

    @property
    def pid(self) -> int:
        """Process of ``ray start`` itself."""
        return self._process.pid

    def wait_started(self) -> None:
        """Return when the node is up; try again, as Docker does, when Ray's 30 s were too short."""
        for _ in range(3):
            until(lambda: self._up() or self._process.poll() is not None, "`ray start` is done", 90)
            if self._up():
                return
            self._process = self._launched()
        raise AssertionError(self.log.read_text()[-2000:])

    def _up(self) -> bool:
        return "--block" in self.log.read_text()

    def part(self, program: str) -> int:
        """Return the pid of the node's ``raylet`` or ``gcs_server``."""
        (found,) = [p.pid for p in self.processes() if p.name() == program]
        return found

    def processes(self) -> list[psutil.Process]:
        """Return every process of this node that runs, browsers included."""
        running = [p for p in psutil.process_iter() if _runs(p)]
        sessions = {_session(p) for p in running if self._marks(p)} - {0}
        return [p for p in running if _session(p) in sessions]

    def _marks(self, process: psutil.Process) -> bool:
        with suppress(psutil.Error, OSError):
            return process.environ().get("TMPDIR", "").startswith(str(self.tmp))
        return False

    def terminate(self) -> None:
        """Ask it to end as Docker and systemd do; it drains first."""
        os.kill(self.pid, signal.SIGTERM)

    def wait_ended(self, seconds: float = 60) -> int:
        """Return the exit code of ``ray start`` once it ended."""
        return self._process.wait(seconds)

    def kill_part(self, program: str) -> None:
        """SIGKILL the ``raylet`` or the ``gcs_server``, and see that it is dead."""
        kill(self.part(program))

    def close(self) -> None:
        """SIGKILL whatever of it is there. Idempotent."""
        self._process.kill()
        self._process.wait()
        until(self._killed, f"nothing of {self.address} runs", 20)

    def _killed(self) -> bool:
        left = self.processes()
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        return not left


def _runs(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return process.status() != psutil.STATUS_ZOMBIE
    return False


def _session(process: psutil.Process) -> int:
    with suppress(ProcessLookupError):
        return os.getsid(process.pid)
    return 0


class Cluster:
    """A head, to which nodes are added.

    Args:
        directory: For the files of the nodes; a short path.
        variables: Environment of every node.
    """

    def __init__(self, directory: Path, variables: Mapping[str, str]) -> None:
        self.token = token = directory / "token"
        token.write_text("t" * 64)
        port = closed_port()
        self.address = f"{HEAD_IP}:{port}"
        self.environment = {
            **variables,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(token),
            "PYTHONPATH": str(ROOT),
        }
        self.nodes: list[RayNode] = []
        self.directory, self._port = directory, port

    def start_head(self, *options: str, **variables: str) -> RayNode:
        """Start the head, which takes no business unless *options* say so; again if it was lost."""
        head = self._start(
            HEAD_IP,
            variables,
            "--head",
            f"--port={self._port}",
            f"--ray-client-server-port={closed_port()}",
            "--include-dashboard=false",
            *(options or ["--num-cpus=0"]),
        )
        head.wait_started()
        return head

    def start_node(self, address: str, *options: str, **variables: str) -> RayNode:
        """Start a node at a loopback address of its own; it joins a moment later."""
        return self._start(address, variables, f"--address={self.address}", *options)

    def _start(self, address: str, variables: Mapping[str, str], *options: str) -> RayNode:
        common = [f"--node-ip-address={address}", f"--object-store-memory={_STORE_BYTES}",
                  "--include-log-monitor=false", "--disable-usage-stats", "--block"]  # fmt: skip
        command = [*RAY, *options, *common]
        node = RayNode(command, {**self.environment, **variables}, self.directory, address)
        self.nodes.append(node)
        return node

    def close(self) -> None:
        """End every node at once."""
        for node in reversed(self.nodes):
            node.close()


@contextmanager
def cluster(variables: Mapping[str, str] | None = None) -> Iterator[Cluster]:
    """Give a cluster without nodes, with fast health checks; all of it is gone after the block."""
    inherited = {k: os.environ[k] for k in ("PATH", "HOME", "LANG") if k in os.environ}
    with tempfile.TemporaryDirectory(prefix="rp-", ignore_cleanup_errors=True) as directory:
        made = Cluster(Path(directory), {**inherited, **FAST_HEALTH, **(variables or {})})
        try:
            yield made
        finally:
            made.close()


class Driver:
    """A process connected to a cluster; this one may be connected to another Ray."""

    def __init__(self, executor: ProcessPoolExecutor) -> None:
        self._executor = executor

    def ask(self, fn: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Return what *fn*, of an importable module, returns there."""
        return self._executor.submit(fn, *args, **kwargs).result(timeout=90)


@contextmanager
def driver(made: Cluster) -> Iterator[Driver]:
    """Connect a process to the cluster for the block."""
    executor = ProcessPoolExecutor(
        max_workers=1,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=rays.connect,
        initargs=(Settings(ray_address=made.address), made.token),
    )
    with executor:
        yield Driver(executor)

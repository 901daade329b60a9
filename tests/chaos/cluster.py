"""A Ray of two nodes on the two hosts of a :class:`~tests.chaos.network.Network`."""

import contextlib
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import psutil

from tests.chaos.network import Network

PORT = 6391
START_TIMEOUT_S = 90.0
STOP_TIMEOUT_S = 60.0
_QUICK = {
    # A host that is silent is given up after 15 s, not after a minute; sooner, and a busy one is too.
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "5",
}


def variables(directory: Path) -> dict[str, str]:
    """Return what every process of the cluster needs in its environment."""
    token = directory / "ray_token"
    token.write_text(secrets.token_hex(32))
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token), **_QUICK}


@contextlib.contextmanager
def two_nodes(network: Network, directory: Path, environment: Mapping[str, str]) -> Iterator[str]:
    """Run a head here and a node over there, with room for one browser each; gives the address."""
    ray = str(Path(sys.executable).parent / "ray")
    resources = ("--num-cpus=2", '--resources={"browser": 1}', "--block", "--disable-usage-stats")
    head = (
        *(ray, "start", "--head", f"--node-ip-address={network.cluster}", f"--port={PORT}"),
        *("--include-dashboard=false", f"--temp-dir={directory}/ray", *resources),
    )
    address = f"{network.cluster}:{PORT}"
    node = (ray, "start", f"--address={address}", f"--node-ip-address={network.far}", *resources)
    log = directory / "ray.log"
    with _running(head, directory / "near", environment, log):
        _wait_for(network.cluster, log)
        with _running(network.over_there(*node), directory / "far", environment, log):
            yield address


def _wait_for(host: str, log: Path) -> None:
    """Wait until the head listens."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            socket.create_connection((host, PORT), 1.0).close()
        except OSError:
            if time.monotonic() > deadline:
                raise RuntimeError(f"the head did not start:\n{log.read_text()}") from None
            time.sleep(0.2)
        else:
            return


@contextlib.contextmanager
def _running(
    command: Sequence[str], temporary: Path, environment: Mapping[str, str], log: Path
) -> Iterator[None]:
    """Run a node that has a temporary directory of its own, as another machine would."""
    temporary.mkdir()
    with log.open("ab") as out:
        process = subprocess.Popen(
            command,
            env={**os.environ, **environment, "TMPDIR": str(temporary)},
            stdout=out,
            stderr=out,
        )
    try:
        yield
    finally:
        family = [process.pid, *(p.pid for p in psutil.Process(process.pid).children(True))]
        process.terminate()  # `ray start --block` takes its node down with it
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_TIMEOUT_S)
        for pid in family:
            with contextlib.suppress(psutil.Error):
                psutil.Process(pid).kill()

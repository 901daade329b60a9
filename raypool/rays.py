"""Ray itself, as drivers and the local host use it: start one, connect to one, leave it."""

import logging
import os
import secrets
import socket
import threading
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import ray
import ray._private.worker as _worker
from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]

from raypool.config import Settings
from raypool.errors import ErrorCodes, create_error
from raypool.logs import get_logger

log = get_logger(__name__)

JOIN_TIMEOUT_S = 30.0
KNOCK_TIMEOUT_S = 5.0
MEMORY_PER_BROWSER = 400 * 2**20
OBJECT_STORE_BYTES = 100 * 2**20
_CLIENT_PORT = 10001
"""Where ``ray://`` leads when the address names no port."""
_print_of_ray = _worker.print_to_stdstream
"""What Ray has to say of its cluster it prints, 40 lines where a raylet died (2.60; not a setting). The
standard output of a script is the script's own: while it is connected they go to the log."""
_SAID = 4000
LOOPBACK = "127.0.0.2"
"""Loopback too. Ray would replace 127.0.0.1 by the address of the host."""
_ENVIRONMENT_FILE = Path(__file__).with_name("ray.env")
_FOR_CLUSTERS = {  # nothing to find out about a node of one's own; logs are for people
    "RAY_health_check_period_ms",
    "RAY_health_check_timeout_ms",
    "RAY_health_check_failure_threshold",
    "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S",
    "RAY_LOGGING_CONFIG_ENCODING",
}


def local_environment() -> dict[str, str]:
    """Return the variables of ``ray.env`` that a local fleet runs with; docs/ray.md explains each."""
    lines = _ENVIRONMENT_FILE.read_text().splitlines()
    pairs = (line.split("=", 1) for line in lines if line and not line.startswith("#"))
    return {name: value for name, value in pairs if name not in _FOR_CLUSTERS}


def start_local(settings: Settings, token_file: Path) -> str:
    """Start a Ray of our own, reached over loopback, and connect to it; return its address.

    Ray's servers listen on every address all the same (2.60): its token keeps strangers out.
    """
    _use_token(token_file)
    for name, value in local_environment().items():
        os.environ.setdefault(name, value)
    slots = settings.max_live_per_node or max(
        2, psutil.virtual_memory().total // MEMORY_PER_BROWSER
    )
    try:
        started = _init_head(settings, slots)
    except Exception as error:
        raise create_error(
            ErrorCodes.NETWORK_RAY_UNREACHABLE,
            f"a local Ray did not start: {_first_line(str(error))}",
            recovery="Look into /tmp/ray/session_latest/logs; often memory or a full /tmp.",
        ) from error
    return str(started.address_info["gcs_address"])


def _init_head(settings: Settings, slots: int) -> Any:
    return ray.init(
        namespace=settings.namespace,
        resources={"browser": slots},
        object_store_memory=OBJECT_STORE_BYTES,
        include_dashboard=settings.dashboard,
        log_to_driver=False,
        configure_logging=False,
        _node_ip_address=LOOPBACK,
    )


class _Connection:
    """This process's one connection to Ray, shared by all its pools; gone with the last of them."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.pools = 0
        self.address: str | None = None


_connection = _Connection()


def connect(settings: Settings, token_file: Path | None) -> bool:
    """Connect this process to the Ray cluster of *settings*; return whether :func:`leave` is due.

    It is not when the caller's own program had connected before: then the connection is its own.

    Raises:
        NetworkError: It cannot be reached.
        ConfigurationError: It runs another version, or this process uses another Ray already.
    """
    with _connection.lock:
        if not ray.is_initialized():
            _init_driver(settings, token_file)
            _connection.pools, _connection.address = 1, settings.ray_address
            return True
        if settings.ray_address != _connection.address:  # Ray may tell the same place another way
            _same_cluster(settings.ray_address or "auto")
        if not _connection.pools:
            return False
        _connection.pools += 1
        return True


def _init_driver(settings: Settings, token_file: Path | None) -> None:
    address = settings.ray_address or "auto"
    _knock(address)
    if token_file:
        _use_token(token_file)
    # Connecting from a thread leaves the script's own signal handlers alone; Ray warns that it does.
    logging.getLogger("ray._private.worker").addFilter(_about_signals)
    _worker.print_to_stdstream = _log_of_ray
    try:
        ray.init(
            address=address,
            namespace=settings.namespace,
            log_to_driver=False,
            configure_logging=False,
        )
    except Exception as error:
        _worker.print_to_stdstream = _print_of_ray
        raise _not_connected(address, error) from error


def dashboard_url() -> str | None:
    """Return where the dashboard of the connected Ray is, None when it has none."""
    # Private, but the only way to learn which port it got.
    url = _worker.get_dashboard_url()  # type: ignore[no-untyped-call]
    return f"http://{url}" if url else None


def _knock(address: str) -> None:
    """Say at once that nothing listens there: Ray itself goes on trying for ten minutes and more."""
    if address == "auto":
        return
    try:
        where = urlsplit(address if "://" in address else f"//{address}")
        socket.create_connection(
            (where.hostname, where.port or _CLIENT_PORT), KNOCK_TIMEOUT_S
        ).close()
    except (OSError, ValueError) as error:
        raise _not_connected(address, error) from error


def leave() -> None:
    """Give back what :func:`connect` counted; the last one disconnects this process."""
    with _connection.lock:
        _connection.pools -= 1
        if not _connection.pools:
            ray.shutdown()
            _worker.print_to_stdstream = _print_of_ray


def local_servers() -> list[int]:
    """Return the processes without which a local Ray is none: its head and its raylet."""
    return [c.pid for c in psutil.Process().children() if c.name() in {"gcs_server", "raylet"}]


def stop_local() -> None:
    """Stop the Ray that :func:`start_local` started. Idempotent."""
    ray.shutdown()


def _use_token(file: Path) -> None:
    if not file.exists():
        descriptor = os.open(file, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as out:
            out.write(secrets.token_hex(32))
    os.environ["RAY_AUTH_MODE"] = "token"
    os.environ["RAY_AUTH_TOKEN_PATH"] = str(file)
    # Ray reads both when it is imported, which may have been long ago. This is how Ray itself looks
    # again (ray/_private/authentication/authentication_token_setup.py, 2.60).
    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()


def _log_of_ray(data: Any, ignore_prefix: bool) -> None:  # noqa: ARG001 -- as Ray calls it
    said = "\n".join(data["lines"])
    log.warning("Ray says", what=_first_line(said))
    log.debug("Ray says in full", what=said[:_SAID])


def _about_signals(record: logging.LogRecord) -> bool:
    return "SIGTERM handler" not in record.getMessage()


def _same_cluster(address: str) -> None:
    present = ray.get_runtime_context().gcs_address
    if address not in {"auto", present}:
        raise create_error(
            ErrorCodes.CONFIG_INVALID,
            f"this process is connected to the Ray at {present}, not to the one at {address}",
            recovery="Call ray.shutdown() first, or set RAYPOOL_RAY_ADDRESS to the same cluster.",
        )


def _not_connected(address: str, error: Exception) -> Exception:
    text = str(error)
    if "ersion mismatch" in text:
        return create_error(
            ErrorCodes.CONFIG_RAY_VERSION, f"the Ray at {address}: {' '.join(text.split())[:300]}"
        )
    return create_error(
        ErrorCodes.NETWORK_RAY_UNREACHABLE,
        f"the Ray at {address} cannot be reached: {_first_line(text)}",
    )


def _first_line(text: str) -> Any:
    return next((line.strip()[:200] for line in text.splitlines() if line.strip()), "no answer")

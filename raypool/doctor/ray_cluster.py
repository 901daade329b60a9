"""Ray: the cluster that RAYPOOL_RAY_ADDRESS names, or room for a local one."""

import asyncio
import json
import re
import shutil
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from raypool.config import Settings
from raypool.doctor.address import advice, read_address
from raypool.doctor.background import in_thread, run
from raypool.doctor.report import Check, Finding, Level, conclude
from raypool.errors import CODES, ErrorCodes

_NAME = "ray"
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 -- looked at, not written to
_LEAST_SHARED = 256 * 2**20
_LEAST_MEMORY = 2**30
_CGROUP = Path("/sys/fs/cgroup")
# A process of its own: connecting to Ray changes environment, signal handlers and threads for good.
_ASK = """
import json, sys
import ray
try:
    ray.init(address=sys.argv[1], log_to_driver=False, configure_logging=False)
    nodes = sum(node["Alive"] for node in ray.nodes())
    answer = {"nodes": nodes, "slots": ray.cluster_resources().get("browser", 0.0)}
except Exception as error:
    answer = {"error": str(error) or type(error).__name__}
print("\\n" + json.dumps(answer), flush=True)
"""


async def check_ray(settings: Settings) -> Check:
    """Is there a Ray cluster that takes us, or room for a local one?"""
    if settings.ray_address is None:
        return await in_thread(_check_room)
    return await _check_cluster(settings.ray_address)


async def _check_cluster(address: str) -> Check:
    if unreachable := await _knock(address):
        return unreachable
    done = await run(sys.executable, "-c", _ASK, address)
    try:
        answer = json.loads(done.out.strip().splitlines()[-1])
    except (IndexError, ValueError):
        answer = {"error": done.last_words}
    return judge_answer(address, answer)


async def _knock(address: str) -> Check | None:
    """Return what is wrong when nothing takes a connection at *address*."""
    if address == "auto":  # Ray finds out where that is
        return None
    where = read_address(address if "://" in address else f"ray://{address}", 10001)
    if where is None or not where.hosts[0][0]:
        do = "Write it as host:6379 (the head's GCS port), ray://host:10001, or auto."
        return Check(_NAME, Level.FAIL, "RAYPOOL_RAY_ADDRESS cannot be read", do)
    try:
        _, writer = await asyncio.open_connection(*where.hosts[0])
    except OSError as error:
        saw = f"Ray at {address} cannot be reached: {error.strerror or error}"
        return Check(_NAME, Level.FAIL, saw, advice(error, "RAYPOOL_RAY_ADDRESS"))
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    return None


def judge_answer(address: str, answer: dict[str, Any]) -> Check:
    """Judge what a program that connected to the Ray at *address* came back with.

    Args:
        address: For people.
        answer: ``nodes`` alive and ``slots`` (resource ``browser``), or ``error``.
    """
    if "error" in answer:
        return _refused(address, " ".join(answer["error"].split()))
    saw = f"Ray at {address}: {answer['nodes']} nodes, room for {answer['slots']:g} browsers"
    slots = None
    if not answer["slots"]:
        slots = Finding(
            Level.WARN,
            "No node offers the resource `browser`",
            """Start nodes with `ray start … --resources='{"browser": 8}'` (see cluster.yaml).""",
        )
    return conclude(_NAME, saw, [slots])


def _refused(address: str, error: str) -> Check:
    saw = f"Ray at {address} does not take us: {error[:300]}"
    if "ersion mismatch" in error:
        do = CODES[ErrorCodes.CONFIG_RAY_VERSION].recovery
    elif re.search(r"auth|token", error, re.IGNORECASE):
        do = (
            "Set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH to a file with the cluster's token"
            " (the one that its head was started with)."
        )
    else:
        do = f"Run `ray status --address {address}` here: a driver needs a Ray node on its machine."
    return Check(_NAME, Level.FAIL, saw, do)


def _check_room() -> Check:
    shared = shutil.disk_usage(_SHARED_MEMORY).total if _SHARED_MEMORY.is_dir() else None
    available = _available_memory()
    saw = f"A local Ray is started when needed; {available // 2**20} MB of memory available"
    return conclude(_NAME, saw, judge_room(shared, available))


def judge_room(shared: int | None, available: int) -> list[Finding]:
    """Judge whether a local Ray and its browsers fit.

    Args:
        shared: Bytes of shared memory, None where the system has no such thing.
        available: Bytes of memory that can still be had.
    """
    found = []
    if shared is not None and shared < _LEAST_SHARED:
        found.append(
            Finding(
                Level.WARN,
                f"{_SHARED_MEMORY} has only {shared // 2**20} MB",
                f"Run the container with --shm-size=1g, or remount {_SHARED_MEMORY} larger.",
            )
        )
    if available < _LEAST_MEMORY:
        found.append(
            Finding(
                Level.WARN,
                "That is little: Ray takes about 600 MB and a browser 250 MB",
                "Stop other programs or give the machine (or its container) more memory.",
            )
        )
    return found


def _available_memory() -> int:
    """Return the bytes that can be had, in a container no more than its limit leaves."""
    available = psutil.virtual_memory().available
    with suppress(OSError, ValueError):  # no cgroup v2, or no limit
        limit = int((_CGROUP / "memory.max").read_text())
        used = int((_CGROUP / "memory.current").read_text())
        cache = re.search(r"^inactive_file (\d+)", (_CGROUP / "memory.stat").read_text(), re.M)
        return min(available, limit - used + (int(cache[1]) if cache else 0))
    return available

"""All checks at once, each bounded, none able to stop the others."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from raypool.config import Settings
from raypool.doctor.chromium import check_chromium
from raypool.doctor.encryption import check_encryption
from raypool.doctor.machine import check_orphans, check_package, check_python
from raypool.doctor.postgres import check_postgres
from raypool.doctor.ray_cluster import check_ray
from raypool.doctor.report import Check, Level
from raypool.doctor.server import check_redis
from raypool.errors import RaypoolError


@dataclass(frozen=True)
class _Probe:
    name: str
    look: Callable[[], Awaitable[Check]]
    late: str
    """What to do when it does not end."""


async def examine(settings: Settings, *, timeout: float = 5.0) -> list[Check]:
    """Look at everything that raypool needs and say what is there. Never raises; changes nothing.

    Args:
        settings: What to look at. Secrets in it are never part of an answer.
        timeout: Seconds for each check. They run at the same time.

    Returns:
        One check a subject, always in the same order.
    """
    return await asyncio.gather(*(_bounded(probe, timeout) for probe in _probes(settings)))


def _probes(settings: Settings) -> list[_Probe]:
    machine = "Look at what keeps this machine busy (`top`, `df`), then run the doctor again."
    probes = [
        _Probe("python", check_python, machine),
        _Probe("ray package", lambda: check_package("ray"), machine),
        _Probe("playwright package", lambda: check_package("playwright"), machine),
        _Probe(
            "chromium",
            lambda: check_chromium(settings),
            "Start it by hand to see what it waits for, or set RAYPOOL_CHROMIUM to another one.",
        ),
        _Probe(
            "redis",
            lambda: check_redis(settings),
            "Check host and port in REDIS_URL, a firewall in between, and whether what listens"
            " there is a Redis that runs."
            if settings.redis_url
            else "Check the disk that RAYPOOL_DATA_DIR is on: it does not answer.",
        ),
        _Probe("encryption", lambda: check_encryption(settings), machine),
        _Probe(
            "ray",
            lambda: check_ray(settings),
            "Check that RAYPOOL_RAY_ADDRESS is the head's address and GCS port, a firewall in"
            " between, and `ray status` on the head.",
        ),
        _Probe("orphans", check_orphans, machine),
    ]
    if settings.database_url:
        late = "Check host and port in DATABASE_URL, and whether what listens there is Postgres."
        probes.insert(-1, _Probe("postgres", lambda: check_postgres(settings), late))
    return probes


async def _bounded(probe: _Probe, timeout: float) -> Check:
    try:
        async with asyncio.timeout(timeout):
            return await probe.look()
    except TimeoutError:
        return Check(probe.name, Level.FAIL, f"No answer within {timeout:g} s", probe.late)
    except RaypoolError as error:
        return Check(probe.name, Level.FAIL, error.message, error.recovery)
    except Exception as error:  # noqa: BLE001 -- a check that breaks is a result as well
        return Check(
            probe.name,
            Level.FAIL,
            f"The check itself broke: {type(error).__name__} {_place(error)}",
            "Please report it with this line; the other checks are not affected.",
        )


def _place(error: BaseException) -> str:
    """Return where *error* was raised. Not what it says: that may quote a secret."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"in {Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}" if trace else ""

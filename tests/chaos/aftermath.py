"""What is left of a fleet after it was closed."""

import asyncio
import contextlib
import time

import psutil

from raypool.browser.processes import living_browsers
from tests.chaos.evidence import Final
from tests.chaos.targets import fleet_processes

PATIENCE_S = 10.0


async def aftermath(mark: str) -> Final:
    """Return what still runs of a closed fleet when it had 10 s to vanish."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        orphans = [b for b in living_browsers() if b.business_id.startswith(f"{mark}-")]
        processes = fleet_processes(mark)
        if not (orphans or processes) or time.monotonic() > deadline:
            return Final(orphans=len(orphans), processes=tuple(_shown(p) for p in processes))
        await asyncio.sleep(0.2)


def _shown(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        return f"{process.pid} {' '.join(process.cmdline())[:200]}"
    return str(process.pid)

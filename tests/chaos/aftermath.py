"""What is left of a fleet after it was closed."""

import asyncio
import contextlib
import time

import psutil

from raypool.browser.processes import living_browsers
from tests.chaos.checker import Account, Final
from tests.chaos.nemesis import fleet_processes

PATIENCE_S = 10.0


async def aftermath(run: str, accounts: tuple[Account, ...] = ()) -> Final:
    """Return what still runs of the closed fleet of *run* when it had 10 s to vanish."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        orphans = [b for b in living_browsers() if b.business_id.startswith(f"{run}-")]
        processes = fleet_processes(run)
        if not (orphans or processes) or time.monotonic() > deadline:
            return Final(accounts, len(orphans), tuple(_shown(p) for p in processes))
        await asyncio.sleep(0.2)


def _shown(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        return f"{process.pid} {' '.join(process.cmdline())[:200]}"
    return str(process.pid)

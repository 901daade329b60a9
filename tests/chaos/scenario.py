"""Run one scenario by itself: history, verdict, report, exit code."""

import asyncio
import json
import secrets
import signal
import sys
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path

from tests.chaos.checker import check
from tests.chaos.client import say
from tests.chaos.evidence import Final
from tests.chaos.history import History


def scenario(name: str, work: Callable[[str, History], Awaitable[Final]]) -> int:
    """Run *work*, given a mark and a history, and print what the checker says of it.

    The last line of standard output is the report, a JSON object. The history is kept when a
    promise was broken. Returns the exit code.
    """

    async def whole(mark: str, history: History) -> Final:
        working = asyncio.ensure_future(work(mark, history))
        # Whoever is told to end cleans up: fleets, disks and cables outlive a process.
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, working.cancel)
        return await working

    mark = f"chaos-{secrets.token_hex(4)}-{name}"
    with History(Path(tempfile.gettempdir()) / f"{mark}.jsonl") as history:
        verdict = check(history.events, asyncio.run(whole(mark, history)))
    for violation in verdict.violations:
        say(f"VIOLATION {violation}")
    if verdict.violations:
        say(f"the history is in {history.path}")
    else:
        history.path.unlink()
    sys.stdout.write(json.dumps(asdict(verdict.report)) + "\n")
    return bool(verdict.violations)

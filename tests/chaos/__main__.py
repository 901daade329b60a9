"""Run the fault suite: ``python -m tests.chaos``.

Lines for people go to standard error; the last line of standard output is one JSON object. Exit 1
when a promise was broken or a planned fault did not fire; the history is kept then.

Environment: ``CHAOS_SEED``, ``CHAOS_STRIKES`` (12), ``CHAOS_SECONDS`` (strike until then instead, each
fault at least once), ``CHAOS_ACKS`` (3), ``CHAOS_BUSINESSES`` (3), ``CHAOS_REDIS_URL`` (for *kills*; an
embedded server otherwise).
"""

import asyncio
import json
import os
import secrets
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from random import Random

from tests.chaos.acks import acks
from tests.chaos.checker import Final, Verdict, check
from tests.chaos.history import History
from tests.chaos.kills import Plan, kills
from tests.chaos.workload import say

STRIKES = 12


def main() -> int:
    """Run both scenarios and print the report; return the exit code."""
    seed = _number("CHAOS_SEED", secrets.randbelow(2**32))
    run = f"chaos-{secrets.token_hex(4)}"
    path = Path(tempfile.gettempdir()) / f"{run}.jsonl"
    say(f"CHAOS_SEED={seed}")
    with History(path) as history:
        verdict = asyncio.run(_run(run, seed, history))
    for violation in verdict.violations:
        say(f"VIOLATION {violation}")
    if verdict.violations:
        say(f"the history is in {path}")
    else:
        path.unlink()
    sys.stdout.write(json.dumps(asdict(verdict.report)) + "\n")
    return bool(verdict.violations)


async def _run(run: str, seed: int, history: History) -> Verdict:
    plan, rng = _plan(), Random(seed)
    acknowledged = await acks(f"{run}-acks", _number("CHAOS_ACKS", 3), history, rng)
    killed = await kills(f"{run}-kills", plan, history, rng)
    final = Final(
        killed.accounts,
        acknowledged.orphans + killed.orphans,
        acknowledged.processes + killed.processes,
    )
    return check(history.events, final)


def _plan() -> Plan:
    seconds = os.environ.get("CHAOS_SECONDS")
    strikes = os.environ.get("CHAOS_STRIKES", None if seconds else str(STRIKES))
    return Plan(
        businesses=_number("CHAOS_BUSINESSES", 3),
        strikes=int(strikes) if strikes else None,
        until=time.monotonic() + float(seconds) if seconds else None,
        redis_url=os.environ.get("CHAOS_REDIS_URL") or None,
    )


def _number(variable: str, default: int) -> int:
    return int(os.environ.get(variable) or default)


if __name__ == "__main__":
    sys.exit(main())

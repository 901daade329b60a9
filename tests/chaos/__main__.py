"""Run the fault suite: ``python -m tests.chaos``.

Lines for people go to standard error; the last line of standard output is one JSON object. Exit 1
when a promise was broken or a planned fault did not fire; the history is kept then.

Environment: ``CHAOS_SEED``; ``CHAOS_SECONDS``, for how long faults go on (0: each happens once);
``CHAOS_BUSINESSES`` (4); ``CHAOS_ACKS`` (2), trials of that scenario; ``CHAOS_STAGES`` and
``CHAOS_KINDS``, to run some stages or faults only; ``CHAOS_PAUSED`` (0), trials of a paused owner.
"""

import os
import secrets
import sys

from tests.chaos.client import say
from tests.chaos.scenario import scenario
from tests.chaos.suite import STAGES, Order, suite


def main() -> int:
    """Run what was ordered and print the report; return the exit code."""
    order = Order(
        seed=_number("CHAOS_SEED", secrets.randbelow(2**32)),
        seconds=_number("CHAOS_SECONDS", 0),
        businesses=_number("CHAOS_BUSINESSES", 4),
        acks=_number("CHAOS_ACKS", 2),
        paused=_number("CHAOS_PAUSED", 0),
        stages=_names("CHAOS_STAGES") or tuple(STAGES),
        kinds=_names("CHAOS_KINDS"),
    )
    say(f"CHAOS_SEED={order.seed}")
    return scenario("suite", lambda mark, history: suite(mark, order, history))


def _number(variable: str, default: int) -> int:
    return int(os.environ.get(variable) or default)


def _names(variable: str) -> tuple[str, ...]:
    return tuple(name for name in os.environ.get(variable, "").split(",") if name)


if __name__ == "__main__":
    sys.exit(main())

"""Workers kept ready, on a real Ray: its call for them is private and may move."""

import time
from typing import Any

import psutil

import raypool
from raypool.browser.proc import read_stat
from tests.integration.scripts import kill, until


async def pid(page: Any) -> int:
    """Return the process that owns the page."""
    import os

    return os.getpid()


def spares(worker: int) -> list[int]:
    """Return the workers that wait for an actor on the node of *worker*."""
    found = psutil.Process(worker).parent().children()
    return [p.pid for p in found if p.cmdline()[:1] == ["ray::IDLE"]]


def test_a_killed_business_comes_back_in_a_worker_that_was_ready(
    pool: raypool.Pool, business: str
) -> None:
    """Its process had started before the old one was killed, and another spare takes its place."""
    pool.get_or_create_instance(business, email=f"{business}@example.com")
    for _ in range(2):
        old = pool.run(business, pid)
        until(lambda: spares(old), "a spare")  # noqa: B023 -- called at once
        before = time.clock_gettime(time.CLOCK_BOOTTIME)
        kill(old)
        new = read_stat(pool.run(business, pid, idempotent=True))
        assert new is not None
        assert new.started < before

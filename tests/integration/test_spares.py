"""Workers kept ready, on a real Ray: its call for them is private and may move."""

import time
from typing import Any

import psutil
import pytest

import raypool
from actors.prestart import prestart
from raypool.browser.proc import read_stat
from raypool.errors import NetworkError
from tests.integration.scripts import closed_port, kill, until


async def pid(page: Any) -> int:
    """Return the process that owns the page."""
    import os

    return os.getpid()


def spares(worker: int) -> list[int]:
    """Return the workers that wait for an actor on the node of *worker*."""
    found = psutil.Process(worker).parent().children()
    return [p.pid for p in found if p.cmdline()[:1] == ["ray::IDLE"]]


def test_a_raylet_that_is_gone_is_told_in_one_line() -> None:
    """The same line each time, so that it is logged once and not every few seconds."""
    address, told = f"127.0.0.1:{closed_port()}", set()
    for _ in range(2):
        with pytest.raises(NetworkError, match=address) as caught:
            prestart(address, 1)
        told.add(repr(caught.value))
    assert len(told) == 1
    assert "\n" not in told.pop()


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

"""Unit tests stay small: no Ray, no network, no waiting. Each refusal says what to do instead."""

import asyncio
import socket
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

LONGEST_SLEEP_S = 0.05


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Refuse what makes a unit test slow or dependent on the machine."""
    connect, sleep, sleep_async = socket.socket.connect, time.sleep, asyncio.sleep

    def guarded_connect(self: socket.socket, address: Any) -> None:
        if self.family != socket.AF_UNIX:
            pytest.fail(
                f"a unit test connects to {address}: pass it a fake, or move it to integration"
            )
        connect(self, address)

    def guarded_sleep(seconds: float) -> None:
        _refuse_long(seconds)
        sleep(seconds)

    async def guarded_sleep_async(delay: float, result: Any = None) -> Any:
        _refuse_long(delay)
        return await sleep_async(delay, result)

    monkeypatch.setattr(socket.socket, "connect", guarded_connect)
    monkeypatch.setattr(socket.socket, "connect_ex", guarded_connect)
    monkeypatch.setattr(time, "sleep", guarded_sleep)
    monkeypatch.setattr(asyncio, "sleep", guarded_sleep_async)
    was_up = "ray" in sys.modules and sys.modules["ray"].is_initialized()
    if "ray" in sys.modules:
        monkeypatch.setattr(sys.modules["ray"], "init", _no_ray)
    yield
    is_up = "ray" in sys.modules and sys.modules["ray"].is_initialized()
    if is_up and not was_up:  # imported by the test itself
        sys.modules["ray"].shutdown()
        _no_ray()


def _refuse_long(seconds: float) -> None:
    if seconds > LONGEST_SLEEP_S:
        pytest.fail(
            f"a unit test sleeps {seconds} s: pass a clock in, or replace the sleep by a fake"
        )


def _no_ray(*_: Any, **__: Any) -> None:
    pytest.fail("a unit test starts Ray: test the plain class behind the actor, or move it")

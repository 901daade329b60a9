"""The guard around unit tests refuses what it promises to refuse."""

import asyncio
import os
import socket
import sys
import time
from pathlib import Path

import pytest

Refused = pytest.fail.Exception


def test_no_unit_test_reaches_the_network() -> None:
    """A TCP connection is refused before a packet leaves, also to this machine."""
    with socket.socket() as tcp:
        for connect in (tcp.connect, tcp.connect_ex):
            with pytest.raises(Refused, match="integration"):
                connect(("127.0.0.1", 9))


def test_unix_sockets_are_allowed(tmp_path: Path) -> None:
    """A socket file is cheap and private, so it may be used."""
    address = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind(address)
        server.listen()
        client.connect(address)


def test_no_unit_test_blocks() -> None:
    """A long sleep is refused, with advice; a short one passes."""
    with pytest.raises(Refused, match="clock"):
        time.sleep(0.06)
    time.sleep(0)


async def test_no_unit_test_waits() -> None:
    """The same for tasks."""
    with pytest.raises(Refused, match="fake"):
        await asyncio.sleep(0.06)
    assert await asyncio.sleep(0, "result") == "result"


def test_the_shell_does_not_leak_in() -> None:
    """No variable that raypool, Redis or Ray would read survives the start of the tests."""
    ours = ("REDIS_", "RAYPOOL_", "RAY_", "SESSION_TTL", "DATABASE_URL")
    assert not [name for name in os.environ if name.startswith(ours) and not _rays_own(name)]


def _rays_own(name: str) -> bool:
    """Ray writes some variables itself when it is imported."""
    return name.startswith("RAY_") and "ray" in sys.modules

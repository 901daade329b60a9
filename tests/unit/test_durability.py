"""When a write counts as done: never for fewer copies than were asked for."""

from typing import Any

import pytest

from raypool.errors import ErrorCodes, StorageError, StoreUnavailable
from raypool.store.durability import Durability
from raypool.store.server_check import ServerReport

REPLICA, DISK = Durability("replica", 2), Durability("replica_fsync", 2)


def test_the_wait_ends_before_the_client_gives_up() -> None:
    """Or it would send the write again and count on another connection."""
    assert REPLICA.command(5.0) == ("WAIT", 2, 3000)
    assert DISK.command(2.0) == ("WAITAOF", 1, 2, 1200)


@pytest.mark.parametrize(
    ("level", "counted", "done"),
    [
        (REPLICA, 2, True), (REPLICA, 3, True), (REPLICA, 1, False), (REPLICA, 0, False),
        (DISK, [1, 2], True), (DISK, [1, 1], False), (DISK, [0, 2], False), (DISK, [0, 0], False),
    ],
)  # fmt: skip
@pytest.mark.parametrize("reply", [b"OK", [b"OK", b"7"], [], 1])
def test_too_few_copies_are_refused(
    level: Durability, counted: Any, done: bool, reply: Any
) -> None:
    """Whatever the script said; retryable."""
    if done:
        level.check(reply, counted)
        return
    with pytest.raises(StoreUnavailable) as caught:
        level.check(reply, counted)
    assert caught.value.code is ErrorCodes.STORAGE_NOT_REPLICATED
    assert caught.value.retryable


@pytest.mark.parametrize("reply", [0, b"GONE", [b"FENCED"], [b"HELD", b"1"], [b"CONFLICT", b"3"]])
def test_what_was_refused_needs_no_copies(reply: Any) -> None:
    """A stale owner hears that it is one, also when the replicas are away."""
    REPLICA.check(reply, 0)


def report(server: str, version: str, persistence: str) -> ServerReport:
    return ServerReport(server, version, persistence, "noeviction", "master", ())


@pytest.mark.parametrize(
    ("server", "version", "persistence", "fits"),
    [
        ("Redis", "7.0.15", "aof always", False),
        ("Redis", "7.2.0", "aof always", True),
        ("Redis", "8.0.2", "none", False),
        ("Valkey", "9.1.2", "aof (flush unverified)", True),
        ("Valkey", "9.1.2", "snapshots", False),
    ],
)
def test_a_server_must_be_able_to_keep_the_promise(
    server: str, version: str, persistence: str, fits: bool
) -> None:
    """Told at the start, with what to do; levels that need no disk take any server."""
    found = report(server, version, persistence)
    REPLICA.check_server(found)
    if fits:
        DISK.check_server(found)
        return
    with pytest.raises(StorageError, match="replica_fsync") as caught:
        DISK.check_server(found)
    assert caught.value.code is ErrorCodes.STORAGE_UNSUPPORTED

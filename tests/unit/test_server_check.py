"""What raypool says about a Redis server, given what the server says about itself."""

import pytest

from raypool.errors import ErrorCodes
from raypool.store.server_check import judge

GOOD = {
    "redis_version": "7.4.1",
    "role": "master",
    "loading": 0,
    "aof_enabled": 1,
    "aof_last_write_status": "ok",
    "rdb_last_bgsave_status": "ok",
}
VALKEY = {**GOOD, "redis_version": "7.2.4", "server_name": "valkey"}


def test_a_good_server_has_no_problems() -> None:
    """Everything right: nothing to say, and the report names what it found."""
    report = judge(GOOD, "noeviction", "always")
    assert report.problems == ()
    assert (report.server, report.version, report.role) == ("Redis", "7.4.1", "master")
    assert (report.persistence, report.maxmemory_policy) == ("aof always", "noeviction")


@pytest.mark.parametrize("version", ["7.0.0", "7.0.15", "8.2.1", "10.0.0"])
def test_redis_from_7_0_on_is_accepted(version: str) -> None:
    """Redis 7.0 is the oldest that works."""
    assert judge({**GOOD, "redis_version": version}, "noeviction").problems == ()


@pytest.mark.parametrize("version", ["6.2.14", "5.0.0", "2.8.17"])
def test_redis_before_7_0_is_refused(version: str) -> None:
    """An older Redis is a failure that names its version."""
    (problem,) = judge({**GOOD, "redis_version": version}, "noeviction").problems
    assert (problem.level, problem.code) == ("fail", ErrorCodes.STORAGE_UNSUPPORTED)
    assert version in problem.message


def test_valkey_is_judged_by_its_own_version() -> None:
    """Valkey calls itself Redis 7.2.4 for compatibility; only its own version counts."""
    report = judge({**VALKEY, "valkey_version": "9.1.2"}, "noeviction")
    assert (report.server, report.version, report.problems) == ("Valkey", "9.1.2", ())
    (problem,) = judge({**VALKEY, "valkey_version": "7.2.8"}, "noeviction").problems
    assert (problem.level, problem.code) == ("fail", ErrorCodes.STORAGE_UNSUPPORTED)
    assert "Valkey 7.2.8" in problem.message


def test_an_unknown_version_is_a_warning() -> None:
    """A server that hides its version is not refused, but people are told."""
    (problem,) = judge({**GOOD, "redis_version": "unstable"}, "noeviction").problems
    assert problem.level == "warn"
    assert "unverified" in problem.message


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl", "volatile-lru"])
def test_a_policy_that_evicts_is_a_warning_with_the_command(policy: str) -> None:
    """A policy that may evict sessions is named, with the command that mends it."""
    report = judge(GOOD, policy)
    (problem,) = report.problems
    assert problem.level == "warn"
    assert policy in problem.message
    assert "CONFIG SET maxmemory-policy noeviction" in problem.recovery
    assert report.maxmemory_policy == policy


def test_a_policy_that_cannot_be_read_is_unverified() -> None:
    """Silence about the policy is neither good nor bad: unverified."""
    report = judge(GOOD, None)
    (problem,) = report.problems
    assert (problem.level, report.maxmemory_policy) == ("warn", "unverified")
    assert "unverified" in problem.message


def test_no_append_only_file_is_a_warning_with_the_command() -> None:
    """Without it an acknowledged checkpoint may be lost; a flush setting then means nothing."""
    report = judge({**GOOD, "aof_enabled": 0}, "noeviction", "everysec")
    (problem,) = report.problems
    assert (problem.level, report.persistence) == ("warn", "none")
    assert "CONFIG SET appendonly yes" in problem.recovery


def test_snapshots_alone_are_named_as_such() -> None:
    """A server that made a snapshot persists by snapshots, and is still warned about."""
    report = judge({**GOOD, "aof_enabled": 0, "rdb_saves": 3}, "noeviction")
    assert report.persistence == "snapshots"
    assert [problem.level for problem in report.problems] == ["warn"]


@pytest.mark.parametrize(("appendfsync", "window"), [("everysec", "up to 1 s"), ("no", "30 s")])
def test_a_late_flush_is_a_warning_with_its_window(appendfsync: str, window: str) -> None:
    """Whoever flushes later than the acknowledgement is told how much may be lost."""
    report = judge(GOOD, "noeviction", appendfsync)
    (problem,) = report.problems
    assert problem.level == "warn"
    assert window in problem.message
    assert "CONFIG SET appendfsync always" in problem.recovery
    assert report.persistence == f"aof {appendfsync}"


def test_an_unknown_flush_is_said_but_is_no_problem() -> None:
    """INFO does not show appendfsync: the report says so without alarm."""
    report = judge(GOOD, "noeviction")
    assert report.persistence == "aof (flush unverified)"
    assert report.problems == ()


@pytest.mark.parametrize("role", ["slave", "replica"])
def test_a_replica_is_refused_naming_its_primary(role: str) -> None:
    """Sessions are written: a replica is a failure that says where the primary is."""
    info = {**GOOD, "role": role, "master_host": "10.0.0.7", "master_port": 6379}
    (problem,) = judge(info, "noeviction").problems
    assert (problem.level, problem.code) == ("fail", ErrorCodes.STORAGE_READ_ONLY)
    assert "10.0.0.7:6379" in problem.message


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("aof_last_write_status", "err", "append-only file"),
        ("rdb_last_bgsave_status", "err", "snapshot failed"),
        ("loading", 1, "loading"),
    ],
)
def test_trouble_that_passes_is_a_warning(field: str, value: object, words: str) -> None:
    """A server in trouble is still the right server: warned about, not refused."""
    (problem,) = judge({**GOOD, field: value}, "noeviction").problems
    assert problem.level == "warn"
    assert words in problem.message


def test_failures_come_before_warnings() -> None:
    """The worst stands first, and every problem says what to do."""
    problems = judge({"redis_version": "6.2.0", "role": "slave"}, None).problems
    assert [problem.level for problem in problems] == ["fail", "fail", "warn", "warn"]
    assert all(problem.recovery for problem in problems)
    assert judge({"role": "slave"}, None).problems[0].level == "fail"
    assert all((problem.code is None) == (problem.level == "warn") for problem in problems)

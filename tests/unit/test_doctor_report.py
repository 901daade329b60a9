"""What the doctor says, and that no secret is ever part of it."""

import io
import json

import pytest
from rich.console import Console

from raypool.doctor import Check, Level, exit_code, render, to_json
from raypool.doctor.address import advice, read_address
from raypool.doctor.ray_cluster import judge_answer, judge_room
from raypool.doctor.report import Finding, conclude
from raypool.doctor.server import judge_room as judge_disk

OK = Check("python", Level.OK, "Python 3.11.7")
WARN = Check("chromium", Level.WARN, "no sandbox", "Run it as an ordinary user.")
FAIL = Check("redis", Level.FAIL, "redis://user:[hidden]@db:6379 refused", "Start the server.")
CANARY = "canary"


def printed(checks: list[Check], width: int = 120, *, colour: bool = False) -> str:
    out = io.StringIO()
    render(checks, Console(file=out, width=width, force_terminal=colour))
    return out.getvalue()


@pytest.mark.parametrize(
    ("checks", "code"),
    [([], 0), ([OK], 0), ([OK, WARN], 0), ([OK, FAIL, WARN], 1), ([FAIL], 1)],
)
def test_only_a_failure_fails(checks: list[Check], code: int) -> None:
    """A warning does not stop a deployment; one failure among many does."""
    assert exit_code(checks) == code
    assert to_json(checks)["ok"] is (code == 0)


def test_json_is_plain_data() -> None:
    """What a program reads is strings and booleans, every field, in order."""
    data = to_json([OK, FAIL])
    assert json.loads(json.dumps(data)) == {
        "ok": False,
        "checks": [
            {"name": "python", "level": "ok", "saw": "Python 3.11.7", "do": ""},
            {"name": "redis", "level": "fail", "saw": FAIL.saw, "do": "Start the server."},
        ],
    }


def test_the_table_can_be_read_without_colour() -> None:
    """Each line says by a word how it went, what was seen and what to do."""
    lines = printed([OK, WARN, FAIL]).splitlines()
    rows = {
        name: line for line in lines for name in ("python", "chromium", "redis ") if name in line
    }
    assert "ok" in rows["python"]
    assert "warn" in rows["chromium"]
    assert "FAIL" in rows["redis "]
    assert "Start the server." in rows["redis "]
    assert lines[-1] == "1 failed, 1 to look at, 1 ok"
    assert "\x1b" not in printed([FAIL])


def test_brackets_are_shown_as_they_are() -> None:
    """What was seen is text, never markup: [hidden] stays visible, [/red] does no harm."""
    check = Check("ray", Level.FAIL, "[/red] [hidden] [bold]", "Try [this].")
    text = printed([check], colour=True)
    assert "[/red] [hidden] [bold]" in text
    assert "Try [this]." in text


def test_a_narrow_terminal_loses_nothing() -> None:
    """Long values are folded, not cut off."""
    path = "/a/very/long/path/" + "x" * 100
    text = printed([Check("chromium", Level.OK, path)], width=60)
    assert text.count("x") == 100
    assert "…" not in text


def test_the_worst_finding_decides_and_stands_first() -> None:
    """One check says everything that is wrong, and every remedy, the worst first."""
    check = conclude(
        "redis",
        "Redis 6.2 at db",
        [
            Finding(Level.WARN, "No log.", "Turn it on."),
            None,
            Finding(Level.FAIL, "Old.", "Update."),
        ],
    )
    assert check == Check(
        "redis", Level.FAIL, "Redis 6.2 at db. Old. No log", "Update. Turn it on."
    )
    assert conclude("redis", "fine", [None]) == Check("redis", Level.OK, "fine")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://db", "redis://db"),
        (f"redis://:{CANARY}@db:6380/1", "redis://:[hidden]@db:6380/1"),
        (f"rediss://user:{CANARY}@db/0", "rediss://user:[hidden]@db/0"),
        (f"redis://{CANARY}@db", "redis://[hidden]@db"),
        (f"redis://u:a@{CANARY}@db", "redis://u:[hidden]@db"),
        (f"redis://db/0?password={CANARY}", "redis://db/0"),
        (f"unix://:{CANARY}@/run/redis.sock", "unix://:[hidden]@/run/redis.sock"),
        (f"redis+sentinel://u:{CANARY}@a:1,b:2/main", "redis+sentinel://u:[hidden]@a:1,b:2/main"),
        (f"postgresql://u:{CANARY}%40@[::1]:5433/app", "postgresql://u:[hidden]@[::1]:5433/app"),
    ],
)
def test_an_address_is_shown_without_its_password(url: str, shown: str) -> None:
    """People see where it points; credentials are hidden wherever they may stand."""
    address = read_address(url, 6379)
    assert address is not None
    assert address.shown == shown
    assert CANARY not in address.shown


@pytest.mark.parametrize(
    "url",
    [
        f"redis://:{CANARY}/x@db:6379",
        f"redis://:{CANARY}#x@db:6379",
        f"redis://:{CANARY}?x@db:6379",
        f"redis://:a[{CANARY}]b@db:6379",
        f"redis://:12/{CANARY}@db:6379",
        f"redis://db:{CANARY}",
    ],
)
def test_an_address_that_cannot_be_read_for_sure_is_not_read(url: str) -> None:
    """A password that cuts its URL in the wrong place is not taken for a host, port or path."""
    assert read_address(url, 6379) is None


def test_hosts_and_ports_are_read_with_the_default() -> None:
    """Every host of a list is found, with the usual port where none is named."""
    address = read_address("redis+cluster://a,b:7001,[::1]:7002", 6379)
    assert address is not None
    assert address.hosts == (("a", 6379), ("b", 7001), ("::1", 7002))


def test_advice_fits_the_cause() -> None:
    """The cause of a failed connection, however deep, decides; the setting is named."""
    outer = OSError("cannot connect")
    outer.__cause__ = ConnectionRefusedError(111, "refused")
    assert advice(outer, "REDIS_URL").startswith("Start the server there")
    several = OSError("Multiple exceptions: [Errno 111] Connect call failed, [Errno 111] again")
    assert advice(several, "REDIS_URL") == advice(outer, "REDIS_URL")
    assert "socket" in advice(FileNotFoundError(), "REDIS_URL")
    assert "firewall" in advice(OSError(113, "No route"), "DATABASE_URL")
    assert "DATABASE_URL" in advice(OSError(113, "No route"), "DATABASE_URL")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        ("Version mismatch: The cluster was started with: Ray: 2.9.0", "same Ray and Python"),
        ("Unauthenticated: invalid auth token", "RAY_AUTH_TOKEN_PATH"),
        ("no node found", "ray status --address head:6379"),
    ],
)
def test_a_ray_that_refuses_is_a_failure_with_its_remedy(error: str, words: str) -> None:
    """Other versions, a missing token and a missing node each have their own remedy."""
    check = judge_answer("head:6379", {"error": error})
    assert check.level is Level.FAIL
    assert error in check.saw
    assert words in check.do


def test_a_cluster_without_room_for_browsers_is_a_warning() -> None:
    """A cluster takes businesses only where nodes offer the resource."""
    assert judge_answer("head:6379", {"nodes": 3, "slots": 16.0}).level is Level.OK
    check = judge_answer("head:6379", {"nodes": 3, "slots": 0.0})
    assert (check.level, "--resources" in check.do) == (Level.WARN, True)


@pytest.mark.parametrize(
    ("shared", "available", "count"),
    [(2**30, 2**34, 0), (None, 2**34, 0), (64 * 2**20, 2**34, 1), (64 * 2**20, 2**29, 2)],
)
def test_little_memory_is_a_warning(shared: int | None, available: int, count: int) -> None:
    """Docker's 64 MB of shared memory and a full machine are said before a browser dies of them."""
    findings = judge_room(shared, available)
    assert [finding.level for finding in findings] == [Level.WARN] * count
    assert all(finding.do.endswith(".") for finding in findings)


@pytest.mark.parametrize(
    ("free", "level"), [(2**30, None), (100 * 2**20, Level.WARN), (2**20, Level.FAIL)]
)
def test_a_full_disk_fails_and_a_nearly_full_one_warns(free: int, level: Level | None) -> None:
    """The embedded server does not start on a full disk, so that is a failure."""
    finding = judge_disk(free)
    assert (finding.level if finding else None) == level

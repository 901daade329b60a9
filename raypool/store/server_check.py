"""Is this Redis server fit to hold sessions? Judged from what it says about itself.

A *fail* means that raypool cannot work with it, a *warn* that data may be lost or that the server
would not say. What a person should do comes with each.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from redis.exceptions import AuthenticationError, NoPermissionError, RedisError, ResponseError

from raypool.errors import ErrorCodes, RaypoolError, create_error

if TYPE_CHECKING:
    from redis.asyncio import Redis

_OLDEST = {"Redis": (7, 0), "Valkey": (8, 0)}
_SAFE_POLICY = "noeviction"
_KEEP_COMMAND = "and put the same line into its configuration file (or run CONFIG REWRITE)."


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, why it matters, and what to do about it.

    ``code`` is the error to raise for a *fail*; a *warn* has none.
    """

    level: Literal["fail", "warn"]
    message: str
    recovery: str
    code: ErrorCodes | None = None


@dataclass(frozen=True)
class ServerReport:
    """What a server is and what is wrong with it, worst first."""

    server: str
    """``Redis`` or ``Valkey``."""
    version: str
    persistence: str
    """``none``, ``snapshots``, or ``aof`` with when it is flushed to disk, if that is known."""
    maxmemory_policy: str
    """``unverified`` when the server would not say."""
    role: str
    problems: tuple[Problem, ...]


async def inspect_server(client: "Redis") -> ServerReport:
    """Ask the server behind *client* about itself and judge the answers. Changes nothing.

    Managed services often refuse CONFIG; then what INFO does not tell is reported as unverified.

    Raises:
        StorageError: It cannot be reached, or refuses the credentials or INFO.
    """
    try:
        info: Mapping[str, Any] = await client.info()
        policy = await _setting(client, "maxmemory-policy") or info.get("maxmemory_policy")
        return judge(info, policy, await _setting(client, "appendfsync"))
    except RedisError as error:
        raise _no_answer(error) from error


def _no_answer(error: RedisError) -> RaypoolError:
    # Where a connection is refused for its credentials, redis-py hides that below another error.
    refused = (AuthenticationError, NoPermissionError)
    if isinstance(error, refused) or isinstance(error.__cause__, refused):
        return create_error(
            ErrorCodes.STORAGE_ACCESS_DENIED,
            f"Redis refused to describe itself: {error}",
            recovery="Correct user and password in REDIS_URL; the user needs +info.",
        )
    return create_error(ErrorCodes.STORAGE_UNAVAILABLE, f"Redis did not answer INFO: {error}")


async def _setting(client: "Redis", name: str) -> str | None:
    try:
        return (await client.config_get(name)).get(name)
    except ResponseError:
        return None


def judge(
    info: Mapping[str, object], policy: str | None, appendfsync: str | None = None
) -> ServerReport:
    """Judge a server by its INFO.

    Args:
        info: All default sections in one flat mapping, as redis-py gives them.
        policy: Its ``maxmemory-policy``; None when it could not be read.
        appendfsync: Its ``appendfsync``; None when it could not be read.
    """
    server, version = _identity(info)
    found = (
        _judge_version(server, version),
        _judge_role(info),
        _judge_policy(policy),
        _judge_log(info),
        _judge_flush(info, appendfsync),
        *_judge_health(info),
    )
    return ServerReport(
        server=server,
        version=version,
        persistence=_persistence(info, appendfsync),
        maxmemory_policy=policy or "unverified",
        role=str(info.get("role", "unknown")),
        problems=tuple(sorted(filter(None, found), key=lambda problem: problem.level)),
    )


def _identity(info: Mapping[str, object]) -> tuple[str, str]:
    # Valkey says redis_version 7.2.4 to old clients and its own version beside it.
    if "valkey_version" in info:
        return "Valkey", str(info["valkey_version"])
    return "Redis", str(info.get("redis_version", "unknown"))


def _persistence(info: Mapping[str, object], appendfsync: str | None) -> str:
    if _flag(info, "aof_enabled"):
        return f"aof {appendfsync or '(flush unverified)'}"
    # INFO does not show the `save` schedule; a snapshot that was ever made shows that there is one.
    return "snapshots" if _flag(info, "rdb_saves") else "none"


def _flag(info: Mapping[str, object], name: str) -> bool:
    return str(info.get(name, 0)) not in {"0", ""}


def _judge_version(server: str, version: str) -> Problem | None:
    oldest = ".".join(map(str, _OLDEST[server]))
    numbers = re.match(r"(\d+)\.(\d+)", version)
    if numbers is None:
        return Problem(
            "warn",
            f"The version of the server is unverified: it says {version!r}.",
            f"Make sure that it is {server} {oldest} or newer.",
        )
    if (int(numbers[1]), int(numbers[2])) >= _OLDEST[server]:
        return None
    return Problem(
        "fail",
        f"{server} {version} is too old: {oldest} or newer is needed.",
        "Use Redis 7.0 or newer, or Valkey 8 or newer.",
        ErrorCodes.STORAGE_UNSUPPORTED,
    )


def _judge_role(info: Mapping[str, object]) -> Problem | None:
    if info.get("role") not in {"slave", "replica"}:
        return None
    primary = f"{info.get('master_host', 'unknown')}:{info.get('master_port', 'unknown')}"
    return Problem(
        "fail",
        f"The server is a read-only replica of {primary}.",
        "Point REDIS_URL at the primary (or at Sentinel).",
        ErrorCodes.STORAGE_READ_ONLY,
    )


def _judge_policy(policy: str | None) -> Problem | None:
    command = f"CONFIG SET maxmemory-policy {_SAFE_POLICY}"
    if policy == _SAFE_POLICY:
        return None
    if policy is None:
        return Problem(
            "warn",
            "maxmemory-policy is unverified: the server would not say.",
            f"Make sure that it is {_SAFE_POLICY} ({command}).",
        )
    return Problem(
        "warn",
        f"maxmemory-policy {policy} is unsafe: sessions and leases could be evicted.",
        f"Run {command} {_KEEP_COMMAND}",
    )


def _judge_log(info: Mapping[str, object]) -> Problem | None:
    if _flag(info, "aof_enabled"):
        return None
    return Problem(
        "warn",
        "appendonly is off: an acknowledged checkpoint may be lost when the server restarts.",
        f"Run CONFIG SET appendonly yes {_KEEP_COMMAND}",
    )


def _judge_flush(info: Mapping[str, object], appendfsync: str | None) -> Problem | None:
    window = {"everysec": "up to 1 s", "no": "up to 30 s or more"}.get(appendfsync or "")
    if window is None or not _flag(info, "aof_enabled"):
        return None
    return Problem(
        "warn",
        f"appendfsync {appendfsync}: {window} of acknowledged checkpoints may be lost when its"
        " machine goes down.",
        f"Run CONFIG SET appendfsync always {_KEEP_COMMAND}",
    )


def _judge_health(info: Mapping[str, object]) -> list[Problem]:
    problems = []
    if info.get("aof_last_write_status", "ok") != "ok":
        problems.append(
            Problem(
                "warn",
                "The server could not write its append-only file and refuses writes.",
                "Look at its log and free disk space; it goes on by itself.",
            )
        )
    if info.get("rdb_last_bgsave_status", "ok") != "ok":
        problems.append(
            Problem(
                "warn",
                "The server's last snapshot failed; it refuses writes unless"
                " stop-writes-on-bgsave-error is no.",
                "Look at its log, free disk or memory, then run BGSAVE.",
            )
        )
    if _flag(info, "loading"):
        problems.append(
            Problem(
                "warn",
                "The server is loading its data and takes no commands yet.",
                "Wait until it has finished; clients try again by themselves.",
            )
        )
    return problems

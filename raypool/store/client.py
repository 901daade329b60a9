"""Connections to Redis, and the one place where its errors become ours."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import redis.exceptions as theirs
from pydantic import SecretStr
from redis.asyncio import Redis, RedisCluster
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import ExponentialWithJitterBackoff

from raypool.errors import ErrorCodes, RaypoolError, create_error

CLUSTER_PARTITIONS = 16
_RETRIES = 3
_SENTINEL_PORT = 26379
# The last two come from within a script: of Valkey, and of Redis 7.0.
_NO_RIGHTS = ("NOPERM", "ACL failure in script", "user executing the script can't")


def partitions_for(url: SecretStr) -> int:
    """Return how many partitions a server of this kind wants."""
    return CLUSTER_PARTITIONS if _scheme(url).endswith("+cluster") else 1


def build_client(
    url: SecretStr,
    name: str,
    *,
    timeout: float = 5.0,
    connections: int = 16,
    retries: int = _RETRIES,
) -> Any:
    """Return a client for *url*; it connects when it is first used, on the loop that uses it.

    Args:
        url: ``redis://``, ``rediss://``, ``unix://``, ``redis+sentinel://host:port,…/service`` or
            ``redis+cluster://host:port``; the ``rediss+`` forms use TLS.
        name: Shown by ``CLIENT LIST``.
        timeout: Seconds for an answer.
        connections: Most connections at once.
        retries: How often a command whose connection broke is sent again.
    """
    options: dict[str, Any] = {
        # Without it, clients made from a URL do not retry at all.
        "retry": Retry(ExponentialWithJitterBackoff(base=0.05, cap=0.5), retries),
        # A retry makes the connection anew. Where a name moves to the new primary after a failover,
        # open connections would lead to the old one, now a replica, for ever.
        "retry_on_error": [theirs.ReadOnlyError],
        "socket_timeout": timeout,
        "socket_connect_timeout": min(timeout, 2.0),
        "max_connections": connections,
        "client_name": name,
        "decode_responses": False,
    }
    scheme, text = _scheme(url), _escaped(url)
    try:
        if scheme.endswith("+sentinel"):
            return _through_sentinel(text, options)
        if scheme.endswith("+cluster"):
            return RedisCluster.from_url(text.replace("+cluster", "", 1), **options)
        return Redis.from_url(text, **options)
    except ValueError:  # its text may hold a part of the password
        raise create_error(
            ErrorCodes.CONFIG_INVALID,
            f"REDIS_URL cannot be understood: {shown(url)}",
            recovery="Use redis://user:password@host:6379/0; docs/redis-schema.md lists all forms.",
        ) from None


async def close_client(client: Any) -> None:
    """Close what :func:`build_client` made, the connections to Sentinels included."""
    await client.aclose()
    pool = getattr(client, "connection_pool", None)
    if isinstance(pool, SentinelConnectionPool):
        for sentinel in pool.sentinel_manager.sentinels:
            await sentinel.aclose()


def _through_sentinel(text: str, options: dict[str, Any]) -> Any:
    split = urlsplit(text)
    hosts = split.netloc.rpartition("@")[2].split(",")
    sentinels = [(host, int(port or _SENTINEL_PORT)) for host, _, port in map(_halves, hosts)]
    user, password = split.username, split.password
    secure = {"ssl": True} if split.scheme.startswith("rediss") else {}
    login = {
        "username": unquote(user) if user else None,
        "password": unquote(password) if password else None,
    }
    sentinel = Sentinel(  # type: ignore[no-untyped-call]
        sentinels, sentinel_kwargs={"socket_timeout": 1.0, **secure}
    )
    service = split.path.strip("/") or "mymaster"
    return sentinel.master_for(service, **{**options, **login, **secure})


def _halves(host: str) -> tuple[str, str, str]:
    return host.rpartition(":") if ":" in host else (host, "", "")


def _scheme(url: SecretStr) -> str:
    return url.get_secret_value().partition("://")[0].lower()


def _escaped(url: SecretStr) -> str:
    """Return the URL with user and password spelled as a URL parser wants them.

    People paste passwords as they are; a slash in one would end the host.
    """
    scheme, _, rest = url.get_secret_value().partition("://")
    # The path of a socket may hold an @ of its own.
    login, at, where = rest.partition("@/") if _scheme(url) == "unix" else rest.rpartition("@")
    if not at:
        return url.get_secret_value()
    spelled = ":".join(quote(unquote(part), safe="") for part in login.split(":", 1))
    return f"{scheme}://{spelled}@{at[1:]}{where}"


def shown(url: SecretStr) -> str:
    """Return *url* without its credentials."""
    # By hand: a URL parser takes a password with a slash in it for something else.
    scheme, _, rest = url.get_secret_value().partition("://")
    return f"{scheme}://{rest.rpartition('@')[2].partition('?')[0]}"


@contextmanager
def translated(url: SecretStr) -> Iterator[None]:
    """Raise our error for any of redis-py's in the block."""
    try:
        yield
    except (theirs.RedisError, theirs.RedisClusterException, OSError) as error:
        raise _ours(error, shown(url)) from error


_ON_A_REPLICA = ("READONLY", "cannot be used with replica instances")
_PASSING = ("BUSY", "MASTERDOWN", "NOREPLICAS", "UNBLOCKED")
"""What a server says that is only in a state; what else it refuses it will refuse again."""


def _ours(error: BaseException, where: str) -> RaypoolError:
    # redis-py may wrap what it was told in a plain ConnectionError.
    causes = [error, *filter(None, (error.__cause__, error.__context__))]
    text = " ".join(str(cause) for cause in causes)
    if any(isinstance(c, theirs.NoPermissionError) for c in causes) or (
        any(word in text for word in _NO_RIGHTS)
    ):
        return create_error(
            ErrorCodes.STORAGE_ACCESS_DENIED,
            f"Redis at {where} lets the user in but not do this: {_first_line(error)}",
            recovery="Give the user the rights that docs/redis-schema.md lists.",
        )
    if any(isinstance(c, theirs.AuthenticationError) for c in causes) or (
        any(word in text for word in ("NOAUTH", "WRONGPASS"))
    ):
        return create_error(
            ErrorCodes.STORAGE_ACCESS_DENIED, f"Redis at {where} refused the credentials"
        )
    # A script that refuses before it writes anything runs on a replica too: its WAIT does not.
    if isinstance(error, theirs.ReadOnlyError) or any(word in text for word in _ON_A_REPLICA):
        return create_error(
            ErrorCodes.STORAGE_READ_ONLY, f"Redis at {where} is a read-only replica"
        )
    if isinstance(error, theirs.OutOfMemoryError) or "OOM" in text or "MISCONF" in text:
        return create_error(
            ErrorCodes.STORAGE_FULL, f"Redis at {where} takes no writes: {_first_line(error)}"
        )
    if type(error) is theirs.ResponseError and not str(error).startswith(_PASSING):
        return create_error(
            ErrorCodes.INTERNAL_ERROR, f"Redis at {where} refused a command: {_first_line(error)}"
        )
    return create_error(
        ErrorCodes.STORAGE_UNAVAILABLE, f"Redis at {where} cannot be reached: {_first_line(error)}"
    )


def _first_line(error: BaseException) -> str:
    lines = str(error).splitlines()
    return lines[0][:200] if lines else type(error).__name__

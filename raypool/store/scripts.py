"""The Lua scripts, each a promise of its own: see the head of each file in ``lua/``."""

from collections.abc import Sequence
from functools import cache
from hashlib import sha1
from importlib.resources import files
from typing import Any

from redis.asyncio import RedisCluster
from redis.exceptions import NoScriptError

READING = frozenset({"read_record", "list_living"})
"""Scripts that write nothing."""
HINTS = frozenset({"ask_breaker", "report_breaker"})
"""Scripts whose writes may be lost at no cost."""

Pair = list[Any]


def is_waited_for(name: str) -> bool:
    """Tell whether a script is acknowledged only when the replicas that must have its write do."""
    return name not in READING | HINTS


@cache
def source(name: str) -> str:
    """Return the text of a script, the shared functions before it."""
    lua = files("raypool.store") / "lua"
    return (lua / "shared.lua").read_text() + (lua / f"{name}.lua").read_text()


@cache
def _digest(name: str) -> str:
    return sha1(source(name).encode(), usedforsecurity=False).hexdigest()


async def call(client: Any, name: str, keys: Sequence[str], args: Sequence[Any]) -> Any:
    """Run a script, loading it when the server does not know it (restart, failover, flush)."""
    script = client.register_script(source(name))
    try:
        return await script(keys=list(keys), args=list(args))
    except NoScriptError:  # flushed between loading and running
        return await client.eval(source(name), len(keys), *keys, *args)


async def call_and_wait(
    client: Any, name: str, keys: Sequence[str], args: Sequence[Any], wait: Sequence[Any]
) -> tuple[Any, Any]:
    """Run a writing script and then, on the same connection, the command that waits for replicas.

    Returns:
        The replies of both.
    """
    replies = await _pair(client, name, keys, args, wait)
    if not _failure(replies):
        return replies[0], replies[1]
    # Unknown script, moved slot, broken connection: a plain call gets over each of them, or raises.
    # Then once more, for the wait: a script that is repeated writes again.
    first = await call(client, name, keys, args)
    replies = await _pair(client, name, keys, args, wait)
    if failure := _failure(replies):
        raise failure
    return first, replies[1]


async def _pair(
    client: Any, name: str, keys: Sequence[str], args: Sequence[Any], wait: Sequence[Any]
) -> Pair:
    run = ("EVALSHA", _digest(name), len(keys), *keys, *args)
    pipe = client.pipeline(transaction=False)
    if not isinstance(client, RedisCluster):
        pipe.execute_command(*run).execute_command(*wait)
        return list(await pipe.execute(raise_on_error=False))
    await client.initialize()
    node = client.get_node_from_key(keys[0])  # without it, WAIT would go to some other node
    pipe.execute_command(*run, target_nodes=node).execute_command(*wait, target_nodes=node)
    # A redirection would send each command on a connection of its own.
    return list(await pipe.execute(raise_on_error=False, allow_redirections=False))


def _failure(replies: Pair) -> Exception | None:
    return next((reply for reply in replies if isinstance(reply, Exception)), None)

"""The Lua scripts, each a promise of its own: see the head of each file in ``lua/``."""

from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from redis.exceptions import NoScriptError


@cache
def source(name: str) -> str:
    """Return the text of a script, the shared functions before it."""
    lua = files("raypool.store") / "lua"
    return (lua / "shared.lua").read_text() + (lua / f"{name}.lua").read_text()


async def call(client: Any, name: str, keys: Sequence[str], args: Sequence[Any]) -> Any:
    """Run a script, loading it when the server does not know it (restart, failover, flush)."""
    script = client.register_script(source(name))
    try:
        return await script(keys=list(keys), args=list(args))
    except NoScriptError:  # flushed between loading and running
        return await client.eval(source(name), len(keys), *keys, *args)

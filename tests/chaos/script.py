"""A script that holds a pool, as users write them: what it can be asked to do."""

import importlib
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

from raypool import AsyncPool, Probe, connect_async
from raypool.config import Settings
from raypool.model import CheckpointMeta
from tests.chaos import clock
from tests.chaos.work import witnessed


class Script:
    """What a script does with its pool. Each method answers one kind of request."""

    pool: AsyncPool

    def __init__(self, settings: Settings) -> None:
        self._settings, self._stack = settings, AsyncExitStack()

    async def connect(self) -> None:
        """Join the fleet, or start one."""
        opened = connect_async(self._settings, say=_say)
        self.pool = await self._stack.enter_async_context(opened)

    async def leave(self) -> None:
        """Leave the fleet; the last one takes it down."""
        await self._stack.aclose()

    async def run(
        self, business: str, work: str, args: list[Any], timeout: float, idempotent: bool
    ) -> Any:
        """Run the function called ``module:name`` and return what its witness says."""
        return await self.pool.run(
            business, witnessed, _named(work), *args, timeout=timeout, idempotent=idempotent
        )

    async def create(self, business: str, email: str, cookie: str) -> str:
        """Bring up a business whose sign-in a cookie shows."""
        return await self.pool.get_or_create_instance(
            business, email=email, probe=Probe(cookie=cookie)
        )

    async def checkpoint(self, business: str) -> int:
        """Save now."""
        return (await self.pool.checkpoint(business)).version

    async def remove(self, business: str) -> bool:
        """Stop a business; its record stays."""
        await self.pool.remove_instance(f"business:{business}")
        return True

    async def status(self, business: str) -> dict[str, Any]:
        """Return what is known of a business."""
        found: dict[str, Any] = (await self.pool.status(business)).model_dump(mode="json")
        return found

    async def write_stale(self, business: str, token: int) -> None:
        """Write as an owner whose fencing token is *token*."""
        session = await self.pool.sessions.get_active_session(business)
        assert session is not None
        meta = CheckpointMeta(reasons=("stale",))
        await self.pool.sessions.checkpoints.save(session.id, token, {"stale": b""}, meta)

    async def step(self, seconds: float) -> float:
        """Step this process's clock; return what it shows now."""
        return clock.step(seconds)


def _named(name: str) -> Callable[..., Any]:
    module, _, function = name.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), function)
    return found


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")

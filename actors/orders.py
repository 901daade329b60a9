"""Tasks that carry out orders beside the loop that gave them; none fails unheard."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from raypool.logs import get_logger

log = get_logger(__name__)


class Orders:
    """Orders under way.

    Args:
        wake: Called when one has ended.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self.changed = asyncio.Condition()
        self._wake = wake
        self._tasks: set[asyncio.Task[None]] = set()

    def give(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Carry out *work*; whoever waits for :attr:`changed` is told when it has ended."""

        async def noticed() -> None:
            try:
                await work
            except Exception as error:  # noqa: BLE001 -- an order that fails must be heard of
                log.error("order failed", error=repr(error))  # noqa: TRY400
            finally:
                await self.tell()
                self._wake()

        task = asyncio.get_running_loop().create_task(noticed())
        self._tasks.add(task)  # the loop itself keeps only weak references
        task.add_done_callback(self._tasks.discard)
        return task

    async def tell(self) -> None:
        """Tell whoever waits that something changed."""
        async with self.changed:
            self.changed.notify_all()

"""Restart a supervisor that hangs. Ray restarts one that died; nobody else notices one that stopped."""

import asyncio

from actors.names import SUPERVISOR
from actors.runtime import on_head, ping, restart
from raypool.logs import get_logger

log = get_logger(__name__)

PING_EVERY_S = 5.0
PING_TIMEOUT_S = 10.0
MISSES = 2


async def watch_supervisor(namespace: str) -> None:
    """On the head node, for ever: kill a supervisor that stays silent, so that Ray makes it anew.

    One that is missing is none of ours: the next call of a driver makes it.
    """
    if not await asyncio.to_thread(on_head):
        return
    missed = 0
    while True:
        await asyncio.sleep(PING_EVERY_S)
        missed = 0 if await ping(SUPERVISOR, namespace, PING_TIMEOUT_S) else missed + 1
        if missed >= MISSES:
            log.error("the supervisor does not answer and is restarted")
            await restart(SUPERVISOR, namespace)
            missed = 0

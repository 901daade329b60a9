"""One incarnation with all that is real about it except for Ray: in the process that asks for it."""

from __future__ import annotations

import asyncio
import uuid
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from actors.life import Incarnation
from actors.ports import Stores
from actors.session import InstanceSession
from raypool.browser.live import Launcher
from raypool.model import Holder
from raypool.store.sessions import RedisSessionManager

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from playwright.async_api import BrowserContext

    from raypool.config import Settings
    from raypool.store.base import CheckpointStore, LeaseStore
    from raypool.store.crypto import Keyring

STOP_TIMEOUT_S = 10.0


@asynccontextmanager
async def incarnation(
    settings: Settings,
    keyring: Keyring,
    business_id: str,
    *,
    supersedes: str | None = None,
    seen_by: Callable[[CheckpointStore], CheckpointStore] = lambda store: store,
) -> AsyncIterator[InstanceSession]:
    """Be the owner of a business's browser for the block.

    Args:
        settings: Where the store is, how long a lease lasts.
        keyring: The key to what lies there.
        business_id: Whose browser; its session is made when there is none.
        supersedes: Holder that is certainly dead.
        seen_by: Wraps the store of checkpoints, to see what is saved.
    """
    async with RedisSessionManager(settings, keyring) as manager:
        session = await manager.ensure_active(business_id)
        who = Incarnation(
            business_id, session.id, Holder(id=uuid.uuid4().hex), supersedes=supersedes
        )
        checkpoints = seen_by(manager.checkpoints)
        stores = Stores(manager, manager.leases, checkpoints, manager.breakers)
        ended = asyncio.get_running_loop().create_future()
        life = InstanceSession(
            who, settings, stores, Launcher(settings.chromium),
            lambda: _leases(settings, keyring), ended.set_result,
        )  # fmt: skip
        await life.start()
        try:
            yield life
        finally:
            await life.stop(STOP_TIMEOUT_S)


def context_of(life: InstanceSession) -> BrowserContext:
    """Return the live context, past all commands: nothing is saved for what is done with it.

    Raises:
        InstanceNotReady: There is no browser now.
    """
    assert life._place is not None
    context: BrowserContext = life._place.present.components[1]
    return context


@asynccontextmanager
async def _leases(settings: Settings, keyring: Keyring) -> AsyncIterator[LeaseStore]:
    async with RedisSessionManager(settings, keyring) as manager:
        yield manager.leases

"""The sides of a fleet that an audit asks: Redis and Ray, as far as they run. Starts neither."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from actors.client import RayFleet
from raypool import local, rays
from raypool.config import Settings
from raypool.errors import RaypoolError
from raypool.keyfile import keyring_for
from raypool.local import FleetPaths
from raypool.store.crypto import Keyring
from raypool.store.sessions import RedisSessionManager

_JOIN_TIMEOUT_S = 10.0


@dataclass
class Sides:
    """What could be reached."""

    settings: Settings
    records: RedisSessionManager | None = None
    fleet: RayFleet | None = None
    notes: list[str] = field(default_factory=list)
    """What was not looked at, and why."""
    reachable: bool = True
    """Whether everything that is configured answered."""

    def missing(self, what: str, error: RaypoolError) -> None:
        """Note that something which should be there does not answer."""
        self.notes.append(f"{what} not looked at: {error.message}")
        self.reachable = False


@asynccontextmanager
async def reach(settings: Settings) -> AsyncIterator[Sides]:
    """Connect to what runs; give back what was reached. A fleet that is down stays down."""
    async with AsyncExitStack() as stack:
        sides, token = Sides(settings), None
        if settings.ray_address is None:
            fleet = await _join(settings, stack)
            if fleet is None:
                sides.notes.append(
                    "no local fleet runs with these settings: only the processes of this machine "
                    "were looked at"
                )
                yield sides
                return
            sides.settings, token = fleet, FleetPaths.of(settings).ray_token
        await _connect(sides, token, stack)
        yield sides


async def _join(settings: Settings, stack: AsyncExitStack) -> Settings | None:
    """Become a member of the local fleet while it is looked at; None when there is none."""
    member = await asyncio.to_thread(local.find, settings)
    if member is None:
        return None
    stack.callback(member.close)
    with contextlib.suppress(OSError):  # it is just going down
        fleet: Settings = await asyncio.to_thread(member.ask, "join", _JOIN_TIMEOUT_S)
        return fleet
    return None


async def _connect(sides: Sides, token: Path | None, stack: AsyncExitStack) -> None:
    settings = sides.settings
    try:
        keyring, _ = keyring_for(settings, embedded=False)
    except RaypoolError as error:
        sides.missing("Records and leases", error)
        return
    try:
        manager = RedisSessionManager(settings, keyring)
        sides.records = await stack.enter_async_context(manager)
    except RaypoolError as error:
        sides.missing("Records and leases", error)
    await _connect_ray(sides, keyring, token, stack)


async def _connect_ray(
    sides: Sides, keyring: Keyring, token: Path | None, stack: AsyncExitStack
) -> None:
    try:
        joined = await asyncio.to_thread(rays.connect, sides.settings, token)
    except RaypoolError as error:
        sides.missing("Actors and other nodes", error)
        return
    if joined:
        stack.push_async_callback(asyncio.to_thread, rays.leave)
    sides.fleet = RayFleet(sides.settings, keyring)

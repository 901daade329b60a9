"""Scenario *partition*: a node is cut off from Redis and Ray, while its browser reaches the web.

``python -m tests.chaos.partition``. By its lease's deadline the browser over there must stand still;
its business comes up on the node that is left; and when the cable is in again, whoever was cut off
writes nothing and is gone. Needs root (network namespaces).
"""

import asyncio
import contextlib
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from raypool.config import Settings
from raypool.store.crypto import Keyring
from tests.chaos.aftermath import aftermath
from tests.chaos.client import Client, say
from tests.chaos.cluster import two_nodes, variables
from tests.chaos.evidence import Final
from tests.chaos.fleet import Fleet, redis_behind_link
from tests.chaos.history import History, Kind
from tests.chaos.network import Network, unavailable
from tests.chaos.rights import PAUSED, Paused
from tests.chaos.scenario import scenario
from tests.chaos.targets import RUN_VARIABLE
from tests.chaos.workers import Performer
from tests.sites.rotating.server import RotatingSite

FAULT = "partition"
LEASE_TTL_S = 5.0
LEASES = 3
SECOND_TIMEOUT_S = 90.0
SETTLE_S = 3.0


async def partition(mark: str, history: History) -> Final:
    """Run the scenario on two hosts of its own; return what is left."""
    if reason := unavailable():
        return Final(skipped={FAULT: reason})
    with Network() as network, RotatingSite(users=2, host=network.web) as site:
        async with _cluster(mark, network) as fleet:
            workers = [Performer(f"{mark}-{n}", site, user) for n, user in enumerate(site.users)]
            async with Client(fleet, history) as client:
                for worker in workers:
                    await worker.sign_in(client)
                far = await _cut_off(client, workers, network)
                await far.finish(client)
                await client.ready(far.business)
                final = far.final()
            await asyncio.to_thread(_down, fleet)
    return final + Final(planned=(FAULT,)) + await aftermath(mark)


@contextlib.asynccontextmanager
async def _cluster(mark: str, network: Network) -> AsyncIterator[Fleet]:
    with tempfile.TemporaryDirectory(prefix="rp-", ignore_cleanup_errors=True) as name:
        directory = Path(name)
        environment = {**variables(directory), RUN_VARIABLE: mark}
        async with redis_behind_link(network.cluster) as redis:
            with two_nodes(network, directory, environment) as address:
                settings = Settings(
                    redis_url=SecretStr(redis.url),
                    redis_prefix=f"{mark}:",
                    ray_address=address,
                    encryption_keys=SecretStr(Keyring.generate()),
                    data_dir=directory,
                    lease_ttl=LEASE_TTL_S,
                    log_level="ERROR",
                )
                yield Fleet(mark, settings, directory / "scripts.log", environment)


async def _cut_off(client: Client, workers: list[Performer], network: Network) -> Performer:
    """Cut off the business that runs over there; make room here first. Returns its worker."""
    seen = {w.business: await _status(client, w.business) for w in workers}
    by_place = {network.is_over_there(seen[w.business]["pid"]): w for w in workers}
    near, far = by_place[False], by_place[True]
    await client.remove(near.business)
    await far.finish(client)
    first, written = await _status(client, far.business), secrets.token_hex(8)
    cut = await asyncio.to_thread(network.pull_out)
    cut_at = time.monotonic()
    op = client.history.add(Kind.FAULT, FAULT, far.business, value=cut)
    second = await _second(client, far, written)
    await asyncio.sleep(max(0.0, cut_at + LEASES * LEASE_TTL_S - time.monotonic()))
    await asyncio.to_thread(network.plug_in)
    client.history.add(Kind.HEALED, FAULT, far.business, op)
    await asyncio.sleep(SETTLE_S)
    read = await client.do(
        "read_second", far.business, "tests.chaos.work:read", far.site.url, idempotent=True
    )
    await client.write_stale(far.business, first["fencing_token"])
    trial = Paused(cut_at, LEASE_TTL_S, first["pid"], second["pid"] if second else None, True,
                   written, read and read["value"])  # fmt: skip
    client.history.add(Kind.OK, PAUSED, far.business, op, asdict(trial))
    if second:
        value = {"seconds": round(second["ended"] - cut_at, 2), "changed": []}
        client.history.add(Kind.RECOVERED, FAULT, far.business, op, value)
        say(f"{FAULT}: {far.business} works here after {value['seconds']} s")
    return far


async def _second(client: Client, worker: Performer, value: str) -> Any:
    """Let the business write, until it is acknowledged; give up after a while."""
    deadline = time.monotonic() + SECOND_TIMEOUT_S
    args = ("tests.chaos.work:write", worker.site.url, value)
    while time.monotonic() < deadline:
        done = await client.do(
            "write_second", worker.business, *args, idempotent=True, patience=30.0
        )
        if done:
            return done
        await asyncio.sleep(0.5)
    return None


async def _status(client: Client, business: str) -> dict[str, Any]:
    found: dict[str, Any] = await client.caller.ask("status", 30.0, business=business)
    return found


def _down(fleet: Fleet) -> None:
    """Take the fleet down, as a person would."""
    settings = fleet.settings
    assert settings.redis_url is not None
    assert settings.encryption_keys is not None
    assert settings.ray_address is not None
    environment = {
        "REDIS_URL": settings.redis_url.get_secret_value(),
        "REDIS_PREFIX": settings.redis_prefix,
        "RAYPOOL_RAY_ADDRESS": settings.ray_address,
        "RAYPOOL_ENCRYPTION_KEYS": settings.encryption_keys.get_secret_value(),
        "RAYPOOL_DATA_DIR": str(settings.data_dir),
    }
    command = [sys.executable, "-c", "from raypool.cli import main; main()", "down"]
    subprocess.run(
        command,
        env={**os.environ, **fleet.variables, **environment},
        check=False,
        capture_output=True,
        timeout=120,
    )


if __name__ == "__main__":
    sys.exit(scenario("partition", partition))

"""Which faults there are for which fleet."""

from collections.abc import Callable
from functools import partial
from typing import Any

from tests.chaos import targets
from tests.chaos.client import Client
from tests.chaos.fleet import Fleet, RedisBehindLink
from tests.chaos.nemesis import (
    CutRedis,
    DelayReplies,
    FillDisk,
    Kill,
    KillRedis,
    LoseReply,
    Nemesis,
    Pause,
    Several,
    StepClock,
)
from tests.chaos.race import SecondCluster
from tests.chaos.unanswered import UnansweredProbe

BLINK_S = 3.0
"""Shorter than a lease."""
HANG_S = 8.0
"""Long enough for a health probe to find out."""
LEASES = 2.0
"""Lease times: long enough for one to run out, and somebody else to take it."""


def embedded(fleet: Fleet, client: Client, *, small_disk: bool) -> list[Nemesis]:
    """Return the faults for a fleet on an embedded server."""
    server = targets.embedded_server(fleet.settings)
    found = [*_business(HANG_S), *_services(fleet)]
    found += [
        Kill("kill-redis", everywhere=True, spares_browsers=True, find=server),
        Pause("pause-redis", everywhere=True, spares_browsers=True, hold_s=BLINK_S, find=server),
        _clock(client),
        UnansweredProbe(
            "unanswered-probe",
            everywhere=True,
            spares_browsers=True,
            client=client,
            supervisor=targets.titled(fleet.mark, "ray::supervisor"),
        ),
        Several(
            "several",
            members=[
                Kill("", find=targets.actor),
                Kill("", everywhere=True, find=server),
                Kill("", everywhere=True, find=targets.titled(fleet.mark, "ray::supervisor")),
            ],
        ),
    ]
    if small_disk:
        fill = partial(FillDisk, directory=fleet.settings.data_dir)
        found.append(fill("disk-full", everywhere=True, spares_browsers=True, hold_s=BLINK_S))
    return found


def shared(fleet: Fleet, client: Client, redis: RedisBehindLink) -> list[Nemesis]:
    """Return the faults for a fleet on a Redis behind a link."""
    lease = fleet.settings.lease_ttl
    everywhere: dict[str, Any] = {"everywhere": True, "spares_browsers": True}
    cut = partial(CutRedis, link=redis.link, **everywhere)
    return [
        *_business(LEASES * lease)[:2],
        KillRedis("kill-redis", server=redis.server, hold_s=1.0, **everywhere),
        Pause("pause-redis", find=redis.server.find, hold_s=BLINK_S, **everywhere),
        cut("cut-redis", hold_s=BLINK_S),
        cut("cut-redis-silently", silently=True, hold_s=BLINK_S),
        cut("cut-redis-long", hold_s=LEASES * lease),
        LoseReply("lose-reply", link=redis.link),
        DelayReplies("delay-replies", link=redis.link, hold_s=2 * BLINK_S, **everywhere),
        SecondCluster("two-clusters", everywhere=True, first=client, hold_s=lease),
        SecondCluster("hand-over", everywhere=True, first=client, hold_s=lease, gently=True),
        Several(
            "several",
            members=[Kill("", find=targets.actor), cut("", silently=True, hold_s=BLINK_S)],
        ),
    ]


def ending(fleet: Fleet) -> list[Nemesis]:
    """Return the faults that end a local fleet: the next script rebuilds it from Redis alone."""
    program: Callable[[str], Any] = partial(targets.program, fleet.mark)
    return [
        Kill("kill-head", everywhere=True, find=program("gcs_server")),
        Kill("kill-raylet", everywhere=True, find=program("raylet")),
        Kill("kill-host", everywhere=True, find=targets.host(fleet.mark)),
    ]


def _business(hold_s: float) -> list[Nemesis]:
    return [
        Kill("kill-actor", find=targets.actor),
        Pause("pause-actor", find=targets.actor, hold_s=hold_s),
        Kill("kill-driver", find=targets.driver),
        Pause("pause-driver", find=targets.driver, hold_s=HANG_S),
        Kill("kill-chromium", find=targets.chromium),
        Pause("pause-chromium", find=targets.chromium, hold_s=HANG_S),
    ]


def _services(fleet: Fleet) -> list[Nemesis]:
    """Return the faults of what serves the fleet: no live browser notices any of them."""
    found: list[Nemesis] = []
    finds = {
        "supervisor": targets.titled(fleet.mark, "ray::supervisor"),
        "janitor": targets.titled(fleet.mark, "ray::janitor:"),
        "head": targets.program(fleet.mark, "gcs_server"),
        "raylet": targets.program(fleet.mark, "raylet"),
    }
    spares: dict[str, Any] = {"everywhere": True, "spares_browsers": True}
    for name, find in finds.items():
        found.append(Pause(f"pause-{name}", find=find, hold_s=BLINK_S, **spares))
        if name in {"supervisor", "janitor"}:
            found.append(Kill(f"kill-{name}", find=find, **spares))
    return found


def _clock(client: Client) -> Nemesis:
    async def ask(seconds: float) -> Any:
        return await client.caller.ask("step", 10.0, seconds=seconds)

    return StepClock("step-clock", ask=ask, everywhere=True, spares_browsers=True, hold_s=BLINK_S)

"""The whole suite: its stages one after the other, each in a fleet of its own."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from tests.chaos import catalog
from tests.chaos.acks import acks
from tests.chaos.aftermath import aftermath
from tests.chaos.client import Client, say
from tests.chaos.evidence import Final
from tests.chaos.fleet import Fleet, may_mount, own_fleet, redis_behind_link
from tests.chaos.history import History
from tests.chaos.nemesis import Nemesis
from tests.chaos.partition import partition
from tests.chaos.paused import paused
from tests.chaos.stage import Plan, Stage, at_work


@dataclass(frozen=True)
class Order:
    """What is to be run."""

    seed: int
    seconds: float
    businesses: int
    acks: int
    paused: int
    stages: Sequence[str]
    kinds: Sequence[str]
    """Faults to run; empty: all."""

    def plan(self, stage: str) -> Plan:
        """Return how much of it falls to a stage; the same dice for the same seed and stage."""
        share = SHARES.get(stage, 0.0)
        return Plan(self.businesses, share * self.seconds, Random(f"{self.seed} {stage}"))

    def chosen(self, nemeses: list[Nemesis]) -> list[Nemesis]:
        """Return those that are to be run."""
        return [n for n in nemeses if not self.kinds or n.name in self.kinds]


async def suite(run: str, order: Order, history: History) -> Final:
    """Run the stages of *order*; return all that is left of them."""
    final = Final()
    for stage in order.stages:
        say(f"stage {stage}")
        final += await STAGES[stage](f"{run}-{stage}", order, history)
    return final


async def _acks(mark: str, order: Order, history: History) -> Final:
    return await acks(mark, order.acks, history, order.plan("acks").rng)


async def _embedded(mark: str, order: Order, history: History) -> Final:
    small = may_mount()
    skipped = {} if small else {"disk-full": "needs root, to mount a small disk"}
    with own_fleet(mark, lease_ttl=DEFAULT_LEASE_TTL_S, small=small) as fleet:

        def faults(client: Client) -> list[Nemesis]:
            return catalog.embedded(fleet, client, small_disk=small)

        return Final(skipped=skipped) + await _staged("embedded", fleet, order, history, faults)


async def _shared(mark: str, order: Order, history: History) -> Final:
    async with redis_behind_link() as redis:
        with own_fleet(mark, redis.url) as fleet:

            def faults(client: Client) -> list[Nemesis]:
                return catalog.shared(fleet, client, redis)

            final = await _staged("shared", fleet, order, history, faults)
            return final + await aftermath(f"{mark}-beside")


async def _rebuild(mark: str, order: Order, history: History) -> Final:
    with own_fleet(mark) as fleet:
        return await _staged("rebuild", fleet, order, history, lambda _: catalog.ending(fleet))


async def _staged(
    stage: str,
    fleet: Fleet,
    order: Order,
    history: History,
    faults: Callable[[Client], list[Nemesis]],
) -> Final:
    """Bring *fleet* up, run a stage in it, take it down; return what is left."""
    plan = order.plan(stage)
    async with at_work(fleet.mark, plan.businesses) as workers:
        async with Client(fleet, history) as client:
            chosen = order.chosen(faults(client))
            final = await Stage(client, workers, plan, reconnects=stage == "rebuild").run(chosen)
        return final + await aftermath(fleet.mark)


async def _partition(mark: str, order: Order, history: History) -> Final:
    return await partition(mark, history) if not order.kinds else Final()


async def _paused(mark: str, order: Order, history: History) -> Final:
    here = order.paused // 2
    final = await paused(mark, here, PAUSED_AT_ONCE, history)
    there = order.paused - here
    return final + await paused(f"{mark}-two", there, PAUSED_AT_ONCE, history, elsewhere=True)


STAGES: Mapping[str, Callable[[str, Order, History], Awaitable[Final]]] = {
    "acks": _acks,
    "embedded": _embedded,
    "shared": _shared,
    "rebuild": _rebuild,
    "partition": _partition,
    "paused": _paused,
}
PAUSED_AT_ONCE = 5
DEFAULT_LEASE_TTL_S = 15.0
SHARES = {"embedded": 0.5, "shared": 0.5}
"""How the time is divided. What ends a fleet happens once each: its recovery takes Ray a minute."""

"""Worlds that obey plans and the table of phases, and otherwise do what they like."""

import random
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raypool.crashes import backoff
from raypool.phase import TRANSITIONS, Phase, transition
from raypool.planner import Action, Forget, Hibernate, Plan, Start, Stop, Want, plan
from raypool.room import OCCUPIED, NodeRoom, Room, Seen

NOW = 1000.0
IDLE_AFTER = 60.0
NAMES = "abcdefgh"
NEVER_RESTS = frozenset("abcd")
SLOTS = 3


@dataclass
class _Instance:
    phase: Phase = Phase.ABSENT
    node_id: str = ""
    retry_at: float = 0.0
    failures: int = 0
    last_use: float = 0.0


@dataclass
class _World:
    """Two nodes with a few places, businesses that somebody wants, callers that wait and go."""

    dice: random.Random
    limit: int
    now: float = NOW
    wanted: dict[str, Want] = field(default_factory=dict)
    instances: dict[str, _Instance] = field(default_factory=dict)
    draining: str = ""

    @property
    def room(self) -> Room:
        """What the nodes offer now."""
        return Room(tuple(NodeRoom(n, SLOTS, draining=n == self.draining) for n in ("n1", "n2")))

    def living(self, *node_ids: str) -> int:
        """Return how many places of these nodes are taken."""
        return sum(i.phase in OCCUPIED and i.node_id in node_ids for i in self.instances.values())

    def go(self, name: str, phase: Phase) -> None:
        """Move by the table; an illegal move raises InternalError and fails the test."""
        instance = self.instances[name]
        instance.phase = transition(instance.phase, phase)
        if phase is Phase.BACKOFF:
            instance.failures += 1
            instance.retry_at = self.now + backoff(instance.failures, self.dice.random())
        if phase is Phase.READY:
            instance.failures, instance.last_use = 0, self.now
            instance.node_id = instance.node_id or self._free_node()

    def _free_node(self) -> str:
        stays = [n for n in ("n1", "n2") if n != self.draining and self.living(n) < SLOTS]
        return stays[0] if stays else self.draining or "n1"

    def step(self, *, quiet: bool) -> Plan:
        """Plan, apply, let time pass until the next look."""
        seen = [
            Seen(
                name, i.phase, i.retry_at, i.node_id, self.now - i.last_use,
                0.0 if name in NEVER_RESTS else IDLE_AFTER,
            )
            for name, i in self.instances.items()
        ]  # fmt: skip
        decided = plan(
            self.wanted.values(), seen, now=self.now, max_starting=self.limit, room=self.room
        )
        for action in decided.actions:
            self._apply(action, quiet=quiet)
        self._happen(quiet=quiet)
        self.now += max(decided.requeue_after or 0.0, 1e-3)
        return decided

    def _apply(self, action: Action, *, quiet: bool) -> None:
        match action:
            case Start(name):
                self.instances.setdefault(name, _Instance()).node_id = ""
                self.go(name, Phase.STARTING)
            case Stop(name):
                self.go(name, Phase.STOPPING)
            case Hibernate(name) if not quiet and self.dice.random() < 0.2:
                # Somebody used it in that moment: it declines.
                self.instances[name].last_use = self.now
            case Hibernate(name):
                self.go(name, Phase.STOPPING)
                self.go(name, Phase.HIBERNATED)
                del self.wanted[name]
            case Forget(name):
                assert self.instances.pop(name).phase not in OCCUPIED

    def _happen(self, *, quiet: bool) -> None:
        settle = {
            Phase.STARTING: Phase.READY, Phase.RECOVERING: Phase.READY,
            Phase.STOPPING: Phase.ABSENT,
            Phase.UNKNOWN: self.dice.choice([Phase.READY, Phase.ABSENT]),
        }  # fmt: skip
        for name, instance in self.instances.items():
            if quiet and instance.phase in settle:
                self.go(name, settle[instance.phase])
            elif not quiet and instance.phase in OCCUPIED and self.dice.random() < 0.7:
                ordered = {Phase.STOPPING, Phase.HIBERNATED, Phase.QUARANTINED}
                moves = sorted(TRANSITIONS[instance.phase] - ordered)
                self.go(name, self.dice.choice(moves))
            if instance.phase is Phase.READY and name in self.wanted:
                self._serve(name)

    def _serve(self, name: str) -> None:
        """Whoever waited has been served and goes."""
        if self.wanted[name].awaited:
            self.instances[name].last_use = self.now
            self.wanted[name] = Want(name, f"session-{name}", self.now)

    def change_wishes(self) -> None:
        """Somebody asks for a business, waits for it, or asks for it no more; a node is drained."""
        name = self.dice.choice(NAMES)
        if self.wanted.pop(name, None) is None:
            awaited = self.dice.random() < 0.5
            self.wanted[name] = Want(name, f"session-{name}", self.now, awaited)
        if not self.draining and self.dice.random() < 0.05:
            self.draining = self.dice.choice(["n1", "n2"])

    def at_rest(self, decided: Plan) -> bool:
        """Tell whether nothing will change by itself any more."""
        waits_only_for_a_place = bool(decided.no_room) and all(
            i.phase is Phase.READY and n in NEVER_RESTS
            for n, i in self.instances.items()
            if n not in decided.no_room
        )
        return not decided.actions and (decided.requeue_after is None or waits_only_for_a_place)


@given(st.integers(0, 40), st.integers(1, 4), st.randoms(use_true_random=False))
def test_every_world_comes_to_rest_as_wanted(chaos: int, limit: int, dice: random.Random) -> None:
    """Once crashes end, all callers are served, and what runs is wanted and fits on the nodes."""
    world = _World(dice, limit)
    for _ in range(chaos):
        world.change_wishes()
        world.step(quiet=False)
    for _ in range(400):
        if world.at_rest(world.step(quiet=True)):
            break
    else:
        pytest.fail(f"no rest: {world}")
    slots = world.room.slots or 0
    ready = {name for name, i in world.instances.items() if i.phase is Phase.READY}
    assert not [want for want in world.wanted.values() if want.awaited]
    assert ready <= set(world.wanted)
    assert len(ready) == min(len(world.wanted), slots)
    assert world.living(world.draining) == 0
    assert all(world.living(node.node_id) <= SLOTS for node in world.room.nodes)


@given(st.integers(0, 2**32))
def test_failing_starts_are_slowed_down(seed: int) -> None:
    """A business whose starts all fail is tried ever more rarely, not in a tight loop."""
    world = _World(random.Random(seed), limit=4, wanted={"a": Want("a", "s")})
    starts = 0
    while world.now < NOW + 3600:
        world.step(quiet=True)
        if world.instances["a"].phase is Phase.READY:
            starts += 1
            world.instances["a"].failures = starts - 1
            world.go("a", Phase.BACKOFF)
    assert starts <= 60  # eight waits that double, then 150 s on average; dice may be kind


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_backoff_is_bounded_whatever_fails(failures: int, chance: float) -> None:
    """Between nothing and five minutes, however long the row of failures."""
    assert 0 <= backoff(failures, chance) < 300


@given(
    st.integers(1, 10_000),
    st.floats(0, 1, exclude_max=True),
    st.floats(0.001, 100),
    st.floats(0.001, 1000),
)
def test_backoff_only_grows(failures: int, chance: float, base: float, most: float) -> None:
    """With the same dice, one failure more never waits less, and never more than *most*."""
    now = backoff(failures, chance, base=base, most=most)
    assert now <= backoff(failures + 1, chance, base=base, most=most) <= most

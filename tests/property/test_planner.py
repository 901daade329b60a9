"""What holds for every picture that the planner may be shown, and for every world it works in."""

import random
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raypool.phase import TRANSITIONS, Phase, transition
from raypool.planner import Forget, Seen, Start, Stop, Want, backoff, plan

NOW = 1000.0
OCCUPIED = set(Phase) - {Phase.ABSENT, Phase.BACKOFF}

businesses = st.sampled_from("abcdefgh")
wants = st.lists(
    st.builds(Want, businesses, st.sampled_from(["s1", "s2"]), st.sampled_from([0.0, 1.0, 2.0])),
    max_size=10,
)
seens = st.lists(
    st.builds(Seen, businesses, st.sampled_from(Phase), st.floats(NOW - 400, NOW + 400)),
    max_size=8,
    unique_by=lambda entry: entry.business_id,
)
limits = st.integers(0, 6)
startable = st.lists(
    st.builds(Seen, businesses, st.sampled_from([Phase.ABSENT, Phase.BACKOFF, Phase.STARTING])),
    max_size=8,
    unique_by=lambda entry: entry.business_id,
)


@given(wants, seens, limits)
def test_no_business_gets_a_second_actor(wanted: list[Want], seen: list[Seen], limit: int) -> None:
    """A start is only for what is wanted, due, and surely has no actor, and only one a business."""
    phases = {entry.business_id: entry for entry in seen}
    starts = [
        a for a in plan(wanted, seen, now=NOW, max_starting=limit).actions if type(a) is Start
    ]
    assert len({start.business_id for start in starts}) == len(starts)
    for start in starts:
        assert any(
            (w.business_id, w.session_id) == (start.business_id, start.session_id) for w in wanted
        )
        entry = phases.get(start.business_id, Seen(start.business_id, Phase.ABSENT))
        assert entry.phase not in OCCUPIED
        assert entry.phase is Phase.ABSENT or entry.retry_at <= NOW


@given(wants, startable, limits)
def test_starts_in_flight_are_bounded(wanted: list[Want], seen: list[Seen], limit: int) -> None:
    """With those already under way there are never more than allowed; room is used when needed."""
    starts = [
        a for a in plan(wanted, seen, now=NOW, max_starting=limit).actions if type(a) is Start
    ]
    under_way = sum(entry.phase is Phase.STARTING for entry in seen)
    assert len(starts) + under_way <= max(limit, under_way)
    everything = [
        a for a in plan(wanted, seen, now=NOW, max_starting=99).actions if type(a) is Start
    ]
    assert len(starts) == min(len(everything), max(0, limit - under_way))


@given(wants, seens, limits)
def test_the_newest_wish_is_served_first(wanted: list[Want], seen: list[Seen], limit: int) -> None:
    """Whoever is left out asked no later than anybody who is started."""
    asked = {
        b: max(w.since for w in wanted if w.business_id == b)
        for b in {w.business_id for w in wanted}
    }
    due = [
        a.business_id
        for a in plan(wanted, seen, now=NOW, max_starting=99).actions
        if type(a) is Start
    ]
    some = [
        a.business_id
        for a in plan(wanted, seen, now=NOW, max_starting=limit).actions
        if type(a) is Start
    ]
    left_out = [asked[b] for b in due if b not in some]
    assert max(left_out, default=0) <= min((asked[b] for b in some), default=9)


@given(wants, seens, limits)
def test_what_is_wanted_is_never_stopped(wanted: list[Want], seen: list[Seen], limit: int) -> None:
    """Whatever its phase: only what nobody wants is stopped or forgotten."""
    names = {want.business_id for want in wanted}
    for action in plan(wanted, seen, now=NOW, max_starting=limit).actions:
        assert (action.business_id in names) == (type(action) is Start)


@given(wants, seens, limits)
def test_a_ready_instance_that_is_wanted_is_left_in_peace(
    wanted: list[Want], seen: list[Seen], limit: int
) -> None:
    """No action of any kind touches it."""
    names = {want.business_id for want in wanted}
    ready = {e.business_id for e in seen if e.phase is Phase.READY} & names
    actions = plan(wanted, seen, now=NOW, max_starting=limit).actions
    assert not ready & {action.business_id for action in actions}


@given(wants, seens)
def test_nothing_unwanted_is_overlooked(wanted: list[Want], seen: list[Seen]) -> None:
    """What may live is stopped, what is stopping goes on, what is gone is forgotten."""
    names = {want.business_id for want in wanted}
    actions = {a.business_id: type(a) for a in plan(wanted, seen, now=NOW).actions}
    for entry in seen:
        if entry.business_id in names:
            continue
        if entry.phase is Phase.STOPPING:
            assert entry.business_id not in actions
        else:
            assert actions[entry.business_id] is (Stop if entry.phase in OCCUPIED else Forget)


@given(wants, seens, limits, st.randoms(use_true_random=False))
def test_the_order_of_the_picture_does_not_matter(
    wanted: list[Want], seen: list[Seen], limit: int, dice: random.Random
) -> None:
    """Records and actors come in any order; the plan is the same."""
    first = plan(wanted, seen, now=NOW, max_starting=limit)
    dice.shuffle(wanted)
    dice.shuffle(seen)
    assert plan(wanted, seen, now=NOW, max_starting=limit) == first


@given(wants)
def test_a_settled_world_is_left_alone(wanted: list[Want]) -> None:
    """Everything wanted is ready and nothing else is there: nothing to do, nothing to wait for."""
    seen = [Seen(business_id, Phase.READY) for business_id in {w.business_id for w in wanted}]
    decided = plan(wanted, seen, now=NOW)
    assert decided.actions == ()
    assert decided.requeue_after is None


@given(wants, seens, limits)
def test_an_unsettled_world_is_looked_at_again(
    wanted: list[Want], seen: list[Seen], limit: int
) -> None:
    """Unless all is well there is something to do now or a time, soon, for the next look."""
    names = {want.business_id for want in wanted}
    settled = {e.business_id for e in seen} == names and all(e.phase is Phase.READY for e in seen)
    decided = plan(wanted, seen, now=NOW, max_starting=limit)
    if not settled:
        assert decided.actions or decided.requeue_after
    if decided.requeue_after is not None:
        assert 0 < decided.requeue_after <= 400


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_backoff_is_bounded_whatever_fails(failures: int, chance: float) -> None:
    """Between half a second and five minutes, however long the row of failures."""
    assert 0.5 <= backoff(failures, chance) <= 300


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
    assert now >= min(base, most) / 2


# -- a world -----------------------------------------------------------------------------------


@dataclass
class _Instance:
    phase: Phase = Phase.ABSENT
    retry_at: float = 0.0
    failures: int = 0


@dataclass
class _World:
    """Instances that obey plans and the table of phases, and otherwise do what they like."""

    dice: random.Random
    limit: int
    now: float = NOW
    wanted: dict[str, Want] = field(default_factory=dict)
    instances: dict[str, _Instance] = field(default_factory=dict)

    def go(self, name: str, phase: Phase) -> None:
        """Move by the table; an illegal move raises InternalError and fails the test."""
        instance = self.instances[name]
        instance.phase = transition(instance.phase, phase)
        if phase is Phase.BACKOFF:
            instance.failures += 1
            instance.retry_at = self.now + backoff(instance.failures, self.dice.random())
        if phase is Phase.READY:
            instance.failures = 0

    def step(self, *, quiet: bool) -> bool:
        """Plan, apply, let time pass until the next look; tell whether the plan was empty."""
        seen = [Seen(name, i.phase, i.retry_at) for name, i in self.instances.items()]
        decided = plan(self.wanted.values(), seen, now=self.now, max_starting=self.limit)
        for action in decided.actions:
            match action:
                case Start(name):
                    self.instances.setdefault(name, _Instance())
                    self.go(name, Phase.STARTING)
                case Stop(name):
                    self.go(name, Phase.STOPPING)
                case Forget(name):
                    assert self.instances.pop(name).phase in {Phase.ABSENT, Phase.BACKOFF}
        self._happen(quiet=quiet)
        self.now += decided.requeue_after or 0.0
        return not decided.actions and decided.requeue_after is None

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
                moves = sorted(TRANSITIONS[instance.phase] - {Phase.STOPPING})
                self.go(name, self.dice.choice(moves))

    def change_wishes(self) -> None:
        """Somebody asks for a business, or asks for it no more."""
        name = self.dice.choice("abcdefgh")
        if self.wanted.pop(name, None) is None:
            self.wanted[name] = Want(name, f"session-{name}", self.now)


@given(st.integers(0, 40), st.integers(1, 4), st.randoms(use_true_random=False))
def test_every_world_comes_to_rest_as_wanted(chaos: int, limit: int, dice: random.Random) -> None:
    """Once crashes end, exactly what is wanted runs, after a bounded number of looks."""
    world = _World(dice, limit)
    for _ in range(chaos):
        world.change_wishes()
        world.step(quiet=False)
    for _ in range(40):
        if world.step(quiet=True):
            break
    else:
        pytest.fail(f"no rest: {world}")
    ready = {name for name, i in world.instances.items() if i.phase is Phase.READY}
    assert ready == set(world.instances) == set(world.wanted)


@given(st.randoms(use_true_random=False))
def test_a_crash_loop_is_slowed_down(dice: random.Random) -> None:
    """A business whose starts all fail is tried ever more rarely, not in a tight loop."""
    world = _World(dice, limit=4, wanted={"a": Want("a", "s")})
    starts = 0
    while world.now < NOW + 3600:
        world.step(quiet=True)
        if world.instances["a"].phase is Phase.READY:
            starts += 1
            world.instances["a"].failures = starts - 1
            world.go("a", Phase.BACKOFF)
    assert starts <= 9 + 3600 / 150

"""What holds for every picture that the planner may be shown."""

import random

from hypothesis import given
from hypothesis import strategies as st

from raypool.phase import Phase
from raypool.planner import Action, Forget, Hibernate, Start, Stop, Want, plan
from raypool.room import GIVE_WAY_AFTER_S, MOVABLE, OCCUPIED, NodeRoom, Room, Seen

NOW = 1000.0

businesses = st.sampled_from("abcdefgh")
wants = st.lists(
    st.builds(
        Want,
        businesses,
        st.sampled_from(["s1", "s2"]),
        st.sampled_from([0.0, 1.0, 2.0]),
        st.booleans(),
    ),
    max_size=10,
)
seens = st.lists(
    st.builds(
        Seen,
        businesses,
        st.sampled_from(Phase),
        retry_at=st.floats(NOW - 400, NOW + 400),
        node_id=st.sampled_from(["", "n1", "n2", "n3"]),
        idle_for=st.sampled_from([0.0, 1.0, 5.0, 50.0, 500.0]),
        idle_after=st.sampled_from([0.0, 60.0]),
        resting=st.booleans(),
    ),
    max_size=8,
    unique_by=lambda entry: entry.business_id,
)
rooms = st.builds(
    lambda nodes: Room(tuple(nodes)),
    st.lists(
        st.builds(
            NodeRoom, st.sampled_from(["n1", "n2", "n3"]), st.integers(0, 4), st.booleans(),
            st.booleans(),
        ),
        max_size=3,
        unique_by=lambda node: node.node_id,
    ),
)  # fmt: skip
limits = st.integers(0, 6)
startable = st.lists(
    st.builds(Seen, businesses, st.sampled_from([Phase.ABSENT, Phase.BACKOFF, Phase.STARTING])),
    max_size=8,
    unique_by=lambda entry: entry.business_id,
)


def _actions(
    kind: type[Action], wanted: list[Want], seen: list[Seen], limit: int, room: Room
) -> list[Action]:
    decided = plan(wanted, seen, now=NOW, max_starting=limit, room=room)
    return [action for action in decided.actions if type(action) is kind]


def _newest(wanted: list[Want]) -> dict[str, Want]:
    return {w.business_id: w for w in sorted(wanted, key=lambda w: (w.since, w.session_id))}


@given(wants, seens, limits, rooms)
def test_no_business_gets_a_second_actor(
    wanted: list[Want], seen: list[Seen], limit: int, room: Room
) -> None:
    """A start is only for what is wanted, due, and surely has no actor, and only one a business."""
    entries = {entry.business_id: entry for entry in seen}
    starts = _actions(Start, wanted, seen, limit, room)
    assert len({start.business_id for start in starts}) == len(starts)
    for start in starts:
        entry = entries.get(start.business_id, Seen(start.business_id, Phase.ABSENT))
        assert Start(start.business_id, _newest(wanted)[start.business_id].session_id) == start
        assert entry.phase not in {*OCCUPIED, Phase.QUARANTINED}
        assert entry.phase is not Phase.BACKOFF or entry.retry_at <= NOW


@given(wants, startable, limits)
def test_starts_in_flight_are_bounded(wanted: list[Want], seen: list[Seen], limit: int) -> None:
    """With those already under way there are never more than allowed; room is used when needed."""
    starts = _actions(Start, wanted, seen, limit, Room())
    under_way = sum(entry.phase is Phase.STARTING for entry in seen)
    assert len(starts) + under_way <= max(limit, under_way)
    everything = _actions(Start, wanted, seen, 99, Room())
    assert len(starts) == min(len(everything), max(0, limit - under_way))


@given(wants, seens, rooms)
def test_nothing_is_started_without_a_place(
    wanted: list[Want], seen: list[Seen], room: Room
) -> None:
    """What lives and what is started fit on the nodes that stay; who does not fit is named."""
    decided = plan(wanted, seen, now=NOW, max_starting=99, room=room)
    starts = [action for action in decided.actions if type(action) is Start]
    taken = sum(e.phase in OCCUPIED and not room.is_draining(e.node_id) for e in seen)
    everything = _actions(Start, wanted, seen, 99, Room())
    if room.slots is None:
        assert (starts, decided.no_room) == (everything, ())
        return
    assert len(starts) == min(len(everything), max(0, room.slots - taken))
    assert {*decided.no_room, *(s.business_id for s in starts)} == {
        s.business_id for s in everything
    }


@given(wants, seens, limits)
def test_who_waits_comes_first_then_the_newest_wish(
    wanted: list[Want], seen: list[Seen], limit: int
) -> None:
    """Nobody who is left out was more pressing than anybody who is started."""
    asked = {b: (want.awaited, want.since) for b, want in _newest(wanted).items()}
    due = [a.business_id for a in _actions(Start, wanted, seen, 99, Room())]
    some = [a.business_id for a in _actions(Start, wanted, seen, limit, Room())]
    left_out = [asked[b] for b in due if b not in some]
    if left_out and some:
        assert max(left_out) <= min(asked[b] for b in some)


@given(wants, seens, limits, rooms)
def test_what_is_wanted_is_stopped_only_where_its_node_is_emptied(
    wanted: list[Want], seen: list[Seen], limit: int, room: Room
) -> None:
    """There everything that can be moved goes, wanted or not; anywhere else nothing wanted does."""
    stops = {
        a.business_id for kind in (Stop, Forget) for a in _actions(kind, wanted, seen, limit, room)
    }
    for entry in seen:
        if entry.business_id in _newest(wanted):
            leaves = room.is_draining(entry.node_id) and entry.phase in MOVABLE
            assert (entry.business_id in stops) == leaves


@given(wants, seens, limits, rooms)
def test_only_what_nobody_uses_or_awaits_rests(
    wanted: list[Want], seen: list[Seen], limit: int, room: Room
) -> None:
    """It is ready, idle, wanted, not awaited, not told before, and told only once."""
    entries = {entry.business_id: entry for entry in seen}
    rests = _actions(Hibernate, wanted, seen, limit, room)
    assert len({rest.business_id for rest in rests}) == len(rests)
    for rest in rests:
        entry = entries[rest.business_id]
        assert not _newest(wanted)[rest.business_id].awaited
        assert entry.phase is Phase.READY
        assert not entry.resting
        assert entry.idle_for >= GIVE_WAY_AFTER_S
        assert isinstance(rest, Hibernate)
        assert 0 < rest.idle_for <= entry.idle_for


@given(wants, seens, limits, rooms)
def test_nothing_gives_way_where_nobody_waits(
    wanted: list[Want], seen: list[Seen], limit: int, room: Room
) -> None:
    """A place is taken from one business only for another that somebody waits for."""
    unawaited = [Want(w.business_id, w.session_id, w.since) for w in wanted]
    rests = _actions(Hibernate, unawaited, seen, limit, room)
    assert "its place is needed" not in {rest.reason for rest in rests}  # type: ignore[union-attr]


@given(wants, seens, limits, rooms)
def test_as_many_give_way_as_are_needed_and_those_idle_longest(
    wanted: list[Want], seen: list[Seen], limit: int, room: Room
) -> None:
    """With what leaves anyway there is then a place for each that is awaited, or nobody idle."""
    wishes = _newest(wanted)
    decided = plan(wanted, seen, now=NOW, max_starting=limit, room=room)
    rests = {a.business_id: a for a in decided.actions if isinstance(a, Hibernate)}
    here = [e for e in seen if not room.is_draining(e.node_id)]
    goes = [
        e for e in here
        if e.phase in OCCUPIED
        and (e.business_id not in wishes or e.phase is Phase.STOPPING or e.resting)
    ]  # fmt: skip
    stays = sum(e.phase in OCCUPIED for e in here) - len(goes)
    due = [a.business_id for a in _actions(Start, wanted, seen, 99, Room())]
    awaited = sum(wishes[b].awaited for b in due)
    forced = [b for b, rest in rests.items() if rest.reason == "its place is needed"]
    if room.slots is not None and awaited:
        able = [
            e for e in here
            if e.business_id in wishes and not wishes[e.business_id].awaited and e not in goes
            and e.phase is Phase.READY and e.idle_for >= GIVE_WAY_AFTER_S
        ]  # fmt: skip
        others = len(rests) - len(forced)
        missing = max(0, awaited + stays - room.slots - others)
        assert len(forced) == min(missing, len(able) - others)
        kept = [e.idle_for for e in able if e.business_id not in rests]
        assert max(kept, default=0.0) <= min((rests[b].idle_for for b in forced), default=1e9)
    else:
        assert not forced


@given(wants, seens, limits, rooms)
def test_short_memory_costs_one_a_node(
    wanted: list[Want], seen: list[Seen], limit: int, room: Room
) -> None:
    """At most one on each node that is short, and none on others."""
    nodes = {entry.business_id: entry.node_id for entry in seen}
    rests = _actions(Hibernate, wanted, seen, limit, room)
    relieved = [
        nodes[a.business_id]
        for a in rests
        if isinstance(a, Hibernate) and a.reason == "memory is short"
    ]
    assert len(set(relieved)) == len(relieved)
    assert set(relieved) <= {node.node_id for node in room.nodes if node.short}


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


@given(wants, seens, limits, rooms, st.randoms(use_true_random=False))
def test_the_order_of_the_picture_does_not_matter(
    wanted: list[Want], seen: list[Seen], limit: int, room: Room, dice: random.Random
) -> None:
    """Records and actors come in any order; the plan is the same."""
    # Of two wishes that differ in nothing but who waits, either may be taken.
    wanted = list({(w.business_id, w.session_id, w.since): w for w in wanted}.values())
    first = plan(wanted, seen, now=NOW, max_starting=limit, room=room)
    dice.shuffle(wanted)
    dice.shuffle(seen)
    assert plan(wanted, seen, now=NOW, max_starting=limit, room=room) == first


@given(wants)
def test_a_settled_world_is_left_alone(wanted: list[Want]) -> None:
    """Everything wanted is ready and nothing else is there: nothing to do, nothing to wait for."""
    seen = [Seen(business_id, Phase.READY) for business_id in {w.business_id for w in wanted}]
    decided = plan(wanted, seen, now=NOW)
    assert decided.actions == ()
    assert decided.requeue_after is None


@given(wants, seens, limits, rooms)
def test_an_unsettled_world_is_looked_at_again(
    wanted: list[Want], seen: list[Seen], limit: int, room: Room
) -> None:
    """Unless all is well there is something to do now or a time, soon, for the next look."""
    names = {want.business_id for want in wanted}
    rest = {Phase.READY, Phase.QUARANTINED}
    settled = {e.business_id for e in seen} == names and all(e.phase in rest for e in seen)
    decided = plan(wanted, seen, now=NOW, max_starting=limit, room=room)
    if not settled:
        assert decided.actions or decided.requeue_after
    if decided.requeue_after is not None:
        assert 0 < decided.requeue_after <= 400

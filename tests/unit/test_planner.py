"""What the supervisor decides in the situations that people ask about."""

import pytest

from raypool.phase import Phase
from raypool.planner import Action, Forget, Hibernate, Plan, Start, Stop, Want, plan
from raypool.room import NodeRoom, Room, Seen

NOW = 100.0


def test_a_wanted_business_without_an_instance_is_started() -> None:
    """First wish, first start, for the session that the wish names."""
    assert plan([Want("b", "s")], [], now=NOW) == Plan((Start("b", "s"),), None)


def test_a_backoff_is_sat_out() -> None:
    """Not a moment before its time, at its time at once; the plan says when to look again."""
    seen = [Seen("b", Phase.BACKOFF, retry_at=NOW + 7)]
    assert plan([Want("b", "s")], seen, now=NOW) == Plan((), 7.0)
    assert plan([Want("b", "s")], seen, now=NOW + 7) == Plan((Start("b", "s"),), None)


def test_silence_is_not_death() -> None:
    """An instance that does not answer gets no second one beside it, only another look."""
    assert plan([Want("b", "s")], [Seen("b", Phase.UNKNOWN)], now=NOW) == Plan((), 1.0)


def test_what_is_set_aside_is_not_started() -> None:
    """Quarantine ends by a person's word, not by a wish; there is nothing to wait for."""
    seen = [Seen("b", Phase.QUARANTINED)]
    assert plan([Want("b", "s", awaited=True)], seen, now=NOW) == Plan((), None)


def test_a_wish_wakes_what_is_hibernated() -> None:
    """At once, like one that never ran."""
    seen = [Seen("b", Phase.HIBERNATED)]
    assert plan([Want("b", "s")], seen, now=NOW) == Plan((Start("b", "s"),), None)


def test_what_is_not_wanted_goes() -> None:
    """What may live is stopped, what is stopping is left in peace, the rest is forgotten."""
    seen = [
        Seen("a", Phase.READY), Seen("b", Phase.STOPPING), Seen("c", Phase.ABSENT),
        Seen("d", Phase.BACKOFF, retry_at=NOW + 300), Seen("e", Phase.UNKNOWN),
        Seen("f", Phase.STARTING), Seen("g", Phase.RECOVERING), Seen("h", Phase.HIBERNATED),
        Seen("i", Phase.QUARANTINED),
    ]  # fmt: skip
    assert plan([], seen, now=NOW).actions == (
        Stop("a"), Forget("c"), Forget("d"), Stop("e"), Stop("f"), Stop("g"), Forget("h"),
        Forget("i"),
    )  # fmt: skip


def test_a_wish_for_what_is_stopping_waits_for_the_end() -> None:
    """The new instance comes when the old one is gone, not before."""
    assert plan([Want("b", "s")], [Seen("b", Phase.STOPPING)], now=NOW) == Plan((), 1.0)
    gone = plan([Want("b", "s")], [Seen("b", Phase.ABSENT)], now=NOW)
    assert gone == Plan((Start("b", "s"),), None)


def test_starts_are_rationed_and_the_newest_wish_comes_first() -> None:
    """Who asked last is waiting now; the others are next, and the plan says to come back."""
    wanted = [Want("old", "1", 10), Want("new", "2", 30), Want("mid", "3", 20)]
    decided = plan(wanted, [Seen("x", Phase.STARTING)], now=NOW, max_starting=3)
    stop, *starts = decided.actions
    assert stop == Stop("x")
    assert starts == [Start("new", "2"), Start("mid", "3")]
    assert decided.requeue_after == 1.0


def test_whom_somebody_waits_for_comes_before_all_others() -> None:
    """Also before wishes that are newer."""
    wanted = [Want("newer", "1", 30), Want("awaited", "2", 10, awaited=True)]
    assert plan(wanted, [], now=NOW, max_starting=1).actions == (Start("awaited", "2"),)


def test_of_two_wishes_for_one_business_the_newest_counts() -> None:
    """In whatever order the records come."""
    wanted = [Want("b", "newer", 2), Want("b", "older", 1)]
    for order in (wanted, wanted[::-1]):
        assert plan(order, [], now=NOW).actions == (Start("b", "newer"),)


# -- idleness ------------------------------------------------------------------------------------


def test_an_idle_instance_rests_when_its_time_is_over() -> None:
    """Not before; until then the plan says when to look again."""
    wanted = [Want("b", "s")]
    early = [Seen("b", Phase.READY, idle_for=50, idle_after=60)]
    late = [Seen("b", Phase.READY, idle_for=60, idle_after=60)]
    assert plan(wanted, early, now=NOW) == Plan((), 10.0)
    assert plan(wanted, late, now=NOW) == Plan((Hibernate("b", "idle", 60),), None)


@pytest.mark.parametrize(
    "entry",
    [
        Seen("b", Phase.READY, idle_for=10_000),
        Seen("b", Phase.READY, idle_for=0, idle_after=60),
        Seen("b", Phase.READY, idle_for=10_000, idle_after=60, resting=True),
        Seen("b", Phase.RECOVERING, idle_for=10_000, idle_after=60),
        Seen("b", Phase.UNKNOWN, idle_for=10_000, idle_after=60),
    ],
)
def test_what_does_not_rest(entry: Seen) -> None:
    """One that shall never rest, a busy one, one that was told already, and one that is not well."""
    assert plan([Want("b", "s")], [entry], now=NOW).actions == ()


def test_an_idle_instance_that_somebody_waits_for_stays() -> None:
    """Its caller is about to use it."""
    seen = [Seen("b", Phase.READY, idle_for=100, idle_after=60)]
    assert plan([Want("b", "s", awaited=True)], seen, now=NOW) == Plan((), None)


# -- places --------------------------------------------------------------------------------------


def _ready(name: str, idle_for: float, node_id: str = "n1") -> Seen:
    return Seen(name, Phase.READY, node_id=node_id, idle_for=idle_for)


def _wants(*names: str, awaited: str = "") -> list[Want]:
    return [Want(name, f"session-{name}", awaited=name in awaited) for name in names]


FULL = [_ready("a", 10), _ready("b", 30), _ready("c", 20), _ready("d", 0)]
FOUR = Room((NodeRoom("n1", 4),))


def _rest(name: str, idle_for: float, reason: str = "its place is needed") -> Action:
    return Hibernate(name, reason, idle_for)


def test_nobody_gives_way_to_a_wish_that_nobody_awaits() -> None:
    """A full fleet stays as it is; who has no place is named."""
    decided = plan(_wants(*"abcdxy"), FULL, now=NOW, room=FOUR)
    assert decided == Plan((), 1.0, no_room=("x", "y"))


def test_those_idle_longest_give_way_to_those_awaited() -> None:
    """As many as are awaited and have no place, and no more."""
    one = plan(_wants(*"abcdxy", awaited="x"), FULL, now=NOW, room=FOUR)
    two = plan(_wants(*"abcdxy", awaited="xy"), FULL, now=NOW, room=FOUR)
    assert one == Plan((_rest("b", 30),), 1.0, no_room=("x", "y"))
    assert two == Plan((_rest("b", 30), _rest("c", 20)), 1.0, no_room=("x", "y"))


def test_one_that_is_in_use_gives_way_to_nobody() -> None:
    """Three are awaited and three are idle; the fourth waits, whoever awaits it."""
    decided = plan(_wants(*"abcdwxyz", awaited="wxyz"), FULL, now=NOW, room=FOUR)
    assert decided.actions == (_rest("a", 10), _rest("b", 30), _rest("c", 20))


@pytest.mark.parametrize(
    "leaving",
    [
        Seen("b", Phase.READY, node_id="n1", idle_for=30, resting=True),
        Seen("b", Phase.STOPPING, node_id="n1"),
        Seen("unwanted", Phase.READY, node_id="n1"),
    ],
)
def test_a_place_that_comes_free_is_not_asked_for_twice(leaving: Seen) -> None:
    """Who is leaving already is the one that gives way: the others stay."""
    seen = [leaving, *(entry for entry in FULL if entry.business_id != "b")]
    decided = plan(_wants(*"abcdx", awaited="x"), seen, now=NOW, room=FOUR)
    assert not [action for action in decided.actions if type(action) is Hibernate]


def test_one_that_rests_anyway_is_one_of_those_that_give_way() -> None:
    """Idle for long enough, it makes the place for the first; another one for the second."""
    seen = [Seen("b", Phase.READY, node_id="n1", idle_for=30, idle_after=30), *FULL[2:], FULL[0]]
    for awaited, actions in (
        ("x", (_rest("b", 30, "idle"),)),
        ("xy", (_rest("b", 30, "idle"), _rest("c", 20))),
    ):
        assert plan(_wants(*"abcdxy", awaited=awaited), seen, now=NOW, room=FOUR).actions == actions


def test_when_there_are_too_many_already_more_must_give_way() -> None:
    """A place for one that is awaited comes free only when the surplus is gone, too."""
    room = Room((NodeRoom("n1", 3),))
    decided = plan(_wants(*"abcdx", awaited="x"), FULL, now=NOW, room=room)
    assert decided.actions == (_rest("b", 30), _rest("c", 20))


def test_starts_fill_the_places_and_no_more() -> None:
    """One place is left: the awaited one has it, the other waits and is named."""
    decided = plan(_wants(*"abcxy", awaited="y"), FULL[:3], now=NOW, room=FOUR)
    assert decided == Plan((Start("y", "session-y"),), 1.0, no_room=("x",))


def test_where_places_are_not_counted_there_is_room_for_all() -> None:
    """A fleet whose nodes offer no places limits only how many start at once."""
    room = Room((NodeRoom("n1", 0), NodeRoom("n2", 0)))
    decided = plan(_wants(*"abcdxy", awaited="x"), FULL, now=NOW, room=room)
    assert decided == Plan((Start("x", "session-x"), Start("y", "session-y")), None)


def test_short_memory_costs_one_a_node() -> None:
    """The one idle longest on each such node; the next pass sees what that gave back."""
    room = Room((NodeRoom("n1", 4, short=True), NodeRoom("n2", 4), NodeRoom("n3", 4, short=True)))
    seen = [*FULL, _ready("e", 90, "n2"), _ready("f", 50, "n3"), _ready("g", 1, "n3")]
    decided = plan(_wants(*"abcdefg"), seen, now=NOW, room=room)
    assert decided.actions == (_rest("b", 30, "memory is short"), _rest("f", 50, "memory is short"))


@pytest.mark.parametrize(
    "leaving",
    [
        Seen("b", Phase.READY, node_id="n1", idle_for=30, resting=True),
        Seen("b", Phase.STOPPING, node_id="n1"),
    ],
)
def test_short_memory_costs_nobody_while_somebody_leaves(leaving: Seen) -> None:
    """What he gives back is not seen before he is gone."""
    seen = [leaving, *(entry for entry in FULL if entry.business_id != "b")]
    room = Room((NodeRoom("n1", 4, short=True),))
    assert plan(_wants(*"abcd"), seen, now=NOW, room=room).actions == ()


# -- draining ------------------------------------------------------------------------------------


def test_a_draining_node_is_emptied() -> None:
    """What lives there is stopped though it is wanted; then it comes up elsewhere."""
    room = Room((NodeRoom("n1", 4, draining=True), NodeRoom("n2", 4)))
    leaving = [_ready("a", 0), Seen("b", Phase.RECOVERING, node_id="n1")]
    stopping = [Seen("a", Phase.STOPPING, node_id="n1"), Seen("b", Phase.ABSENT, node_id="n1")]
    wanted = _wants("a", "b", awaited="ab")
    assert plan(wanted, leaving, now=NOW, room=room).actions == (Stop("a"), Stop("b"))
    assert plan(wanted, stopping, now=NOW, room=room).actions == (Start("b", "session-b"),)


def test_the_places_of_a_draining_node_do_not_count() -> None:
    """Neither as free, nor as taken by those that are leaving it."""
    room = Room((NodeRoom("n1", 4, draining=True), NodeRoom("n2", 1)))
    seen = [Seen("a", Phase.STOPPING, node_id="n1")]
    decided = plan(_wants("a", "x", "y"), seen, now=NOW, room=room)
    assert decided == Plan((Start("x", "session-x"),), 1.0, no_room=("y",))


def test_where_every_node_drains_nothing_is_started() -> None:
    """There is no place at all, though the nodes offer some."""
    room = Room((NodeRoom("n1", 4, draining=True),))
    assert plan(_wants("a"), [], now=NOW, room=room) == Plan((), 1.0, no_room=("a",))

"""A wish is dropped for a reason only; a record that is missing is none."""

from datetime import UTC, datetime, timedelta

import pytest

from actors.wishes import FEW, MISSING_GRACE_S, Wishes
from raypool.model import Desired, Session
from raypool.planner import Want

START = datetime(2030, 1, 1, tzinfo=UTC)
LONG = 10 * MISSING_GRACE_S


def _session(
    business_id: str, desired: Desired = Desired.RUNNING, cluster: str | None = None, age: float = 0
) -> Session:
    at = START - timedelta(seconds=age)
    return Session(
        id=f"session-{business_id}", business_id=business_id, desired=desired,
        assigned_cluster=cluster, created_at=at, updated_at=at, last_activity=at,
        expires_at=at + timedelta(days=1), ttl=86_400,
    )  # fmt: skip


def _wishes(*business_ids: str) -> Wishes:
    wishes = Wishes("here")
    wishes.unlisted(_session(b) for b in business_ids)
    return wishes


def _wanted(wishes: Wishes) -> set[str]:
    return {want.business_id for want in wishes.wants(())}


def test_a_wish_names_session_age_and_who_waits() -> None:
    """All that the planner needs to tell one wish from another."""
    wishes = _wishes("a", "b")
    wishes.read(_session("b", age=10))
    at = START.timestamp()
    assert list(wishes.wants(["b", "unknown"])) == [
        Want("a", "session-a", at), Want("b", "session-b", at - 10, awaited=True),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "said",
    [
        _session("a", Desired.STOPPED),
        _session("a", Desired.HIBERNATED),
        _session("a", cluster="elsewhere"),
    ],
)
def test_a_record_that_says_so_ends_a_wish(said: Session) -> None:
    """Stopped, hibernated, or handed over to another cluster."""
    wishes = _wishes("a", "b")
    wishes.read(said)
    assert _wanted(wishes) == {"b"}
    wishes.read(_session("a"))
    assert _wanted(wishes) == {"a", "b"}


def test_the_session_of_another_cluster_is_none_of_ours() -> None:
    """Ours are those that are assigned to us, and those that are assigned to nobody."""
    wishes = Wishes("here")
    wishes.unlisted([_session("ours", cluster="here"), _session("any"), _session("x", cluster="y")])
    assert _wanted(wishes) == {"ours", "any"}


def test_a_list_drops_nothing_by_itself() -> None:
    """Who is not in it is to be looked at singly: the index may be behind, or lost."""
    wishes = _wishes("a", "b", "c")
    assert wishes.unlisted([_session("a"), _session("d")]) == {"b", "c"}
    assert _wanted(wishes) == {"a", "b", "c", "d"}


def test_a_missing_record_keeps_its_wish_for_a_while() -> None:
    """Long enough for the live instance to write it again; then it was deleted on purpose."""
    wishes = _wishes(*"abcdefgh")
    wishes.not_found("a", "session-a", now=1.0)
    wishes.not_found("a", "session-a", now=50.0)  # the first time counts
    wishes.give_up(1.0 + MISSING_GRACE_S)
    assert "a" in wishes
    assert wishes.missing() == {"a"}
    wishes.give_up(1.1 + MISSING_GRACE_S)
    assert "a" not in wishes


def test_a_record_that_is_there_again_is_missing_no_more() -> None:
    """The count begins anew with the next time that it is missing."""
    wishes = _wishes("a")
    wishes.not_found("a", "session-a", now=1.0)
    wishes.read(_session("a"))
    assert wishes.missing() == set()
    wishes.give_up(1.0 + LONG)
    assert _wanted(wishes) == {"a"}


@pytest.mark.parametrize("many", [3, 30, 300])
def test_many_that_are_missing_at_once_are_never_dropped(many: int) -> None:
    """However long it lasts: the server lost them."""
    names = [f"b{number}" for number in range(many)]
    wishes = _wishes(*names)
    for name in names:
        wishes.not_found(name, f"session-{name}", now=1.0)
    wishes.give_up(1.0 + LONG)
    assert _wanted(wishes) == set(names)


@pytest.mark.parametrize(("missing", "kept"), [(20, 80), (21, 100)])
def test_a_fifth_is_few(missing: int, kept: int) -> None:
    """Of a hundred, twenty may have been deleted; one more looks like a loss."""
    names = [f"b{number}" for number in range(100)]
    wishes = _wishes(*names)
    for name in names[:missing]:
        wishes.not_found(name, f"session-{name}", now=1.0)
    wishes.give_up(1.0 + LONG)
    assert len(_wanted(wishes)) == kept


def test_a_small_fleet_may_delete_its_last_business() -> None:
    """One or two of one or two are few."""
    names = [f"b{number}" for number in range(FEW)]
    wishes = _wishes(*names)
    for name in names:
        wishes.not_found(name, f"session-{name}", now=1.0)
    wishes.give_up(1.0 + LONG)
    assert _wanted(wishes) == set()


def test_an_instance_without_any_record_is_wanted_all_the_same() -> None:
    """A new supervisor that adopted it and finds the store empty stops nothing."""
    wishes = Wishes("here")
    for name in "abc":
        wishes.not_found(name, f"session-{name}", now=1.0)
    wishes.give_up(1.0 + LONG)
    assert list(wishes.wants(())) == [Want(name, f"session-{name}") for name in "abc"]

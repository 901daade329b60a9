"""The storage of a browser as it is known, as parts."""

from raypool import state
from raypool.browser.mirror import Mirror
from raypool.state import Area, Buckets, Kind

KEY = "https://e.com/"
LOCAL = Area(Kind.LOCAL, KEY)
RECORDS = Area(Kind.RECORDS, KEY, "db", "s")
SHAPE = {"version": 1, "stores": [{"name": "s"}]}


def _parts() -> dict[str, bytes]:
    local, records = Buckets(LOCAL.name), Buckets(RECORDS.name)
    local.replace({f"n{i}": "x" * 9000 for i in range(40)})
    records.replace({"1": "one"})
    shape = {Area(Kind.DATABASE, KEY, "db").name: state.encode(SHAPE)}
    return {state.COOKIES: b"[]", **local.parts, **records.parts, **shape}


def test_it_gives_back_what_it_was_made_from() -> None:
    """The same parts, the same objects."""
    parts = _parts()
    found = Mirror(parts).parts
    assert found == parts
    assert all(found[name] is data for name, data in parts.items())


def test_a_change_costs_its_part() -> None:
    """All others stay the same objects: whoever saves need not look into them."""
    mirror = Mirror(_parts())
    before = mirror.parts
    mirror.update(LOCAL, {"n1": "other"})
    after = mirror.parts
    assert sum(after[name] is not data for name, data in before.items()) == 1
    assert mirror.items(LOCAL)["n1"] == "other"


def test_nothing_is_left_of_what_is_empty() -> None:
    """An area without items has no part; one of that name may come again."""
    mirror = Mirror(_parts())
    mirror.replace(LOCAL, {})
    assert not mirror.areas(Kind.LOCAL)
    assert not [name for name in mirror.parts if name.startswith("local:")]
    mirror.update(LOCAL, {"a": "1"})
    assert mirror.items(LOCAL) == {"a": "1"}


def test_a_store_that_is_gone_takes_its_records_along() -> None:
    """So does a database."""
    mirror = Mirror(_parts())
    mirror.set_shape(KEY, "db", {"version": 2, "stores": []})
    assert mirror.records(KEY, "db") == []
    assert mirror.databases(KEY) == {"db"}
    mirror.drop_database(KEY, "db")
    assert mirror.keys(Kind.DATABASE, Kind.RECORDS) == set()


def test_what_it_does_not_know_stays() -> None:
    """A part of the whole browser, of whatever version of this software."""
    assert Mirror({"later": b"1"}).parts == {"later": b"1"}

"""What the difference of two versions tells, for whatever they hold."""

import json

from hypothesis import given
from hypothesis import strategies as st

from raypool.state import Area, Buckets, Kind
from raypool.store.crypto import DataKey
from raypool.store.differences import compare, count_items
from raypool.store.manifests import PartRef, Refs

KEY = DataKey(b"k" * 32)
LOCAL = [Area(Kind.LOCAL, f"https://{site}.example/") for site in "ab"]
parts = [f"{area.name}#{n}/2" for area in LOCAL for n in (0, 1)]
names = st.sampled_from(parts) | st.text(min_size=1, max_size=6)
states = st.dictionaries(names, st.binary(max_size=4), max_size=8)
items = st.dictionaries(st.text(max_size=3), st.integers(0, 3), max_size=5)


def refs(parts: dict[str, bytes]) -> Refs:
    """Return how a version names these parts."""
    return {n: PartRef(len(p), (KEY.digest(n, p),)) for n, p in parts.items()}


def storages(parts: dict[str, bytes]) -> dict[str, dict[str, bytes]]:
    """Return the parts of each storage."""
    found: dict[str, dict[str, bytes]] = {}
    for name, part in parts.items():
        area = Area.of(name)
        found.setdefault(area.name if area else name, {})[name] = part
    return found


@given(states, states)
def test_every_storage_is_told_once(before: dict[str, bytes], after: dict[str, bytes]) -> None:
    """Added, removed, changed or not: nothing is left out, nothing told twice."""
    diff = compare(1, refs(before), 2, refs(after))
    assert (diff.before, diff.after) == (1, 2)
    old, new = storages(before), storages(after)
    named = [change.name for change in diff.changes]
    assert named == sorted({n for n in old | new if old.get(n) != new.get(n)})
    assert diff.unchanged == sum(old[n] == new[n] for n in old.keys() & new.keys())
    for change in diff.changes:
        was, now = old.get(change.name), new.get(change.name)
        sizes = tuple(None if of is None else sum(map(len, of.values())) for of in (was, now))
        assert (change.before, change.after) == sizes
        kinds = {(False, True): "added", (True, False): "removed", (True, True): "changed"}
        assert change.kind == kinds[was is not None, now is not None]


@given(states, states)
def test_seen_from_the_other_side_it_is_the_other_way_round(
    before: dict[str, bytes], after: dict[str, bytes]
) -> None:
    """What was added there is removed here; a version does not differ from itself."""
    one, two = refs(before), refs(after)
    there, back = compare(1, one, 2, two), compare(2, two, 1, one)
    assert [(c.name, c.before, c.after) for c in there.changes] == [
        (c.name, c.after, c.before) for c in back.changes
    ]
    assert compare(1, one, 1, one).changes == ()


@given(states, states)
def test_it_tells_no_content(before: dict[str, bytes], after: dict[str, bytes]) -> None:
    """Nor a digest, with which a guess could be checked."""
    text = compare(1, refs(before), 2, refs(after)).model_dump_json()
    for name, part in (before | after).items():
        assert KEY.digest(name, part) not in text


def spread(area: Area, of: dict[str, int], count: int) -> dict[str, bytes]:
    """Return the items of an area over so many parts as a browser would never spread so few."""
    empty = {f"{area.name}#{n}/{count}": b"{}" for n in range(count)}
    buckets = Buckets.load(area.name, {**empty, f"{area.name}#0/{count}": b'{"":0}'})
    buckets.update(of, set() if "" in of else {""})
    return buckets.parts


@given(items, items, st.sampled_from([1, 2]))
def test_items_are_counted(old: dict[str, int], new: dict[str, int], count: int) -> None:
    """What became of each; how they are spread over parts is no difference."""
    before, after = spread(LOCAL[0], old, 1), spread(LOCAL[0], new, count)
    diff = count_items(compare(1, refs(before), 2, refs(after)), before, after)
    if old == new:
        assert diff.changes == ()
        assert diff.unchanged == bool(old)
        return
    (change,) = diff.changes
    assert change.items is not None
    assert change.title == "localStorage of https://a.example"
    assert change.items.added == len(new.keys() - old.keys())
    assert change.items.removed == len(old.keys() - new.keys())
    assert change.items.changed == sum(old[n] != new[n] for n in old.keys() & new.keys())


def test_cookies_are_counted_and_tabs_are_not() -> None:
    """A cookie is known by name, domain, path and partition; what is no list of them is not counted."""
    one = {"name": "a", "domain": "e.com", "path": "/", "value": "1"}
    other = {**one, "path": "/deep"}
    before = {"cookies": json.dumps([one, other]).encode(), "tabs": b"{}"}
    after = {"cookies": json.dumps([{**one, "value": "2"}]).encode(), "tabs": b"[]"}
    cookies, tabs = count_items(compare(1, refs(before), 2, refs(after)), before, after).changes
    assert cookies.items is not None
    assert cookies.items.model_dump() == {"added": 0, "changed": 1, "removed": 1}
    assert tabs.items is None
    broken = {"cookies": b"7", "tabs": b"{}"}
    found = count_items(compare(1, refs(before), 2, refs(broken)), before, broken)
    assert [change.name for change in found.changes] == ["cookies"]

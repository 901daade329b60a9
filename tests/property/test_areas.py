"""What holds for every name of an area and every history of its items."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from raypool.state import Area, Buckets, Kind, by_area
from raypool.state.buckets import TARGET_BYTES
from tests.property.texts import of_javascript

# Text of JavaScript: any UTF-16, halves of surrogate pairs and NUL included.
text = st.text(st.characters(codec=None), max_size=12).map(of_javascript)
odd = st.text(st.sampled_from("#/:^%\ud800\udc00é 0"), max_size=6).map(of_javascript)
names = text | odd
areas = (
    st.builds(Area, st.sampled_from([Kind.LOCAL, Kind.FILES]), names)
    | st.builds(Area, st.just(Kind.DATABASE), names, names)
    | st.builds(Area, st.just(Kind.RECORDS), names, names, names)
)
values: Any = text | st.integers(1, 5).map(lambda n: "x" * TARGET_BYTES * n)
values |= st.dictionaries(text, st.integers(), max_size=3)
items = st.dictionaries(names, values, max_size=6)
histories = st.lists(
    st.tuples(st.just(True), items, st.just([]))
    | st.tuples(st.just(False), items, st.lists(names)),
    max_size=8,
)


def _part(area: Area, place: str) -> str:
    return area.name if area.kind is Kind.DATABASE else f"{area.name}#{place}"


@given(areas, st.integers(0, 1023))
def test_an_area_is_read_from_the_names_of_its_parts(area: Area, index: int) -> None:
    """Whatever a site calls its databases; a name is ASCII that can be printed."""
    part = _part(area, f"{index}/1024")
    assert Area.of(part) == area
    assert part.isascii()
    assert part.isprintable()


@given(areas, areas)
def test_areas_have_names_of_their_own(one: Area, other: Area) -> None:
    """Two never share a part."""
    assert (one.name == other.name) == (one == other)


@given(st.lists(areas, max_size=5), st.lists(text, max_size=3))
def test_parts_are_grouped_by_area(some: list[Area], others: list[str]) -> None:
    """Each part once; what belongs to no area is left out."""
    parts = {_part(area, f"{n}/2"): b"" for area in some for n in (0, 1)}
    grouped = by_area({**{f"x{other}": b"" for other in others}, **parts})
    assert grouped.keys() == set(some)
    assert {part for of in grouped.values() for part in of} == set(parts)


def _apply(buckets: Buckets, expected: dict[str, Any], step: tuple[bool, Any, Any]) -> None:
    """Do a step to both, and see whether the buckets tell what became of them."""
    before = dict(expected)
    whole, changed, removed = step
    if whole:
        expected.clear()
    else:
        for name in removed:
            expected.pop(name, None)
    expected.update(changed)
    told = buckets.replace(changed) if whole else buckets.update(changed, removed)
    assert told == (expected != before)


@given(histories)
def test_buckets_hold_what_a_dictionary_would(history: list[tuple[bool, Any, Any]]) -> None:
    """After any replacing and updating, and read again from their parts."""
    buckets = Buckets("local:k")
    expected: dict[str, Any] = {}
    for step in history:
        before = buckets.parts
        _apply(buckets, expected, step)
        parts = buckets.parts
        assert dict(buckets.items()) == expected
        assert all(parts[n] is before[n] for n in parts if before.get(n) == parts[n])
        assert buckets.size == sum(map(len, parts.values()))
        loaded = Buckets.load("local:k", parts)
        assert (loaded.parts, dict(loaded.items()), loaded.size) == (parts, expected, buckets.size)
        assert all(Area.of(name) == Area(Kind.LOCAL, "k") for name in parts)


@given(st.integers(1, 400), st.data())
def test_one_changed_item_costs_one_part(count: int, data: st.DataObject) -> None:
    """In an area of any size; the other parts are the very objects that they were."""
    buckets = Buckets("local:k")
    buckets.replace({f"n{n}": "v" * 1000 for n in range(count)})
    before = buckets.parts
    buckets.update({f"n{data.draw(st.integers(0, count - 1))}": "w" * 1000})
    assert sum(before[name] is not part for name, part in buckets.parts.items()) == 1
    assert max(map(len, before.values())) <= 8 * TARGET_BYTES


few = st.dictionaries(names, text, max_size=6)


@given(few, few)
def test_two_states_that_were_put_together_are_one_area(one: Any, other: Any) -> None:
    """Though they were spread in different ways: no item is lost."""
    large = {**other, "large": "x" * TARGET_BYTES * 5}
    buckets = Buckets("local:k"), Buckets("local:k")
    for made, held in zip(buckets, (one, large), strict=True):
        made.replace(held)
    found = dict(Buckets.load("local:k", {**buckets[0].parts, **buckets[1].parts}).items())
    assert found.keys() == {*one, *large}
    assert all(found[name] in {one.get(name), large.get(name)} for name in found)


@given(st.permutations(["z", "a", "10", "9"]))
def test_the_order_of_fields_is_the_sites(order: list[str]) -> None:
    """Shared objects are numbered in it; sorting fields would exchange them."""
    value = {name: {"v": n} for n, name in enumerate(order)}
    buckets = Buckets("records:k#d/s")
    buckets.replace({"1": value})
    (found,) = Buckets.load("records:k#d/s", buckets.parts).items()
    assert list(found[1]) == order

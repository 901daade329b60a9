"""What the difference of two versions tells, for whatever they hold."""

from hypothesis import given
from hypothesis import strategies as st

from raypool.store.crypto import DataKey
from raypool.store.differences import compare
from raypool.store.manifests import PartRef, Refs

KEY = DataKey(b"k" * 32)
states = st.dictionaries(st.text(min_size=1, max_size=6), st.binary(max_size=4), max_size=8)


def refs(parts: dict[str, bytes]) -> Refs:
    """Return how a version names these parts."""
    return {n: PartRef(len(p), (KEY.digest(n, p),)) for n, p in parts.items()}


@given(states, states)
def test_every_part_is_told_once(before: dict[str, bytes], after: dict[str, bytes]) -> None:
    """Added, removed, changed or not: nothing is left out, nothing told twice."""
    diff = compare(1, refs(before), 2, refs(after))
    assert (diff.before, diff.after) == (1, 2)
    named = [change.name for change in diff.changes]
    assert named == sorted({n for n in before | after if before.get(n) != after.get(n)})
    assert diff.unchanged == sum(before[n] == after[n] for n in before.keys() & after.keys())
    for change in diff.changes:
        old, new = before.get(change.name), after.get(change.name)
        sizes = tuple(None if part is None else len(part) for part in (old, new))
        assert (change.before, change.after) == sizes
        kinds = {(False, True): "added", (True, False): "removed", (True, True): "changed"}
        assert change.kind == kinds[old is not None, new is not None]


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

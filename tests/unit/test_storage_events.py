"""What events of storage come to, when they are looked at together."""

from hypothesis import given
from hypothesis import strategies as st

from raypool.browser.storage_reader import Changes

names = st.sampled_from(["a", "b", "c"])
sets = st.tuples(names, st.text(max_size=3)).map(lambda i: {"key": i[0], "newValue": i[1]})
events = st.one_of(sets, names.map(lambda name: {"key": name}), st.just({}))


@given(st.dictionaries(names, st.text(max_size=3)), st.lists(events, max_size=12))
def test_together_they_come_to_what_they_come_to_one_by_one(
    before: dict[str, str], told: list[dict[str, str]]
) -> None:
    """Whatever was set, removed and cleared, in any order."""
    expected, changes = dict(before), Changes()
    for event in told:
        changes.take(event)
        if "key" not in event:
            expected.clear()
        elif "newValue" in event:
            expected[event["key"]] = event["newValue"]
        else:
            expected.pop(event["key"], None)
    after = {} if changes.cleared else dict(before)
    for name in changes.gone:
        after.pop(name, None)
    assert after | changes.kept == expected


def test_text_that_an_event_cannot_carry_is_noticed() -> None:
    """Half a surrogate pair arrives as a replacement character: the storage is read then."""
    changes = Changes()
    changes.take({"key": "a", "newValue": "plain"})
    assert not changes.misleading
    changes.take({"key": "b", "newValue": "\N{REPLACEMENT CHARACTER}"})
    assert changes.misleading

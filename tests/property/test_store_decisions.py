"""What holds for whatever a person types into an audit, and for every order of losses."""

import unicodedata
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raypool.errors import ConfigurationError
from raypool.store.audit_log import LONGEST_NOTE, parse_note
from raypool.store.whereabouts import Whereabouts


@given(st.text(max_size=600))
def test_a_note_is_one_bounded_line_or_refused(text: str) -> None:
    """Nothing in it controls a terminal; parsing it again changes nothing; words stay."""
    try:
        note = parse_note(text, "reason")
    except ConfigurationError:
        return
    assert 0 < len(note) <= LONGEST_NOTE
    assert note == parse_note(note, "reason")
    assert all(c == " " or unicodedata.category(c)[0] not in "CZ" for c in note)
    assert note.encode()
    kept = [c for c in text if unicodedata.category(c)[0] not in "CZ"]
    assert [c for c in note if c != " "] == kept


@given(st.text(st.characters(categories=["L", "N"]), min_size=LONGEST_NOTE + 1, max_size=600))
def test_a_note_is_never_cut(text: str) -> None:
    """An audit does not hold half of what was said."""
    with pytest.raises(ConfigurationError, match="reason"):
        parse_note(text, "reason")


@dataclass
class Data:
    """Data that were opened."""

    first_identity: str = "0"


events = st.lists(st.sampled_from(["lose", "note a", "note b"]), max_size=12)


@given(events)
def test_missing_means_lost_only_since_it_was_last_there(history: list[str]) -> None:
    """A session is lost exactly when the data were lost after it was last known to be in them."""
    identity = "0"
    where = Whereabouts(Data())
    lost_since = {"a": False, "b": False}
    for number, event in enumerate(history, start=1):
        if event == "lose":
            identity = str(number)
            lost_since = dict.fromkeys(lost_since, True)
        elif event.startswith("note"):
            where.note(event[-1], identity)
            lost_since[event[-1]] = False
        assert {name: where.lost(name, identity) for name in lost_since} == lost_since

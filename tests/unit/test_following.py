"""What a follower tells: nothing is missed silently, however the stream was cut or lost."""

import pytest

from raypool.store import following
from raypool.store.following import EMPTY, START, Changes, Id, Inbox, Stream, missed, parse_id


def stream(first: int, last: int, *, trimmed: int = 0) -> Stream:
    """Return a stream with one entry a millisecond."""
    length = last - first + 1
    return Stream((first, 0), (last, 0), length, length + trimmed)


def at(ms: int) -> Id:
    return ms, 0


@pytest.mark.parametrize(
    ("found", "before", "seen"),
    [
        (stream(1, 9), at(4), at(9)),
        (stream(1, 9), at(9), at(9)),
        (stream(4, 9, trimmed=3), at(4), at(6)),
        (EMPTY, START, START),
        (stream(1, 3), START, at(3)),
        (Stream(START, at(9), 0, 9), at(9), at(9)),
    ],
)
def test_a_stream_that_goes_on_is_trusted(found: Stream, before: Id, seen: Id) -> None:
    """What was read last is still in it, or all that was trimmed had been read."""
    assert not missed(found, before, seen)


@pytest.mark.parametrize(
    ("found", "before", "seen"),
    [
        (EMPTY, at(4), at(4)),
        (stream(1, 3), at(4), at(4)),
        (stream(6, 9), at(4), at(9)),
        (stream(2, 3, trimmed=1), START, at(3)),
        (Stream(START, at(9), 0, 9), at(4), at(4)),
        (Stream(START, at(9), 0, 9), START, START),
    ],
    ids=[
        "gone",
        "tail lost",
        "cut or refilled",
        "cut before it was read",
        "emptied",
        "emptied at once",
    ],
)
def test_whatever_may_have_been_missed_is_told(found: Stream, before: Id, seen: Id) -> None:
    """Rather once too often."""
    assert missed(found, before, seen)


def test_ids_compare_as_numbers() -> None:
    """10-2 is after 9-11 and before 10-11."""
    assert parse_id(b"9-11") < parse_id(b"10-2") < parse_id(b"10-11")


async def test_a_follower_that_nobody_asks_stays_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Past a bound it forgets the names and says to read everything."""
    monkeypatch.setattr(following, "_MOST_WAITING", 3)
    inbox = Inbox([0])
    inbox.begin(0)
    assert await inbox.changes(0) == Changes(resync=True)
    for n in range(4):
        inbox.add(f"b{n}", "updated")
    inbox.add("last", "updated")
    assert await inbox.changes(0) == Changes(frozenset({"last"}), resync=True)
    assert await inbox.changes(0) == Changes()


async def test_streams_that_come_back_together_mean_one_resync() -> None:
    """The wait ends with the last of them, not with the first."""
    inbox = Inbox([0, 1])
    inbox.begin(0)
    assert not inbox._news.is_set()
    inbox.begin(1)
    assert await inbox.changes(60) == Changes(resync=True)


async def test_one_stream_that_stays_away_does_not_hide_the_others() -> None:
    """Changes come at once, a resync with the next answer."""
    inbox = Inbox([0, 1])
    assert await inbox.changes(0) == Changes(resync=True)
    inbox.begin(0)
    inbox.add("b", "created")
    assert await inbox.changes(60) == Changes(frozenset({"b"}), resync=True)

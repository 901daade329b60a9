"""What is done after a restore: which browsers come up, in which order, and what is known then."""

from datetime import UTC, datetime
from typing import Any

import pytest

from actors.fallback import settle
from raypool.errors import ErrorCodes, create_error
from raypool.model import Checkpoint, CheckpointInfo, SignIn

IN, OUT, HUMAN, UNKNOWN = SignIn.SIGNED_IN, SignIn.SIGNED_OUT, SignIn.NEEDS_HUMAN, SignIn.UNKNOWN
LAST_GOOD, NEWEST = 5, 7


def _version(number: int) -> Checkpoint:
    at = datetime(2030, 1, 1, tzinfo=UTC)
    return Checkpoint(CheckpointInfo(version=number, created_at=at, size=1, signed_in=None), {})


class Place:
    """Says of each version what it is told to, and writes down which browsers it had."""

    def __init__(self, seen: dict[int, SignIn]) -> None:
        self.sign_in, self._seen = seen[NEWEST], seen
        self.diary: list[str] = []

    async def bring_up(self, found: Checkpoint | None) -> None:
        assert found is not None
        self.diary.append(f"up {found.info.version}")
        self.sign_in = self._seen[found.info.version]


async def _load(version: int) -> Checkpoint | None:
    return _version(version)


@pytest.mark.parametrize(
    ("newest", "good", "diary", "known", "gone_back"),
    [
        (IN, IN, [], IN, False),
        (UNKNOWN, IN, [], UNKNOWN, False),
        (OUT, IN, ["up 5"], IN, True),
        (OUT, OUT, ["up 5", "up 7"], HUMAN, False),
        (OUT, UNKNOWN, ["up 5", "up 7"], OUT, False),
    ],
)
async def test_the_last_good_version_gets_one_chance(
    newest: SignIn, good: SignIn, diary: list[str], known: SignIn, gone_back: bool
) -> None:
    """One browser at a time; the newest state stays unless the other is signed in."""
    place = Place({NEWEST: newest, LAST_GOOD: good})
    found = await settle(place, UNKNOWN, _version(NEWEST), LAST_GOOD, _load)
    assert place.diary == diary
    assert place.sign_in is known
    assert (found is not None) is gone_back
    assert found is None or found.info.version == LAST_GOOD


async def test_where_a_person_is_needed_nothing_is_tried_again() -> None:
    """However often it starts."""
    place = Place({NEWEST: HUMAN})
    assert await settle(place, HUMAN, _version(NEWEST), LAST_GOOD, _load) is None
    assert (place.diary, place.sign_in) == ([], HUMAN)


@pytest.mark.parametrize(
    ("error", "known"),
    [(ErrorCodes.STORAGE_CORRUPT, HUMAN), (ErrorCodes.STORAGE_UNAVAILABLE, OUT), (None, HUMAN)],
)
async def test_a_version_that_cannot_be_read_costs_no_browser(error: Any, known: SignIn) -> None:
    """Damaged or gone, there is nothing to go back to; a store that is away is asked another time."""

    async def load(_: int) -> Checkpoint | None:
        if error:
            raise create_error(error, "not now")
        return None

    place = Place({NEWEST: OUT})
    assert await settle(place, UNKNOWN, _version(NEWEST), LAST_GOOD, load) is None
    assert (place.diary, place.sign_in) == ([], known)

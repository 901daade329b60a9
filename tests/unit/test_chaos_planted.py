"""The bugs that show what the fault suite catches still fit the code that they are planted in."""

from pathlib import Path

import pytest

from tests.chaos.planted.bugs import BUGS, Bug, Change

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_a_planted_bug_fits(bug: Bug) -> None:
    """Each change finds its place, once, also after those before it."""
    texts: dict[str, str] = {}
    for change in bug.changes:
        before = texts.get(change.file) or (REPOSITORY / change.file).read_text()
        texts[change.file] = change.applied(before)
        assert texts[change.file] != before


def test_a_change_that_does_not_fit_is_refused() -> None:
    """A bug that was not planted must not be taken for one that was not caught."""
    change = Change("x.py", "a = 1", "a = 2")
    assert change.applied("a = 1\n") == "a = 2\n"
    for text in ("b = 1\n", "a = 1\na = 1\n"):
        with pytest.raises(ValueError, match=r"x\.py has"):
            change.applied(text)

"""What is decided about files and permissions, without a browser."""

import pytest

from raypool.browser.files import Entry, Limits, chosen
from raypool.browser.permissions import granted

SECURE = {"camera": "denied", "midi": "denied", "geolocation": "denied", "storage-access": "prompt"}


def test_small_files_come_first() -> None:
    """A site's big file never costs its small ones."""
    entries = [Entry("big", 60, 0), Entry("a", 30, 0), Entry("b", 30, 0), Entry("huge", 70, 0)]
    kept, lost = chosen(entries, Limits(total=100, file=60))
    assert [entry.path for entry in kept] == ["a", "b"]
    assert lost == {
        "big": "with it they are more than 100 bytes",
        "huge": "it has 70 bytes, and 60 is the most",
    }


@pytest.mark.parametrize(
    ("states", "given", "expected"),
    [
        ({"camera": "granted"}, (), ["camera"]),
        ({"camera": "granted", "storage-access": "granted"}, (), ["camera", "storage-access"]),
        ({"camera": "granted"}, ("camera",), None),
        ({"camera": "granted"}, ("camera", "midi"), ["camera"]),
        ({"camera": "granted", "midi": "prompt"}, (), None),
        ({"camera": "granted", "accelerometer": "granted"}, ("camera", "gyroscope"), None),
        ({}, (), None),
        ({}, ("camera",), []),
    ],
)
def test_a_grant_shows_in_what_it_denies(
    states: dict[str, str], given: tuple[str, ...], expected: list[str] | None
) -> None:
    """Where something still prompts, nothing was granted: what is granted there is the browser's."""
    assert granted(SECURE | states, given) == expected

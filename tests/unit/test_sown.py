"""What a script puts into documents before their own scripts: all of it, until it is dropped."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from raypool import state
from raypool.browser import library
from raypool.browser.mirror import Mirror
from raypool.browser.sown import Sown
from raypool.state import Area, Buckets, Kind

KEYS = st.sampled_from(
    ["https://a.com/", "https://b.com/", "https://b.com/^0https://a.com", "http://c.com:8/"]
)
ITEMS = st.dictionaries(st.text(), st.text(), min_size=1, max_size=3)


def held(sown: Sown) -> tuple[Any, Any]:
    """Return the two arguments that the script is called with."""
    script = sown.script
    assert script is not None
    decoder = json.JSONDecoder()
    rest = script.removeprefix(f"({library.SEED})(")
    local, end = decoder.raw_decode(rest)
    session, last = decoder.raw_decode(rest[end + 2 :])
    assert rest[end : end + 2] == ", "
    assert rest[end + 2 + last :] == ")"
    return local, session


def by_key(seeds: dict[str, list[dict[str, Any]]]) -> dict[str, dict[str, str]]:
    """Return a script's items by storage key."""
    return {
        state.key_of(origin) + (f"^0{seed['top']}" if seed["top"] else ""): dict(
            json.loads(seed["items"])
        )
        for origin, all_of_it in seeds.items()
        for seed in all_of_it
    }


@given(st.dictionaries(KEYS, ITEMS, min_size=1), KEYS)
def test_a_script_holds_what_was_not_dropped(items: dict[str, dict[str, str]], gone: str) -> None:
    """Whatever the names and values are."""
    sown = Sown("local", items)
    assert held(sown) == (held(sown)[0], {})
    assert by_key(held(sown)[0]) == items
    assert sown.drop(gone) == (gone in items)
    assert gone not in sown
    assert not sown.of(gone)
    left = {key: values for key, values in items.items() if key != gone}
    assert (by_key(held(sown)[0]) if left else sown.script) == (left or None)


def test_session_storage_is_the_second_argument() -> None:
    """A script for one tab leaves localStorage alone."""
    local, session = held(Sown("session", {"https://a.com/": {"token": "</script>"}}))
    assert local == {}
    assert by_key(session) == {"https://a.com/": {"token": "</script>"}}


def test_small_storages_go_into_the_script_and_large_ones_do_not() -> None:
    """As many as fit, the smallest first: every document has to read them."""
    parts: dict[str, bytes] = {}
    for name, size in (("large", 5000), ("small", 10), ("middle", 400)):
        buckets = Buckets(Area(Kind.LOCAL, f"https://{name}.com/").name)
        buckets.replace({"item": "x" * size})
        parts |= buckets.parts
    sown = Sown.from_mirror(Mirror(parts), most=1000)
    assert set(by_key(held(sown)[0])) == {"https://small.com/", "https://middle.com/"}
    assert "https://large.com/" not in sown

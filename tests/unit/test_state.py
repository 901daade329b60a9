"""What other services pass as JSON becomes parts, or is refused with the shape that fits."""

import json
from typing import Any

import pytest

from raypool.errors import CheckpointCorrupt, ConfigurationError, ErrorCodes
from raypool.state import COOKIES, TABS, decode, encode, origins, parts_from_json, storage_part

COOKIE = {"name": "sid", "value": "1", "domain": "example.com"}


def _storage(**storage: Any) -> dict[str, Any]:
    parts = parts_from_json(None, json.dumps(storage))
    return {name: decode(name, data) for name, data in parts.items()}


def _cookie(**fields: Any) -> dict[str, Any]:
    (kept,) = decode(COOKIES, parts_from_json(json.dumps([COOKIE | fields]), None)[COOKIES])
    return dict(kept)


def test_nothing_given_is_nothing_kept() -> None:
    """A session without state has no parts; an empty list is a part that says: no cookies."""
    assert parts_from_json(None, None) == {}
    assert parts_from_json("[]", None) == {COOKIES: b"[]"}


def test_cookies_keep_what_browsers_need() -> None:
    """Names as CDP spells them; what a browser adds on its own is left out."""
    given = {"path": "/", "secure": True, "httpOnly": True, "expires": 99.5, "sameSite": "Lax"}
    assert _cookie(**given, hostOnly=True, storeId="0") == {**COOKIE, **given}


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({}, -1), ({"expires": -1}, -1), ({"expires": 0}, -1), ({"expires": None}, -1),
        ({"expires": "never"}, -1), ({"expirationDate": 99}, 99), ({"expires": 1e400}, -1),
    ],
)  # fmt: skip
def test_what_does_not_expire_is_a_session_cookie(given: dict[str, Any], kept: float) -> None:
    """0 and nonsense never become a date in the past; extensions' expirationDate counts too."""
    assert _cookie(**given)["expires"] == kept


@pytest.mark.parametrize(
    ("given", "kept"),
    [("no_restriction", "None"), ("NONE", "None"), ("lax", "Lax"), ("Strict", "Strict")],
)
def test_same_site_is_spelled_for_cdp(given: str, kept: str) -> None:
    """Whatever the exporting tool calls it."""
    assert _cookie(sameSite=given)["sameSite"] == kept


@pytest.mark.parametrize("given", ["unspecified", "", None, 5])
def test_an_unknown_same_site_is_left_to_the_browser(given: Any) -> None:
    """Nothing is made up."""
    assert "sameSite" not in _cookie(sameSite=given)


def test_storage_of_one_origin() -> None:
    """The short form: objects of names and values; tabs carry what belongs to a tab."""
    found = _storage(origin="https://e.com", localStorage={"a": "1"}, sessionStorage={"b": "2"})
    assert found == {
        storage_part("https://e.com"): {
            "localStorage": [{"name": "a", "value": "1"}],
            "indexedDB": [],
        },
        TABS: {
            "active": 0,
            "tabs": [
                {
                    "url": "https://e.com",
                    "scroll": [0, 0],
                    "sessionStorage": {"https://e.com": {"b": "2"}},
                }
            ],
        },
    }


def test_values_become_text_as_in_a_browser() -> None:
    """A page that put true or an object there as JSON finds JSON again, not Python's spelling."""
    values = {"t": True, "n": None, "i": 1, "o": {"x": "y"}, "s": "text"}
    found = _storage(origin="https://e.com", localStorage=values, sessionStorage=values)
    items = {i["name"]: i["value"] for i in found[storage_part("https://e.com")]["localStorage"]}
    assert items == {"t": "true", "n": "null", "i": "1", "o": '{"x": "y"}', "s": "text"}
    assert found[TABS]["tabs"][0]["sessionStorage"]["https://e.com"] == items


def test_storage_in_playwrights_form() -> None:
    """Each origin is a part of its own, lists as they are; what is missing is empty."""
    item = {"name": "a", "value": "1"}
    found = _storage(
        origins=[
            {"origin": "https://a.com", "localStorage": [item]},
            {"origin": "http://b.com:8080"},
        ]
    )
    assert found == {
        storage_part("https://a.com"): {"localStorage": [item], "indexedDB": []},
        storage_part("http://b.com:8080"): {"localStorage": [], "indexedDB": []},
    }
    parts = {name: encode(payload) for name, payload in found.items()}
    assert [entry["origin"] for entry in origins({**parts, COOKIES: b"[]"})] == [
        "http://b.com:8080", "https://a.com",
    ]  # fmt: skip


def test_a_whole_storage_state_brings_its_cookies() -> None:
    """Playwright's file given as it is loses nothing; cookies that are given apart win."""
    whole = json.dumps({"cookies": [COOKIE], "origins": []})
    assert decode(COOKIES, parts_from_json(None, whole)[COOKIES])[0]["name"] == "sid"
    apart = parts_from_json(json.dumps([COOKIE | {"name": "other"}]), whole)
    assert [c["name"] for c in decode(COOKIES, apart[COOKIES])] == ["other"]


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("https://Example.COM", "https://example.com"),
        ("https://example.com:443/path?q#f", "https://example.com"),
        ("http://example.com:80", "http://example.com"),
        ("http://example.com:443", "http://example.com:443"),
        ("https://user@example.com", "https://example.com"),
        ("http://[::1]:8080/", "http://[::1]:8080"),
    ],
)
def test_an_origin_is_spelled_as_browsers_spell_it(given: str, kept: str) -> None:
    """Otherwise its storage would never be found again."""
    assert list(_storage(origin=given, localStorage={})) == [storage_part(kept)]


BAD_COOKIES = {
    "not JSON": ("{", "not JSON"),
    "an object": ("{}", "JSON list"),
    "text": ('"a"', "JSON list"),
    "a list of text": ('["a"]', "name, value and domain or url"),
    "no name": ('[{"value": "1", "domain": "e.com"}]', "name, value and domain or url"),
    "no value": ('[{"name": "a", "domain": "e.com"}]', "name, value and domain or url"),
    "a number as value": (
        '[{"name": "a", "value": 1, "domain": "e.com"}]',
        "name, value and domain",
    ),
    "nowhere to go": ('[{"name": "a", "value": "1"}]', "cookie 'a' needs a domain or a url"),
}
BAD_STORAGE = {
    "not JSON": ("]", "not JSON"),
    "a list": ("[]", "JSON object"),
    "no origin": ('{"localStorage": {"a": "1"}}', "https://example.com"),
    "an origin that is none": ('{"origin": "example.com"}', "https://example.com"),
    "an empty origin": ('{"origin": "https://"}', "https://example.com"),
    "a port that is none": ('{"origin": "https://e.com:x"}', "https://example.com"),
    "brackets that do not close": ('{"origin": "https://[e"}', "https://example.com"),
    "another scheme": ('{"origin": "file:///etc"}', "https://example.com"),
    "a number as origin": ('{"origin": 5}', "https://example.com"),
    "a list of text": ('{"origins": ["https://e.com"]}', "https://example.com"),
    "a list as storage": (
        '{"origin": "https://e.com", "localStorage": [1]}', "localStorage must be an object",
    ),
    "text as storage": (
        '{"origin": "https://e.com", "sessionStorage": "x"}', "sessionStorage must be an object",
    ),
    "an object inside origins": (
        '{"origins": [{"origin": "https://e.com", "localStorage": {"a": "1"}}]}',
        "localStorage must be a list",
    ),
    "a cookie that is none": ('{"cookies": [1], "origins": []}', "name, value and domain or url"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "fits"), BAD_COOKIES.values(), ids=BAD_COOKIES.keys())
def test_bad_cookies_are_refused(text: str, fits: str) -> None:
    """The message names the argument and says what fits."""
    with pytest.raises(ConfigurationError, match=fits) as caught:
        parts_from_json(text, None)
    assert caught.value.message.startswith("cookies_json: ")
    assert caught.value.code is ErrorCodes.CONFIG_INVALID_ARGUMENT


@pytest.mark.parametrize(("text", "fits"), BAD_STORAGE.values(), ids=BAD_STORAGE.keys())
def test_bad_storage_is_refused(text: str, fits: str) -> None:
    """The message names the argument and says what fits."""
    with pytest.raises(ConfigurationError, match=fits) as caught:
        parts_from_json(None, text)
    assert caught.value.message.startswith("storage_json: ")


@pytest.mark.parametrize("data", [b"", b"{", b"\xff\xfe\xfa", b"\x00"])
def test_a_part_that_is_not_json_is_corrupt(data: bytes) -> None:
    """The error names the part, so that people can roll back and know what they lose."""
    with pytest.raises(CheckpointCorrupt, match=r"storage:https://e\.com"):
        decode("storage:https://e.com", data)

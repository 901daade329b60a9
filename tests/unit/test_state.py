"""What other services pass as JSON becomes parts, or is refused with the shape that fits."""

import json
from typing import Any

import pytest

from raypool.errors import CheckpointCorrupt, ConfigurationError, ErrorCodes
from raypool.state import (
    COOKIES,
    TABS,
    Area,
    Buckets,
    Kind,
    decode,
    key_of,
    laid_over,
    lasts,
    parts_from_json,
)

COOKIE = {"name": "sid", "value": "1", "domain": "example.com"}
DAY = "1970-01-02T00:00:00.000Z"


def _storage(**storage: Any) -> dict[str, Any]:
    parts = parts_from_json(None, json.dumps(storage))
    return {name: decode(name, data) for name, data in parts.items()}


def _local(origin: str) -> str:
    return f"{Area(Kind.LOCAL, key_of(origin)).name}#0/1"


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


def test_a_partitioned_cookie_stays_in_its_partition() -> None:
    """Playwright's spelling and CDP's; outside of it the site would not find it."""
    kept = {"topLevelSite": "https://t.com", "hasCrossSiteAncestor": True}
    spelled = {"partitionKey": "https://t.com", "_crHasCrossSiteAncestor": True}
    assert _cookie(**spelled)["partitionKey"] == kept
    assert _cookie(partitionKey=kept)["partitionKey"] == kept
    for nothing in ("", None, 5, {"topLevelSite": "https://t.com"}):
        assert "partitionKey" not in _cookie(partitionKey=nothing)


def test_storage_of_one_origin() -> None:
    """The short form: objects of names and values; tabs carry what belongs to a tab."""
    found = _storage(origin="https://e.com", localStorage={"a": "1"}, sessionStorage={"b": "2"})
    assert found == {
        "local:https://e.com/#0/1": {"a": "1"},
        TABS: {
            "active": 0,
            "tabs": [
                {
                    "url": "https://e.com/",
                    "scroll": [0, 0],
                    "sessionStorage": {"https://e.com/": {"b": "2"}},
                }
            ],
        },
    }


def test_values_become_text_as_in_a_browser() -> None:
    """A page that put true or an object there as JSON finds JSON again, not Python's spelling."""
    values = {"t": True, "n": None, "i": 1, "o": {"x": "y"}, "s": "text"}
    found = _storage(origin="https://e.com", localStorage=values, sessionStorage=values)
    items = found[_local("https://e.com")]
    assert items == {"t": "true", "n": "null", "i": "1", "o": '{"x": "y"}', "s": "text"}
    assert found[TABS]["tabs"][0]["sessionStorage"]["https://e.com/"] == items


def test_storage_in_playwrights_form() -> None:
    """Each storage of each origin has parts of its own; an origin without any says so."""
    item = {"name": "a", "value": "1"}
    store = {
        "name": "s", "autoIncrement": True, "keyPathArray": ["a.b", "c"], "records": [
            {"value": {"a": {"b": 7}, "c": "x"}},
            {"valueEncoded": {"o": [{"k": "a", "v": {"o": [{"k": "b", "v": {"d": DAY}}], "id": 2}},
                                    {"k": "c", "v": {"v": "-0"}}], "id": 1}},
        ],
        "indexes": [{"name": "i", "keyPath": "c", "unique": True, "multiEntry": False}],
    }  # fmt: skip
    files = [{"path": "d", "type": "directory"}, {"path": "d/f", "type": "file", "base64": "MQ=="},
             {"path": "e", "type": "directory"}]  # fmt: skip
    databases = [{"name": "d#1", "version": 3, "stores": [store]}]
    found = _storage(
        origins=[
            {
                "origin": "https://a.com",
                "localStorage": [item],
                "indexedDB": databases,
                "opfs": files,
            },
            {"origin": "http://b.com:8080"},
        ]
    )
    index = {"name": "i", "keyPath": "c", "unique": True, "multiEntry": False}
    date = {"$": "date", "v": 86_400_000}
    assert found == {
        "local:https://a.com/#0/1": {"a": "1"},
        "files:https://a.com/#0/1": {"d/f": "MQ==", "e/": ""},
        "db:https://a.com/#d%231": {"version": 3, "stores": [
            {"name": "s", "keyPath": ["a.b", "c"], "autoIncrement": True, "next": 1,
             "indexes": [index]},
        ]},
        "records:https://a.com/#d%231/s#0/1": {
            '[7,"x"]': {"a": {"b": 7}, "c": "x"},
            '[{"$":"date","v":86400000},{"$":"number","v":"-0"}]':
                {"a": {"b": date}, "c": {"$": "number", "v": "-0"}},
        },
        "local:http://b.com:8080/#0/1": {},
    }  # fmt: skip


def test_what_is_imported_replaces_its_storage_key() -> None:
    """All that the origin had, however it was spread; other origins and parts stay."""
    old = {
        "local:https://a.com/#0/2": b"1", "local:https://a.com/#1/2": b"2", "tabs": b"3",
        "db:https://a.com/#d": b"4", "local:https://a.com/^0https://b.com#0/1": b"5",
        "local:https://b.com/#0/1": b"6",
    }  # fmt: skip
    new = parts_from_json("[]", '{"origin": "https://a.com", "localStorage": {}}')
    assert laid_over(old, new) == {
        "local:https://a.com/#0/1": b"{}", "tabs": b"3", "cookies": b"[]",
        "local:https://a.com/^0https://b.com#0/1": b"5", "local:https://b.com/#0/1": b"6",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("https://e.com/", True),
        ("https://e.com/^0https://top.example", True),
        ("https://e.com/^31", True),
        ("https://e.com/^118142698989625437023^22909430454716906734", False),
        ("https://e.com/^41^52^6", False),
    ],
)
def test_storage_that_ends_with_its_page_is_told_by_its_key(key: str, *, expected: bool) -> None:
    """A nonce, or the number of a page without an origin, never comes again."""
    assert lasts(key) is expected


def test_areas_are_named_for_people() -> None:
    """By what they are and whose; a frame's storage also by the site that it is shown in."""
    titles = {
        "local:https://a.com/#0/1": "localStorage of https://a.com",
        "files:https://a.com/#0/1": "files of https://a.com",
        "db:https://a.com/#d": "database 'd' of https://a.com",
        "records:https://a.com/#d/s#3/8": "records of 's' in database 'd' of https://a.com",
        "local:https://f.com/^0https://a.com#0/1":
            "localStorage of https://f.com under https://a.com",
    }  # fmt: skip
    for part, title in titles.items():
        area = Area.of(part)
        assert area is not None
        assert area.title == title


@pytest.mark.parametrize(
    "part",
    ["cookies", "tabs", "local:", "local:k", "local:k#1", "records:k#d#0/1", "db:k", "x:k#0/1"],
)
def test_other_names_belong_to_no_area(part: str) -> None:
    """A name that is no area's is never taken for one."""
    assert Area.of(part) is None


@pytest.mark.parametrize("part", ["a#1/1", "a#0/0", "a#0/2000", "a#-1/2", "a", "a#x/y"])
def test_a_part_without_a_place_is_corrupt(part: str) -> None:
    """And is named, instead of failing in the middle of a restore."""
    with pytest.raises(CheckpointCorrupt, match="name that is none"):
        Buckets.load("a", {part: b"{}"})


def test_a_part_without_items_is_corrupt() -> None:
    """A list is no set of items."""
    with pytest.raises(CheckpointCorrupt, match="holds no items"):
        dict(Buckets.load("a", {"a#0/1": b"[]"}).items())


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
    assert list(_storage(origin=given, localStorage={})) == [_local(kept)]


def _database(stores: Any) -> dict[str, Any]:
    return {"indexedDB": [{"name": "d", "version": 1, "stores": stores}]}


def _store(**store: Any) -> dict[str, Any]:
    return _database([{"name": "s", **store}])


def _encoded(value: Any) -> dict[str, Any]:
    return _store(records=[{"key": 1, "valueEncoded": value}])


BAD_ORIGINS: dict[str, tuple[dict[str, Any], str]] = {
    "an item without value": ({"localStorage": [{"name": "a"}]}, "a name and a value, as text"),
    "a number as item": ({"localStorage": [{"name": "a", "value": 1}]}, "as text"),
    "a database of text": ({"indexedDB": ["d"]}, "indexedDB must be a list of objects"),
    "a database without name": ({"indexedDB": [{"version": 1}]}, "a name and a version"),
    "a version that is none": ({"indexedDB": [{"name": "d", "version": 0}]}, "a version"),
    "stores that are none": (_database(5), "https://e.com: stores must be a list"),
    "a store that is none": (_database([5]), "stores must be a list of objects"),
    "a store without name": (_database([{}]), "its name must be text"),
    "a key path that is none": (_store(keyPath=5), "store 's': a key path that is none"),
    "a record that is none": (_store(records=[1]), "records must be a list of objects"),
    "a record without key": (_store(records=[{"value": 1}]), "a record without its key"),
    "a key that is none": (_store(records=[{"key": True, "value": 1}]), "whose key is none"),
    "no key at its path": (_store(keyPath="a", records=[{"value": {}}]), "whose key is none"),
    "an unknown kind": (_encoded({"u": "https://e.com"}), "that Playwright does not write"),
    "a date that is none": (_encoded({"d": "today"}), "a date that is none"),
    "half a number": (_encoded({"ta": {"k": "i16", "b": "MQ=="}}), "Int16Array with half"),
    "no base64": (_encoded({"ab": {"b": "?"}}), "https://e.com: store 's'"),
    "a reference to nothing": (_encoded({"ref": 7}), "in another form"),
    "a file without path": ({"opfs": [{"type": "file"}]}, "a file needs a path"),
    "a path upwards": ({"opfs": [{"path": "../f", "type": "file"}]}, "a file needs a path"),
    "a file without content": ({"opfs": [{"path": "f", "type": "file"}]}, "in base64"),
}  # fmt: skip
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
    "passkeys that are no list": ('{"origins": [], "credentials": {"a": 1}}', "must be a list"),
    "a passkey that is none": ('{"origins": [], "credentials": [1]}', "needs id, rpId"),
    "a passkey without its key": (
        '{"origins": [], "credentials": [{"id": "a", "rpId": "e.com"}]}', "privateKey",
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


def test_what_is_nested_without_end_is_refused() -> None:
    """With the same sentence as other input, not with an error of Python's."""
    deep = "[" * 100_000 + "]" * 100_000
    for storage in (deep, f'{{"origins": [{{"origin": "https://e.com", "indexedDB": {deep}}}]}}'):
        with pytest.raises(ConfigurationError, match="nested too deeply"):
            parts_from_json(None, storage)
    with pytest.raises(CheckpointCorrupt, match="part 'tabs'"):
        decode(TABS, deep.encode())


@pytest.mark.parametrize("what", BAD_ORIGINS)
def test_a_bad_origin_is_refused(what: str) -> None:
    """The message says where it is and what fits; nothing of the file is taken."""
    entry, fits = BAD_ORIGINS[what]
    storage = {"origins": [{"origin": "https://e.com", **entry}]}
    with pytest.raises(ConfigurationError, match=fits) as caught:
        parts_from_json(None, json.dumps(storage))
    assert caught.value.message.startswith("storage_json: ")


@pytest.mark.parametrize("data", [b"", b"{", b"\xff\xfe\xfa", b"\x00"])
def test_a_part_that_is_not_json_is_corrupt(data: bytes) -> None:
    """The error names the part, so that people can roll back and know what they lose."""
    with pytest.raises(CheckpointCorrupt, match=r"local:https://e\.com/#0/1"):
        decode("local:https://e.com/#0/1", data)

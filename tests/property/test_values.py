"""What holds for every value, key and file that goes from a browser to Playwright's form and back."""

import base64
import json
import math
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raypool.state import Area, Buckets, Kind, encode
from raypool.state.dates import date_text, date_value
from raypool.state.record_keys import as_key, generated_after, key_in, key_order
from raypool.state.storage_state import from_storage_state, left_out, to_storage_state
from raypool.state.values import Unfit, from_json, from_playwright, to_json, to_playwright
from tests.property.texts import of_javascript

text = st.text(st.characters(codec=None), max_size=8).map(of_javascript)
fields = text | st.sampled_from(["$", "v", "a", "10", "9", "id", "ref"])
data = st.binary(max_size=16).map(lambda found: base64.b64encode(found).decode())
dates = st.integers(-8_640_000_000_000_000, 8_640_000_000_000_000)
plain = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | text | st.floats(-1e6, 1e6)
KINDS = {
    "i8": ("Int8Array", 1), "ui8": ("Uint8Array", 1), "ui8c": ("Uint8ClampedArray", 1),
    "i16": ("Int16Array", 2), "ui16": ("Uint16Array", 2), "i32": ("Int32Array", 4),
    "ui32": ("Uint32Array", 4), "f32": ("Float32Array", 4), "f64": ("Float64Array", 8),
    "bi64": ("BigInt64Array", 8), "bui64": ("BigUint64Array", 8),
}  # fmt: skip
views = st.tuples(st.sampled_from(sorted(KINDS)), st.binary(max_size=24)).map(
    lambda of: {"ta": {"k": of[0], "b": base64.b64encode(of[1][: len(of[1]) // 8 * 8]).decode()}}
)
leaves = (
    st.sampled_from(["undefined", "null", "NaN", "Infinity", "-Infinity", "-0"]).map(lambda v: {"v": v})
    | st.booleans() | st.integers(-(2**53), 2**53) | text
    | st.integers().map(lambda n: {"bi": str(n)})
    | dates.map(lambda ms: {"d": date_text(ms)})
    | st.tuples(text, text).map(lambda of: {"r": {"p": of[0], "f": of[1]}})
    | st.tuples(text, text, text).map(lambda of: {"e": {"n": of[0], "m": of[1], "s": of[2]}})
    | data.map(lambda found: {"ab": {"b": found}})
    | views
)  # fmt: skip


@st.composite
def playwright_values(draw: st.DrawFn) -> Any:
    """Values as Playwright writes them: nested, and with names of what was met before."""
    met: list[int] = []

    def some(depth: int) -> list[Any]:
        return [one(depth + 1) for _ in range(draw(st.integers(0, 3)))]

    def one(depth: int) -> Any:
        kind = draw(st.sampled_from(["leaf", *(["a", "s", "m", "o", "ref"] if depth < 3 else [])]))
        if kind == "leaf" or (kind == "ref" and not met):
            return draw(leaves)
        if kind == "ref":
            return {"ref": draw(st.sampled_from(met))}
        met.append(len(met) + 1)
        made: dict[str, Any] = {"id": met[-1]}
        if kind == "m":
            pairs = range(draw(st.integers(0, 2)))
            return {"m": [{"k": one(depth + 1), "v": one(depth + 1)} for _ in pairs], **made}
        inside = some(depth)
        if kind == "o":
            names = draw(st.lists(fields, min_size=len(inside), max_size=len(inside), unique=True))
            inside = [{"k": k, "v": v} for k, v in zip(names, inside, strict=True)]
        return {kind: inside, **made}

    return one(0)


@given(playwright_values())
def test_a_value_of_playwright_comes_back_as_it_went(value: Any) -> None:
    """Every kind that it has, nested, shared and in cycles; also as the JSON of a part."""
    ours = from_playwright(value)
    assert to_playwright(ours) == value
    assert to_playwright(json.loads(json.dumps(ours))) == value


def test_cycles_and_shared_objects_are_numbered_as_each_side_numbers() -> None:
    """We count dates, and a view before its buffer; Playwright only what holds others."""
    ours = {
        "day": {"$": "date", "v": 0},
        "bytes": {"$": "view", "kind": "Uint8Array", "offset": 1, "length": 2,
                  "v": {"$": "buffer", "v": base64.b64encode(b"1234").decode()}},
        "words": {"$": "view", "kind": "Uint16Array", "offset": 0, "length": 2,
                  "v": {"$": "same", "v": 3}},
        "one": {"$": "map", "v": [{"$": "same", "v": 1}, [{"$": "same", "v": 5}]]},
        "all": {"$": "same", "v": 0}, "list": {"$": "same", "v": 6},
    }  # fmt: skip
    day = {"d": "1970-01-01T00:00:00.000Z"}
    assert to_playwright(ours) == {"id": 1, "o": [
        {"k": "day", "v": day},
        {"k": "bytes", "v": {"ta": {"k": "ui8", "b": base64.b64encode(b"23").decode()}}},
        {"k": "words", "v": {"ta": {"k": "ui16", "b": base64.b64encode(b"1234").decode()}}},
        {"k": "one", "v": {"id": 2, "m": [{"k": day, "v": {"a": [{"ref": 2}], "id": 3}}]}},
        {"k": "all", "v": {"ref": 1}}, {"k": "list", "v": {"ref": 3}},
    ]}  # fmt: skip


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ({"$": "blob", "type": "", "v": ""}, "Blob"),
        ({"$": "file", "name": "f", "type": "", "modified": 0, "v": ""}, "File"),
        ({"$": "boxed", "v": True}, "boxed value"),
        ({"$": "key", "jwk": {}, "algorithm": {}, "usages": []}, "CryptoKey"),
        ([1, {"$": "hole"}], "array with gaps"),
        ({"$": "exception", "name": "AbortError", "message": ""}, "DOMException"),
        ({"$": "error", "name": "Error", "stack": "", "cause": 1}, "Error with a cause"),
        ({"$": "buffer", "v": "", "most": 8}, "ArrayBuffer that can grow"),
        ({"$": "date", "v": {"$": "number", "v": "NaN"}}, "Date that is invalid"),
        ({"$": "object", "v": [["__proto__", 1]]}, "field named __proto__"),
        ({"$": "new kind of a later version"}, "new kind of a later version"),
        *(
            ({"$": "view", "kind": kind, "offset": 0, "length": 0, "v": {"$": "buffer", "v": ""}}, kind)
            for kind in ("DataView", "Float16Array")
        ),
    ],
)  # fmt: skip
@pytest.mark.parametrize("inside", [lambda v: v, lambda v: [v], lambda v: {"$": "set", "v": [v]}])
def test_what_playwright_has_no_form_for_is_named(value: Any, told: str, inside: Any) -> None:
    """It becomes neither an empty object nor anything else, however deep it lies."""
    with pytest.raises(Unfit, match=f"^{told}$"):
        to_playwright(inside(value))
    with pytest.raises(Unfit):
        to_json(inside(value))


json_values = st.recursive(
    plain,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(fields, inner, max_size=3),
    max_leaves=8,
)


@given(json_values)
def test_json_stands_for_itself(value: Any) -> None:
    """Whatever its fields are called."""
    assert to_json(from_json(value)) == value


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -0.0])
def test_numbers_that_json_lacks_are_named(value: float) -> None:
    """A part is JSON for every program, and minus nought stays what it is."""
    named = {"inf": "Infinity", "-inf": "-Infinity", "nan": "NaN", "-0.0": "-0"}[str(value)]
    assert from_json([value]) == [{"$": "number", "v": named}]


@given(dates)
def test_a_date_is_the_same_in_both(ms: int) -> None:
    """For all the years that JavaScript has, of which Python has few."""
    assert date_value(date_text(ms)) == ms


@pytest.mark.parametrize(
    ("ms", "shown"),
    [
        (0, "1970-01-01T00:00:00.000Z"), (-1, "1969-12-31T23:59:59.999Z"),
        (951_782_400_000, "2000-02-29T00:00:00.000Z"),
        (8_640_000_000_000_000, "+275760-09-13T00:00:00.000Z"),
        (-8_640_000_000_000_000, "-271821-04-20T00:00:00.000Z"),
        (-62_198_755_200_000, "-000001-01-01T00:00:00.000Z"),
        (-62_167_219_200_000, "0000-01-01T00:00:00.000Z"),
    ],
)  # fmt: skip
def test_a_date_is_spelled_as_javascript_spells_it(ms: int, shown: str) -> None:
    """The last one that there is, leap days, and years before our era."""
    assert date_text(ms) == shown


@pytest.mark.parametrize(
    "text", ["", "today", "2030-01-01", "2030-13-01T00:00:00.000Z", "٢٠٣٠-01-01T00:00:00.000Z"]
)
def test_other_text_is_no_date(text: str) -> None:
    """It is refused instead of guessed."""
    with pytest.raises(ValueError, match=r"none|month"):
        date_value(text)


# -- keys --------------------------------------------------------------------------------------

keys = st.recursive(
    st.integers(-(2**53), 2**53) | st.floats(-1e6, 1e6).filter(bool) | text
    | dates.map(lambda ms: {"$": "date", "v": ms}) | data.map(lambda found: {"$": "buffer", "v": found})
    | st.sampled_from(["Infinity", "-Infinity", "-0"]).map(lambda v: {"$": "number", "v": v}),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=4,
)  # fmt: skip


@given(st.lists(keys, max_size=6), st.randoms(use_true_random=False))
def test_keys_have_one_order(some: list[Any], dice: Any) -> None:
    """Whatever kinds are mixed, and wherever they stood before."""
    shuffled = list(some)
    dice.shuffle(shuffled)
    assert [key_order(key) for key in sorted(some, key=key_order)] == sorted(
        map(key_order, shuffled)
    )


def test_the_order_is_that_of_indexeddb() -> None:
    """Numbers, dates, text by its UTF-16, bytes, lists."""
    ordered = [
        {"$": "number", "v": "-Infinity"}, -1, 2, 10, {"$": "number", "v": "Infinity"},
        {"$": "date", "v": -5}, {"$": "date", "v": 0}, "", "Z", "a", "\U00010000", "\uffff",
        {"$": "buffer", "v": ""}, {"$": "buffer", "v": "AQ=="}, [], [1], [1, 2], ["a"], [[]],
    ]  # fmt: skip
    assert all(key_order(one) < key_order(other) for one, other in pairwise(ordered))


@given(
    keys, st.lists(fields.filter(lambda field: field and "." not in field), min_size=1, max_size=3)
)
def test_a_key_is_found_at_its_path(key: Any, path: list[str]) -> None:
    """However deep it lies, and whatever the fields on the way are called."""
    ours: Any = key
    for name in reversed(path):
        ours = {"$": "object", "v": [["other", 1], [name, ours]]}
    if "other" not in path:
        assert key_in(ours, ".".join(path)) == key
        assert key_in(ours, [".".join(path)]) == [key]


def test_a_key_may_lie_in_what_was_met_before() -> None:
    """A shared object is numbered among all; a view is a key by what it shows."""
    view = {
        "$": "view",
        "kind": "Uint8Array",
        "offset": 0,
        "length": 1,
        "v": {"$": "buffer", "v": "AQ=="},
    }
    record = {
        "a": {"$": "map", "v": [1, view]},
        "b": {"id": [view, "x"]},
        "c": {"$": "same", "v": 4},
    }
    assert key_in(record, "c.id") == [{"$": "buffer", "v": "AQ=="}, "x"]
    assert key_in(record, ["b.id.length", "b.id"]) == [2, [{"$": "buffer", "v": "AQ=="}, "x"]]
    assert key_in("a\U00010000", "length") == 3


@pytest.mark.parametrize(
    "value",
    [None, True, {}, {"$": "undefined"}, {"$": "number", "v": "NaN"}, {"$": "set", "v": []}, [None],
     {"$": "date", "v": {"$": "number", "v": "NaN"}}],
)  # fmt: skip
def test_other_values_are_no_keys(value: Any) -> None:
    """The standard names those that are."""
    with pytest.raises(ValueError, match="whose key is none"):
        as_key(value)


@pytest.mark.parametrize(
    ("some", "following"),
    [([], 1), ([-5], 1), ([3, 7, "9"], 8), ([5.7], 6), ([2**53], 2**53 + 1), ([1e300], 2**53 + 1)],
)
def test_a_generator_goes_on_after_the_highest(some: list[Any], following: int) -> None:
    """As IndexedDB's does, whose numbers end at 2 to the 53."""
    assert generated_after(some) == following


# -- files of Playwright -----------------------------------------------------------------------

_paths = st.lists(st.sampled_from(["a", "b", "é", "c.txt"]), min_size=1, max_size=3).map(tuple)


def _opfs(paths: dict[tuple[str, ...], str]) -> list[dict[str, str]]:
    """Return files as Playwright lists them: no file is a folder as well."""
    folders = {path[:n] for path in paths for n in range(1, len(path))}
    entries = [{"path": "/".join(folder), "type": "directory"} for folder in folders]
    entries += [
        {"path": "/".join(path), "type": "file", "base64": content}
        for path, content in paths.items()
        if path not in folders
    ]
    return sorted(entries, key=lambda entry: entry["path"].split("/"))


def _stored(records: dict[str, Any]) -> list[dict[str, Any]]:
    """Return records in the order of their keys."""
    ordered = sorted(records.items(), key=lambda record: key_order(json.loads(record[0])))
    return [{**_named("key", json.loads(key)), **_named("value", value)} for key, value in ordered]


def _named(name: str, value: Any) -> dict[str, Any]:
    try:
        return {name: to_json(value)}
    except Unfit:
        return {f"{name}Encoded": to_playwright(value)}


_records = st.dictionaries(
    keys.map(lambda key: encode(key).decode()),
    json_values.map(from_json) | leaves.map(from_playwright),
    max_size=4,
).map(_stored)  # fmt: skip
_indexes = st.lists(
    st.fixed_dictionaries(
        {"name": text, "unique": st.booleans(), "multiEntry": st.booleans()},
        optional={"keyPath": text, "keyPathArray": st.lists(text)},
    ).filter(lambda index: ("keyPath" in index) != ("keyPathArray" in index)),
    max_size=2,
)
_stores = st.lists(
    st.fixed_dictionaries(
        {"name": text, "autoIncrement": st.booleans(), "records": _records, "indexes": _indexes}
    ),
    max_size=2,
    unique_by=lambda store: store["name"],
)
_databases = st.lists(
    st.fixed_dictionaries({"name": text, "version": st.integers(1, 2**40), "stores": _stores}),
    max_size=2,
    unique_by=lambda database: database["name"],
)
_local = st.dictionaries(text, text, max_size=3).map(
    lambda items: [{"name": name, "value": items[name]} for name in sorted(items)]
)
_origins = st.dictionaries(
    st.sampled_from(["https://a.com", "http://b.com:8080", "http://[::1]:99"]),
    st.fixed_dictionaries(
        {"localStorage": _local, "indexedDB": _databases},
        optional={"opfs": st.dictionaries(_paths, data, min_size=1, max_size=3).map(_opfs)},
    ),
)


@given(_origins)
def test_a_file_of_playwright_comes_back_as_it_went(origins: dict[str, Any]) -> None:
    """Through our parts: every storage of every origin, in the order of their names."""
    file = {"cookies": [], "origins": [{"origin": o, **origins[o]} for o in sorted(origins)]}
    parts = from_storage_state(json.dumps(file))
    found = to_storage_state(parts)
    for entry in (*file["origins"], *found["origins"]):
        entry["indexedDB"].sort(
            key=lambda database: database["name"]
        )  # the names are quoted in ours
    assert found == file
    assert left_out(parts) == ()
    assert from_storage_state(json.dumps(found)) == parts


def test_what_has_no_place_in_it_is_named() -> None:
    """Tabs, frames under other sites, values without a form, records that belong to nothing."""
    key, framed = "https://e.com/", "https://f.com/^0https://e.com"
    shape = {"version": 1, "stores": [
        {"name": "s", "keyPath": None, "autoIncrement": True, "next": 9, "indexes": []},
    ]}  # fmt: skip
    blob = {"$": "blob", "type": "", "v": ""}
    records = {"1": "kept", "2": blob, "3": [blob]}
    parts = {"tabs": b"{}", Area(Kind.DATABASE, key, "d").name: encode(shape)}
    stored: dict[Area, dict[str, Any]] = {
        Area(Kind.RECORDS, key, "d", "s"): records, Area(Kind.RECORDS, key, "d", "old"): {"1": 1},
        Area(Kind.RECORDS, key, "gone", "s"): {"1": 1}, Area(Kind.LOCAL, framed): {"a": "b"},
    }  # fmt: skip
    for area, items in stored.items():
        buckets = Buckets(area.name)
        buckets.replace(items)
        parts |= buckets.parts
    assert left_out(parts) == (
        "local:https://f.com/^0https://e.com", "records:https://e.com/#gone/s", "tabs",
        "db:https://e.com/#d: store 's': 2 records with a Blob",
        "db:https://e.com/#d: store 's': the next number of its key generator",
        "db:https://e.com/#d: store 'old'",
    )  # fmt: skip
    (entry,) = to_storage_state(parts)["origins"]
    assert entry["indexedDB"][0]["stores"][0]["records"] == [{"key": 1, "value": "kept"}]

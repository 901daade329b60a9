"""Values of IndexedDB, from our encoding to the one of Playwright's ``storage_state`` and back. Pure.

Ours is written by ``raypool/browser/page/values.js``, Playwright's by its ``serialize``
(https://github.com/microsoft/playwright/blob/main/packages/isomorphic/utilityScriptSerializers.ts).
Both number what they meet, so that it can be named again. We number every object in the order in
which they are met; Playwright only what holds others, by an ``id``. So what holds nothing, a date that
two fields share for example, is two equal ones in Playwright's form.
"""

import base64
import math
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from raypool.state.dates import date_text, date_value

Fields = Iterable[tuple[str, Any]]
_VIEWS = {
    "i8": ("Int8Array", 1), "ui8": ("Uint8Array", 1), "ui8c": ("Uint8ClampedArray", 1),
    "i16": ("Int16Array", 2), "ui16": ("Uint16Array", 2), "i32": ("Int32Array", 4),
    "ui32": ("Uint32Array", 4), "f32": ("Float32Array", 4), "f64": ("Float64Array", 8),
    "bi64": ("BigInt64Array", 8), "bui64": ("BigUint64Array", 8),
}  # fmt: skip
_SHORT = {kind: (short, size) for short, (kind, size) in _VIEWS.items()}
_NUMBERS = {"NaN", "Infinity", "-Infinity", "-0"}
_NOT_PLAIN = {"$", "__proto__"}


class Unfit(Exception):
    """Playwright has no form for a value; the message is what it is."""


def to_json(value: Any) -> Any:
    """Return a value of ours as JSON that stands for itself.

    Raises:
        Unfit: It is more than that.
    """
    if isinstance(value, list):
        return [to_json(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    if value.get("$", "object") != "object":
        raise Unfit("value that is more than JSON")
    fields = dict(value["v"] if "$" in value else value)
    if "__proto__" in fields:
        raise Unfit("field named __proto__")
    return {name: to_json(inner) for name, inner in fields.items()}


def to_playwright(value: Any) -> Any:
    """Return a value of ours in Playwright's encoding.

    Raises:
        Unfit: It has no form for it, or for something inside.
    """
    return _Writer().write(value)


def from_playwright(encoded: Any) -> Any:
    """Return a value in Playwright's encoding in ours.

    Raises:
        ValueError: It is nothing that Playwright writes.
    """
    try:
        return _Reader().read(encoded)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError("a value in another form than Playwright's") from error


def from_json(value: Any) -> Any:
    """Return JSON, which stands for itself, as a value of ours."""
    if isinstance(value, dict):
        return _fields((name, from_json(inner)) for name, inner in value.items())
    if isinstance(value, list):
        return [from_json(inner) for inner in value]
    return number(value) if isinstance(value, int | float) else value


def number(value: float) -> Any:
    """Return a number of a JSON text as we write it: as JavaScript spells it."""
    if isinstance(value, bool):
        return value
    if not math.isfinite(value):
        bound = "Infinity" if value > 0 else "-Infinity"
        return {"$": "number", "v": "NaN" if math.isnan(value) else bound}
    if value == 0 and math.copysign(1, value) < 0:
        return {"$": "number", "v": "-0"}
    whole = isinstance(value, float) and value.is_integer() and abs(value) < 2**53
    return int(value) if whole else value


def _fields(fields: Fields) -> dict[str, Any]:
    """Return an object; by a list where a JSON object would lose a name or the order of names."""
    pairs = list(fields)
    odd = any(name in _NOT_PLAIN or name.isdecimal() for name, _ in pairs)
    return {"$": "object", "v": [list(pair) for pair in pairs]} if odd else dict(pairs)


class _Writer:
    """From ours to Playwright's; for one value."""

    def __init__(self) -> None:
        self._met: list[Any] = []
        """By our number: what stands for it when it is met again."""
        self._ids = 0

    def write(self, value: Any) -> Any:
        if value is None:
            return {"v": "null"}
        if isinstance(value, list):
            return self._holding("a", value, self.write)
        if not isinstance(value, dict):
            return value
        kind = value.get("$", "object")
        if kind not in _WRITERS:
            raise Unfit(_TOLD.get(kind, kind))
        return _WRITERS[kind](self, value)

    def special(self, value: dict[str, Any]) -> Any:
        return {"v": value.get("v", "undefined")}

    def bigint(self, value: dict[str, Any]) -> Any:
        return {"bi": value["v"]}

    def same(self, value: dict[str, Any]) -> Any:
        return self._met[value["v"]]

    def date(self, value: dict[str, Any]) -> Any:
        if not isinstance(value["v"], int | float):
            raise Unfit("Date that is invalid")
        return self._leaf({"d": date_text(value["v"])})

    def regexp(self, value: dict[str, Any]) -> Any:
        source, flags = value["v"]
        return self._leaf({"r": {"p": source, "f": flags}})

    def error(self, value: dict[str, Any]) -> Any:
        if "cause" in value:
            raise Unfit("Error with a cause")
        named = {"n": value["name"], "m": value.get("message", ""), "s": value.get("stack")}
        return self._leaf({"e": {k: v for k, v in named.items() if v is not None}})

    def buffer(self, value: dict[str, Any]) -> Any:
        if "most" in value:
            raise Unfit("ArrayBuffer that can grow")
        return self._leaf({"ab": {"b": value["v"]}})

    def view(self, value: dict[str, Any]) -> Any:
        """Return a typed array: what it shows of its buffer, as Playwright does."""
        if value["kind"] not in _SHORT:
            raise Unfit(value["kind"])
        short, size = _SHORT[value["kind"]]
        place = len(self._met)
        self._met.append(None)  # it was met before its buffer
        whole = base64.b64decode(self.write(value["v"])["ab"]["b"])
        shown = whole[value["offset"] : value["offset"] + value["length"] * size]
        self._met[place] = {"ta": {"b": base64.b64encode(shown).decode(), "k": short}}
        return self._met[place]

    def object(self, value: dict[str, Any]) -> Any:
        return self._holding("o", value["v"] if "$" in value else value.items(), self._field)

    def map(self, value: dict[str, Any]) -> Any:
        flat = value["v"]
        return self._holding("m", list(zip(flat[::2], flat[1::2], strict=True)), self._entry)

    def set(self, value: dict[str, Any]) -> Any:
        return self._holding("s", value["v"], self.write)

    def _leaf(self, written: Any) -> Any:
        self._met.append(written)
        return written

    def _holding(self, name: str, inner: Iterable[Any], one: Callable[[Any], Any]) -> Any:
        self._ids += 1
        made = {"id": self._ids}
        self._met.append({"ref": self._ids})
        return {name: [one(item) for item in inner], **made}

    def _field(self, field: Sequence[Any]) -> Any:
        if field[0] == "__proto__":
            raise Unfit("field named __proto__")
        return {"k": field[0], "v": self.write(field[1])}

    def _entry(self, entry: Sequence[Any]) -> Any:
        return {"k": self.write(entry[0]), "v": self.write(entry[1])}


_WRITERS: dict[str, Callable[[_Writer, dict[str, Any]], Any]] = {
    "undefined": _Writer.special, "number": _Writer.special, "bigint": _Writer.bigint,
    "same": _Writer.same, "date": _Writer.date, "regexp": _Writer.regexp, "error": _Writer.error,
    "buffer": _Writer.buffer, "view": _Writer.view, "object": _Writer.object, "map": _Writer.map,
    "set": _Writer.set,
}  # fmt: skip
_TOLD = {
    "hole": "array with gaps", "boxed": "boxed value", "blob": "Blob", "file": "File",
    "key": "CryptoKey", "exception": "DOMException",
}  # fmt: skip


class _Reader:
    """From Playwright's to ours; for one value."""

    def __init__(self) -> None:
        self._numbers: dict[int, int] = {}
        """By Playwright's id: our number."""
        self._met = 0

    def read(self, value: Any) -> Any:
        if isinstance(value, int | float):
            return number(value)
        if value is None or isinstance(value, str):
            return value
        kind = next((kind for kind in _READERS if kind in value), None)
        if kind is None:
            raise ValueError("a value of a kind that Playwright does not write")
        return _READERS[kind](self, value)

    def ref(self, value: dict[str, Any]) -> Any:
        return {"$": "same", "v": self._numbers[value["ref"]]}

    def special(self, value: dict[str, Any]) -> Any:
        if value["v"] == "null":
            return None
        if value["v"] == "undefined":
            return {"$": "undefined"}
        if value["v"] not in _NUMBERS:
            raise ValueError("a number that is none")
        return {"$": "number", "v": value["v"]}

    def date(self, value: dict[str, Any]) -> Any:
        return self._leaf({"$": "date", "v": date_value(value["d"])})

    def bigint(self, value: dict[str, Any]) -> Any:
        if not re.fullmatch(r"-?\d+", value["bi"], re.ASCII):
            raise ValueError("a BigInt that is none")
        return {"$": "bigint", "v": value["bi"]}

    def error(self, value: dict[str, Any]) -> Any:
        of = value["e"]
        named = {"name": of["n"], "message": of["m"], "stack": of.get("s")}
        return self._leaf({"$": "error", **{k: v for k, v in named.items() if v is not None}})

    def regexp(self, value: dict[str, Any]) -> Any:
        return self._leaf({"$": "regexp", "v": [value["r"]["p"], value["r"]["f"]]})

    def array(self, value: dict[str, Any]) -> Any:
        self._holding(value)
        return [self.read(inner) for inner in value["a"]]

    def object(self, value: dict[str, Any]) -> Any:
        self._holding(value)
        return _fields((field["k"], self.read(field["v"])) for field in value["o"])

    def map(self, value: dict[str, Any]) -> Any:
        self._holding(value)
        flat = [self.read(inner) for entry in value["m"] for inner in (entry["k"], entry["v"])]
        return {"$": "map", "v": flat}

    def set(self, value: dict[str, Any]) -> Any:
        self._holding(value)
        return {"$": "set", "v": [self.read(inner) for inner in value["s"]]}

    def view(self, value: dict[str, Any]) -> Any:
        kind, size = _VIEWS[value["ta"]["k"]]
        length, odd = divmod(len(base64.b64decode(value["ta"]["b"], validate=True)), size)
        if odd:
            raise ValueError(f"{kind} with half an item")
        self._met += 1  # it is met before its buffer
        buffer = self._leaf({"$": "buffer", "v": value["ta"]["b"]})
        return {"$": "view", "kind": kind, "offset": 0, "length": length, "v": buffer}

    def buffer(self, value: dict[str, Any]) -> Any:
        base64.b64decode(value["ab"]["b"], validate=True)
        return self._leaf({"$": "buffer", "v": value["ab"]["b"]})

    def _leaf(self, read: Any) -> Any:
        self._met += 1
        return read

    def _holding(self, value: dict[str, Any]) -> None:
        self._numbers[value["id"]] = self._met
        self._met += 1


_READERS: dict[str, Callable[[_Reader, dict[str, Any]], Any]] = {
    "ref": _Reader.ref, "v": _Reader.special, "d": _Reader.date, "bi": _Reader.bigint,
    "e": _Reader.error, "r": _Reader.regexp, "a": _Reader.array, "o": _Reader.object,
    "m": _Reader.map, "s": _Reader.set, "ta": _Reader.view, "ab": _Reader.buffer,
}  # fmt: skip

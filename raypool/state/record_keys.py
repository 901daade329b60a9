"""Keys of records of IndexedDB, in our encoding of values: which they are, and in what order. Pure.

https://w3c.github.io/IndexedDB/#key-construct
"""

import base64
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

_BOUNDS = {"Infinity": math.inf, "-Infinity": -math.inf, "-0": 0}
_GENERATED_MOST = 2**53
_NO_OBJECTS = {"same", "undefined", "number", "bigint", "hole"}


def as_key(value: Any, met: Sequence[Any] = ()) -> Any:
    """Return the key that a value is; a view becomes the buffer that it shows.

    Args:
        value: In our encoding.
        met: All objects of the record that it is part of, by number.

    Raises:
        ValueError: It can be none.
    """
    value = _itself(value, met)
    if isinstance(value, list):
        return [as_key(item, met) for item in value]
    kind = _kind(value)
    if kind == "view":
        return {"$": "buffer", "v": value["v"]["v"]}
    dated = kind == "date" and isinstance(value["v"], int | float)
    bound = kind == "number" and value["v"] in _BOUNDS
    plain = isinstance(value, str | int | float) and not isinstance(value, bool)
    if not (plain or dated or bound or kind == "buffer"):
        raise ValueError("a record whose key is none")
    return value


def key_in(record: Any, path: str | list[str]) -> Any:
    """Return the key of a record in a store with this key path.

    Raises:
        ValueError: There is none.
    """
    met = list(_objects(record))
    if isinstance(path, list):
        return [as_key(_at(record, inner, met), met) for inner in path]
    return as_key(_at(record, path, met), met)


def key_order(key: Any) -> tuple[Any, ...]:
    """Return what sorts keys as IndexedDB does: numbers, dates, text, bytes, lists."""
    if isinstance(key, list):
        return 4, [key_order(item) for item in key]
    match _kind(key):
        case "date":
            return 1, key["v"]
        case "buffer":
            return 3, base64.b64decode(key["v"])
        case "number":
            return 0, _BOUNDS[key["v"]]
    if isinstance(key, str):
        return 2, _utf16(key)
    return 0, key


def generated_after(keys: Iterable[Any]) -> int:
    """Return what the key generator of a store gives next when it held nothing but these keys."""
    numbers = [key for key in keys if isinstance(key, int | float)]
    highest = max(map(math.floor, numbers), default=0)
    return min(max(highest, 0), _GENERATED_MOST) + 1


def _at(value: Any, path: str, met: Sequence[Any]) -> Any:
    for name in path.split(".") if path else ():
        value = _field(_itself(value, met), name)
    return value


def _field(value: Any, name: str) -> Any:
    if isinstance(value, str):
        return len(_utf16(value)) // 2 if name == "length" else None
    if isinstance(value, list):
        return len(value) if name == "length" else None
    if _kind(value) == "object":
        return dict(value["v"]).get(name)
    return value.get(name) if isinstance(value, dict) and "$" not in value else None


def _utf16(text: str) -> bytes:
    return text.encode("utf-16-be", "surrogatepass")


def _itself(value: Any, met: Sequence[Any]) -> Any:
    return met[value["v"]] if _kind(value) == "same" else value


def _kind(value: Any) -> Any:
    return value.get("$") if isinstance(value, dict) else None


def _objects(value: Any) -> Iterator[Any]:
    """Yield the objects of a value in the order of their numbers."""
    kind = _kind(value)
    if not isinstance(value, dict | list) or kind in _NO_OBJECTS:
        return
    yield value
    for item in _inside(value, kind):
        yield from _objects(item)


def _inside(value: Any, kind: str | None) -> Iterable[Any]:
    if isinstance(value, list):
        return value
    match kind:
        case None:
            return list(value.values())
        case "object":
            return [item for _, item in value["v"]]
        case "map" | "set":
            return list(value["v"])
        case "view":
            return [value["v"]]
    return []

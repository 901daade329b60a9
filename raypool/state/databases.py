"""Databases of IndexedDB, from parts to Playwright's ``storage_state`` and back. Pure."""

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

from raypool.state.areas import Area, Kind
from raypool.state.buckets import Buckets
from raypool.state.form import encode
from raypool.state.record_keys import as_key, generated_after, key_in, key_order
from raypool.state.values import Unfit, from_json, from_playwright, to_json, to_playwright

Records = Mapping[str, Any]
"""By the JSON of their key: both in our encoding."""


def to_playwright_database(
    name: str, shape: Mapping[str, Any], records: Mapping[str, Records]
) -> tuple[dict[str, Any], list[str]]:
    """Return a database in Playwright's form, and what it has no form for.

    Args:
        name: Of the database.
        shape: Its version and stores.
        records: By the name of their store.
    """
    stores, lost = [], []
    for store in shape["stores"]:
        shown, without = _store(store, records.get(store["name"], {}))
        stores.append(shown)
        lost += [f"store {store['name']!r}: {what}" for what in without]
    lost += [f"store {name!r}" for name in sorted(records.keys() - {s["name"] for s in stores})]
    return {"name": name, "version": shape["version"], "stores": stores}, lost


def _store(store: Mapping[str, Any], records: Records) -> tuple[dict[str, Any], list[str]]:
    shown, unfit = [], Counter[str]()
    keys = {text: json.loads(text) for text in records}
    for text in sorted(keys, key=lambda text: key_order(keys[text])):
        try:
            shown.append(_record(store["keyPath"], keys[text], records[text]))
        except Unfit as error:
            unfit[str(error)] += 1
        except RecursionError:
            unfit["value nested too deeply"] += 1
    lost = [f"{count} records with a {what}" for what, count in sorted(unfit.items())]
    if (store.get("next") or 0) > generated_after(keys.values()):
        lost.append("the next number of its key generator")
    return {
        "name": store["name"],
        "autoIncrement": store["autoIncrement"],
        **_path_shown(store["keyPath"]),
        "records": shown,
        "indexes": [_index(index) for index in store["indexes"]],
    }, lost


def _index(index: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: index[name] for name in ("name", "multiEntry", "unique")}
    return kept | _path_shown(index["keyPath"])


def _path_shown(path: str | list[str] | None) -> dict[str, Any]:
    if path is None:
        return {}
    return {"keyPath": path} if isinstance(path, str) else {"keyPathArray": path}


def _record(path: str | list[str] | None, key: Any, value: Any) -> dict[str, Any]:
    return (_named("key", key) if path is None else {}) | _named("value", value)


def _named(name: str, value: Any) -> dict[str, Any]:
    try:
        return {name: to_json(value)}
    except Unfit:
        return {f"{name}Encoded": to_playwright(value)}


def from_playwright_database(key: str, database: Mapping[str, Any]) -> dict[str, bytes]:
    """Return the parts of a database in Playwright's form.

    Args:
        key: The storage key that it belongs to.
        database: One of ``indexedDB``.

    Raises:
        ValueError: It is of another shape; the message says what does not fit.
    """
    name, version = database.get("name"), database.get("version")
    if not isinstance(name, str) or type(version) is not int or version < 1:
        raise ValueError("a database needs a name and a version")
    stores: list[dict[str, Any]] = []
    parts: dict[str, bytes] = {}
    for store in _listed(database, "stores"):
        try:
            records = _records(store)
            stores.append(_store_shape(store, records))
        except ValueError as error:
            raise ValueError(f"store {str(store.get('name'))[:80]!r}: {error}") from error
        area = Area(Kind.RECORDS, key, name, store["name"])
        buckets = Buckets(area.name)
        buckets.replace({encode(k).decode(): v for k, v in records})
        parts |= buckets.parts
    shape = {"version": version, "stores": stores}
    return {Area(Kind.DATABASE, key, name).name: encode(shape)} | parts


def _records(store: Mapping[str, Any]) -> list[tuple[Any, Any]]:
    path = _path(store)
    found = []
    for record in _listed(store, "records"):
        value = _read(record, "value")
        key = as_key(_read(record, "key")) if path is None else key_in(value, path)
        found.append((key, value))
    return found


def _read(record: Mapping[str, Any], name: str) -> Any:
    if not {name, f"{name}Encoded"} & record.keys():
        raise ValueError(f"a record without its {name}")
    return from_json(record[name]) if name in record else from_playwright(record[f"{name}Encoded"])


def _store_shape(store: Mapping[str, Any], records: list[tuple[Any, Any]]) -> dict[str, Any]:
    indexes = [
        {
            "name": _text(index, "name"),
            "keyPath": _path(index),
            "unique": index.get("unique") is True,
            "multiEntry": index.get("multiEntry") is True,
        }
        for index in _listed(store, "indexes")
    ]
    shape = {
        "name": _text(store, "name"),
        "keyPath": _path(store),
        "autoIncrement": store.get("autoIncrement") is True,
        "indexes": indexes,
    }
    following = generated_after(key for key, _ in records)
    return shape | ({"next": following} if shape["autoIncrement"] else {})


def _path(of: Mapping[str, Any]) -> str | list[str] | None:
    path = of.get("keyPathArray", of.get("keyPath"))
    if path is None or isinstance(path, str):
        return path
    if isinstance(path, list) and all(isinstance(inner, str) for inner in path):
        return path
    raise ValueError("a key path that is none")


def _listed(of: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    inner = of.get(name, [])
    if isinstance(inner, list) and all(isinstance(item, dict) for item in inner):
        return inner
    raise ValueError(f"{name} must be a list of objects")


def _text(of: Mapping[str, Any], name: str) -> str:
    text = of.get(name)
    if isinstance(text, str):
        return text
    raise ValueError(f"its {name} must be text")

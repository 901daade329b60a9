"""A saved state as Playwright's own ``storage_state``: cookies, storage of origins, passkeys. Pure.

What it has no place for is left out: tabs, sessionStorage, the storage of frames under other sites,
values that its encoding lacks, and a cookie's priority and source.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from raypool import state
from raypool.errors import ErrorCodes, create_error
from raypool.state.areas import Area, Kind, by_area
from raypool.state.buckets import Buckets
from raypool.state.databases import Records, to_playwright_database
from raypool.state.files import to_playwright_files

_SAME = ("name", "value", "domain", "path", "expires", "httpOnly", "secure", "sameSite")
Grouped = Mapping[Area, Mapping[str, bytes]]


def to_storage_state(parts: Mapping[str, bytes]) -> dict[str, Any]:
    """Return ``{"cookies": [...], "origins": [...]}``, which ``new_context(storage_state=…)`` takes.

    Raises:
        CheckpointCorrupt: A part is not what raypool writes.
    """
    saved = state.decode(state.COOKIES, parts[state.COOKIES]) if state.COOKIES in parts else []
    shown = {
        "cookies": [_cookie(cookie) for cookie in saved],
        "origins": [entry for entry, _ in _origins(by_area(parts))],
    }
    if state.CREDENTIALS in parts:
        shown["credentials"] = state.decode(state.CREDENTIALS, parts[state.CREDENTIALS])
    return shown


def left_out(parts: Mapping[str, bytes]) -> tuple[str, ...]:
    """Return the names of the areas and parts that ``storage_state`` has no place for.

    The name of a database of which only something is left out is followed by what that is.

    Raises:
        CheckpointCorrupt: A part is not what raypool writes.
    """
    areas = by_area(parts)
    whole = {part for part in parts if Area.of(part) is None} - {state.COOKIES, state.CREDENTIALS}
    foreign = {area.name for area in areas if not area.first_party}
    inside = [what for _, lost in _origins(areas) for what in lost]
    return (*sorted(whole | foreign | _orphans(areas)), *inside)


def from_storage_state(text: str) -> dict[str, bytes]:
    """Return the parts for the text of a ``storage_state`` file.

    Raises:
        ConfigurationError: It is of another shape.
    """
    parts = state.parts_from_json(None, text)
    return {state.COOKIES: state.encode([])} | parts


def is_storage_state(text: str) -> bool:
    """Tell whether a text looks like a ``storage_state`` file."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and all(
        isinstance(value.get(name), list) for name in ("cookies", "origins")
    )


def _orphans(areas: Grouped) -> set[str]:
    """Return the names of records whose database is not there."""
    databases = {(area.key, area.database) for area in areas if area.kind is Kind.DATABASE}
    records = [area for area in areas if area.kind is Kind.RECORDS]
    return {area.name for area in records if (area.key, area.database) not in databases}


def _origins(areas: Grouped) -> Iterator[tuple[dict[str, Any], list[str]]]:
    keys: dict[str, dict[Area, Mapping[str, bytes]]] = {}
    for area in sorted(areas):
        if area.first_party:
            keys.setdefault(area.key, {})[area] = areas[area]
    return (_origin(keys[key]) for key in sorted(keys))


def _origin(areas: Grouped) -> tuple[dict[str, Any], list[str]]:
    """Return the storage of one origin, and what its databases lose."""
    entry: dict[str, Any] = {
        "origin": next(iter(areas)).origin,
        "localStorage": [],
        "indexedDB": [],
    }
    lost = []
    for area in areas:
        if area.kind is Kind.LOCAL:
            items = _items(area, areas[area])
            entry["localStorage"] = [{"name": n, "value": items[n]} for n in sorted(items)]
        elif area.kind is Kind.FILES:
            entry["opfs"] = to_playwright_files(_items(area, areas[area]))
        elif area.kind is Kind.DATABASE:
            database, without = _database(area, areas)
            entry["indexedDB"].append(database)
            lost += [f"{area.name}: {what}" for what in without]
    return entry, lost


def _database(area: Area, areas: Grouped) -> tuple[dict[str, Any], list[str]]:
    (part,) = areas[area]
    records: dict[str, Records] = {
        other.store: _items(other, areas[other])
        for other in areas
        if other.kind is Kind.RECORDS and other.database == area.database
    }
    try:
        shape = state.decode(part, areas[area][part])
        return to_playwright_database(area.database, shape, records)
    except (AttributeError, KeyError, IndexError, TypeError, ValueError) as error:
        raise create_error(
            ErrorCodes.STORAGE_CORRUPT, f"part {part!r} or its records are not what raypool writes"
        ) from error


def _items(area: Area, parts: Mapping[str, bytes]) -> dict[str, Any]:
    return dict(Buckets.load(area.name, parts).items())


def _cookie(cookie: Mapping[str, Any]) -> dict[str, Any]:
    """Return a cookie of CDP as Playwright shows it (``doGetCookies`` of its ``crBrowser.ts``)."""
    url = urlsplit(str(cookie.get("url", "")))
    defaults = {
        "domain": url.hostname or "",
        "path": "/",
        "expires": -1,
        "httpOnly": False,
        "secure": url.scheme == "https",
        "sameSite": "Lax",
    }
    shown = {name: cookie.get(name, defaults.get(name)) for name in _SAME}
    if partition := cookie.get("partitionKey"):
        shown["partitionKey"] = partition["topLevelSite"]
        shown["_crHasCrossSiteAncestor"] = partition["hasCrossSiteAncestor"]
    return shown

"""Parts of states that browsers are started from."""

import json
from collections.abc import Mapping
from typing import Any

from raypool import state
from raypool.state import Area, Buckets, Kind


def local(origin: str, **items: str) -> dict[str, bytes]:
    """Return the parts of an origin's localStorage."""
    return _spread(Area(Kind.LOCAL, state.key_of(origin)), items)


def database(origin: str, *tokens: str) -> dict[str, bytes]:
    """Return the parts of an origin's database."""
    key = state.key_of(origin)
    store = {"name": "tokens", "keyPath": None, "autoIncrement": False, "indexes": []}
    records = {json.dumps(number): token for number, token in enumerate(tokens)}
    shape = state.encode({"version": 4, "stores": [store]})
    return {
        Area(Kind.DATABASE, key, "db").name: shape,
        **_spread(Area(Kind.RECORDS, key, "db", "tokens"), records),
    }


def _spread(area: Area, items: Mapping[str, Any]) -> dict[str, bytes]:
    buckets = Buckets(area.name)
    buckets.replace(items)
    return buckets.parts


def everything(origin: str) -> dict[str, bytes]:
    """Return parts with some of all that is seeded."""
    return local(origin, a="1") | database(origin, "x", "y")


def tabs(*urls: str) -> dict[str, bytes]:
    """Return the part of these tabs, nothing in them."""
    made = [{"url": url, "scroll": [0, 0], "sessionStorage": {}} for url in urls]
    return {state.TABS: state.encode({"active": 0, "tabs": made})}

"""A saved state as Playwright's own ``storage_state``: cookies and the storage of origins. Pure.

What it has no place for is left out: tabs, sessionStorage, and a cookie's priority and source.
"""

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from raypool import state

_SAME = ("name", "value", "domain", "path", "expires", "httpOnly", "secure", "sameSite")


def to_storage_state(parts: Mapping[str, bytes]) -> dict[str, Any]:
    """Return ``{"cookies": [...], "origins": [...]}``, which ``new_context(storage_state=…)`` takes.

    Raises:
        CheckpointCorrupt: A part is not JSON.
    """
    saved = state.decode(state.COOKIES, parts[state.COOKIES]) if state.COOKIES in parts else []
    return {"cookies": [_cookie(cookie) for cookie in saved], "origins": state.origins(parts)}


def left_out(parts: Mapping[str, bytes]) -> tuple[str, ...]:
    """Return the names of the parts that ``storage_state`` has no place for."""
    return tuple(
        name
        for name in sorted(parts)
        if name != state.COOKIES and not name.startswith(state.STORAGE)
    )


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

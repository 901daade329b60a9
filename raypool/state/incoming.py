"""State that others pass as JSON text, as the parts of a checkpoint. Pure."""

import contextlib
import json
import math
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from raypool.errors import ErrorCodes, create_error
from raypool.state.areas import COOKIES, TABS
from raypool.state.form import encode

_DEFAULT_PORTS = {"http": 80, "https": 443}
_SAME_SITE = {"no_restriction": "None", "none": "None", "lax": "Lax", "strict": "Strict"}


def parts_from_json(cookies_json: str | None, storage_json: str | None) -> dict[str, bytes]:
    """Return the parts for what other services pass as JSON text.

    Args:
        cookies_json: List of cookies, as Playwright or Puppeteer give them.
        storage_json: ``{"origins": [...]}`` (Playwright's ``storage_state``, whose cookies count
            when *cookies_json* is not given) or
            ``{"origin": "https://…", "localStorage": {...}, "sessionStorage": {...}}``.

    Raises:
        ConfigurationError: Not JSON, or of another shape; the message says which fits.
    """
    parts: dict[str, bytes] = {}
    if storage_json is not None:
        storage = _loaded(storage_json, "storage_json", dict)
        parts |= _storage_parts(storage)
        if isinstance(storage.get("cookies"), list):
            parts[COOKIES] = _cookies(storage["cookies"], "storage_json")
    if cookies_json is not None:
        parts[COOKIES] = _cookies(_loaded(cookies_json, "cookies_json", list), "cookies_json")
    return parts


def _loaded(text: str, name: str, kind: type) -> Any:
    try:
        value = json.loads(text)
    except (TypeError, ValueError) as error:
        raise _refused(name, "it is not JSON") from error
    if not isinstance(value, kind):
        raise _refused(name, f"it must be a JSON {'list' if kind is list else 'object'}")
    return value


def _refused(name: str, why: str) -> Exception:
    return create_error(ErrorCodes.CONFIG_INVALID_ARGUMENT, f"{name}: {why}")


def _cookies(cookies: list[Any], name: str) -> bytes:
    return encode([_cdp_cookie(cookie, name) for cookie in cookies])


def _cdp_cookie(cookie: Any, name: str) -> dict[str, Any]:
    texts = [cookie.get("name"), cookie.get("value")] if isinstance(cookie, dict) else [None]
    if not all(isinstance(text, str) for text in texts):
        raise _refused(name, "each cookie must be an object with name, value and domain or url")
    kept = {
        k: cookie[k]
        for k in ("name", "value", "domain", "path", "secure", "httpOnly", "url")
        if k in cookie
    }
    if not (kept.get("domain") or kept.get("url")):
        raise _refused(name, f"cookie {cookie['name']!r} needs a domain or a url")
    expires = cookie.get("expires", cookie.get("expirationDate", -1))
    # -1 is a session cookie; 0 would be 1970, a cookie that is already gone.
    dated = isinstance(expires, int | float) and 0 < expires < math.inf
    kept["expires"] = expires if dated else -1
    same_site = _SAME_SITE.get(str(cookie.get("sameSite") or "").lower())
    return kept | ({"sameSite": same_site} if same_site else {})


def _storage_parts(storage: dict[str, Any]) -> dict[str, bytes]:
    if isinstance(storage.get("origins"), list):
        return {storage_part(_origin(entry)): _origin_part(entry) for entry in storage["origins"]}
    origin = _origin(storage)
    items = [{"name": k, "value": v} for k, v in _items(storage, "localStorage").items()]
    parts = {storage_part(origin): encode({"localStorage": items, "indexedDB": []})}
    if session := _items(storage, "sessionStorage"):
        tab = {"url": origin, "scroll": [0, 0], "sessionStorage": {origin: session}}
        parts[TABS] = encode({"active": 0, "tabs": [tab]})
    return parts


def _origin_part(entry: dict[str, Any]) -> bytes:
    kept = {"localStorage": [], "indexedDB": []} | {k: v for k, v in entry.items() if k != "origin"}
    for name in ("localStorage", "indexedDB"):
        if not isinstance(kept[name], list):
            raise _refused("storage_json", f"inside origins, {name} must be a list")
    return encode(kept)


def _items(storage: dict[str, Any], area: str) -> dict[str, str]:
    """Return an area as a browser keeps it: names and values are text."""
    items = storage.get(area) or {}
    if not isinstance(items, dict):
        raise _refused("storage_json", f'{area} must be an object like {{"name": "value"}}')
    return {k: v if isinstance(v, str) else json.dumps(v) for k, v in items.items()}


def _origin(entry: Any) -> str:
    """Return the origin as browsers spell it: lower case, no default port, nothing behind it."""
    text = entry.get("origin") if isinstance(entry, dict) else None
    with contextlib.suppress(ValueError):  # a port or an address that is none
        split = urlsplit(text) if isinstance(text, str) else None
        if split and split.scheme in _DEFAULT_PORTS and split.hostname:
            host = f"[{split.hostname}]" if ":" in split.hostname else split.hostname
            port = "" if split.port in {None, _DEFAULT_PORTS[split.scheme]} else f":{split.port}"
            return f"{split.scheme}://{host}{port}"
    raise _refused(
        "storage_json",
        'storage belongs to an origin: pass {"origin": "https://example.com", "localStorage": {…}} '
        'or Playwright\'s {"origins": [{"origin": …, "localStorage": […]}]}',
    )

"""State that others pass as JSON text, as the parts of a checkpoint. Pure."""

import contextlib
import json
import math
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from raypool.errors import ErrorCodes, create_error
from raypool.state.areas import COOKIES, CREDENTIALS, TABS, Area, Kind, key_of
from raypool.state.buckets import Buckets
from raypool.state.databases import from_playwright_database
from raypool.state.files import from_playwright_files
from raypool.state.form import encode

_DEFAULT_PORTS = {"http": 80, "https": 443}
_PASSKEY = ("id", "rpId", "userHandle", "privateKey", "publicKey")
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
        try:
            parts |= _storage_parts(storage)
        except RecursionError as error:
            raise _refused("storage_json", "it is nested too deeply") from error
        if isinstance(storage.get("cookies"), list):
            parts[COOKIES] = _cookies(storage["cookies"], "storage_json")
        if storage.get("credentials"):
            parts[CREDENTIALS] = _passkeys(storage["credentials"])
    if cookies_json is not None:
        parts[COOKIES] = _cookies(_loaded(cookies_json, "cookies_json", list), "cookies_json")
    return parts


def _loaded(text: str, name: str, kind: type) -> Any:
    try:
        value = json.loads(text)
    except (TypeError, ValueError) as error:
        raise _refused(name, "it is not JSON") from error
    except RecursionError as error:
        raise _refused(name, "it is nested too deeply") from error
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
    return kept | _partition(cookie) | ({"sameSite": same_site} if same_site else {})


def _passkeys(passkeys: Any) -> bytes:
    if not isinstance(passkeys, list):
        raise _refused("storage_json", "its credentials must be a list")
    return encode(sorted(map(_passkey, passkeys), key=lambda passkey: passkey["id"]))


def _passkey(passkey: Any) -> dict[str, Any]:
    """Return a virtual passkey with the fields that Playwright gives it."""
    given = passkey if isinstance(passkey, dict) else {}
    kept = {name: given.get(name) for name in _PASSKEY} | {"signCount": given.get("signCount", 0)}
    if not (all(isinstance(kept[n], str) for n in _PASSKEY) and type(kept["signCount"]) is int):
        raise _refused(
            "storage_json", f"each of its credentials needs {', '.join(_PASSKEY)} as text"
        )
    return kept


def _partition(cookie: Mapping[str, Any]) -> dict[str, Any]:
    """Return the partition of a cookie as CDP spells it, from CDP's or Playwright's spelling."""
    key = cookie.get("partitionKey")
    if isinstance(key, str) and key:
        ancestor = cookie.get("_crHasCrossSiteAncestor") is True
        return {"partitionKey": {"topLevelSite": key, "hasCrossSiteAncestor": ancestor}}
    fits = isinstance(key, dict) and key.keys() == {"topLevelSite", "hasCrossSiteAncestor"}
    return {"partitionKey": key} if fits else {}


def _storage_parts(storage: dict[str, Any]) -> dict[str, bytes]:
    if isinstance(storage.get("origins"), list):
        entries = {key_of(_origin(entry)): entry for entry in storage["origins"]}
        return {
            n: d for key, entry in entries.items() for n, d in _origin_parts(key, entry).items()
        }
    key = key_of(_origin(storage))
    parts = _local_part(key, _items(storage, "localStorage"))
    if session := _items(storage, "sessionStorage"):
        tab = {"url": key, "scroll": [0, 0], "sessionStorage": {key: session}}
        parts[TABS] = encode({"active": 0, "tabs": [tab]})
    return parts


def _origin_parts(key: str, entry: dict[str, Any]) -> dict[str, bytes]:
    lists = {name: entry.get(name) or [] for name in ("localStorage", "indexedDB", "opfs")}
    for name, inner in lists.items():
        if not (isinstance(inner, list) and all(isinstance(item, dict) for item in inner)):
            raise _refused("storage_json", f"inside origins, {name} must be a list of objects")
    items = {item.get("name"): item.get("value") for item in lists["localStorage"]}
    if not all(isinstance(text, str) for item in items.items() for text in item):
        raise _refused(
            "storage_json", "each item of localStorage needs a name and a value, as text"
        )
    parts = _local_part(key, items)
    try:
        for database in lists["indexedDB"]:
            parts |= from_playwright_database(key, database)
        files = Buckets(Area(Kind.FILES, key).name)
        files.replace(from_playwright_files(lists["opfs"]))
    except ValueError as error:
        raise _refused("storage_json", f"inside origins, {entry['origin']}: {error}") from error
    return parts | files.parts


def _local_part(key: str, items: Mapping[str, str]) -> dict[str, bytes]:
    """Return localStorage; an empty one too is a part, which says that there is nothing."""
    area = Area(Kind.LOCAL, key)
    buckets = Buckets(area.name)
    buckets.replace(items)
    return buckets.parts or {f"{area.name}#0/1": b"{}"}


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

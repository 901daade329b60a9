"""The shape of a browser's saved state: named parts, each JSON, each on its own.

``cookies``            list of raw CDP cookies (https://chromedevtools.github.io/devtools-protocol, Network.Cookie)
``storage:<origin>``   ``{"localStorage": [{name, value}], "indexedDB": [...]}`` in Playwright's form
``tabs``               ``{"active": index, "tabs": [{url, scroll, sessionStorage: {origin: {name: value}}}]}``

One part is one unit of change, of failure and of encryption: a site that cannot be saved costs its
own part and nothing else.
"""

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from raypool.errors import ErrorCodes, create_error

COOKIES = "cookies"
TABS = "tabs"
STORAGE = "storage:"

_SAME_SITE = {"no_restriction": "None", "none": "None", "lax": "Lax", "strict": "Strict"}


def encode(payload: object) -> bytes:
    """Return the canonical bytes of a part: equal payloads give equal bytes."""
    return json.dumps(payload, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def decode(part: str, data: bytes) -> Any:
    """Return the payload of a part.

    Raises:
        CheckpointCorrupt: It is not JSON.
    """
    try:
        return json.loads(data)
    except ValueError as error:
        raise create_error(ErrorCodes.STORAGE_CORRUPT, f"part {part!r} is not JSON") from error


def storage_part(origin: str) -> str:
    """Return the name of the part that holds an origin's storage."""
    return f"{STORAGE}{origin}"


def origins(parts: Mapping[str, bytes]) -> list[dict[str, Any]]:
    """Return the storage parts as the ``origins`` of a Playwright ``storage_state``."""
    return [
        {"origin": name.removeprefix(STORAGE), **decode(name, data)}
        for name, data in sorted(parts.items())
        if name.startswith(STORAGE)
    ]


def parts_from_json(cookies_json: str | None, storage_json: str | None) -> dict[str, bytes]:
    """Return the parts for what other services pass as JSON text.

    Args:
        cookies_json: List of cookies, as Playwright or Puppeteer give them.
        storage_json: ``{"origins": [...]}`` (Playwright's ``storage_state``) or
            ``{"origin": "https://…", "localStorage": {...}, "sessionStorage": {...}}``.

    Raises:
        ConfigurationError: Not JSON, or of another shape; the message says which fits.
    """
    parts: dict[str, bytes] = {}
    if cookies_json is not None:
        parts[COOKIES] = encode(
            [_cdp_cookie(c) for c in _loaded(cookies_json, "cookies_json", list)]
        )
    if storage_json is not None:
        parts |= _storage_parts(_loaded(storage_json, "storage_json", dict))
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


def _cdp_cookie(cookie: Any) -> dict[str, Any]:
    if not isinstance(cookie, dict) or not isinstance(cookie.get("name"), str):
        raise _refused(
            "cookies_json", "each cookie must be an object with name, value and domain or url"
        )
    kept = {
        k: cookie[k]
        for k in ("name", "value", "domain", "path", "secure", "httpOnly", "url")
        if k in cookie
    }
    if not (kept.get("domain") or kept.get("url")):
        raise _refused("cookies_json", f"cookie {cookie['name']!r} needs a domain or a url")
    expires = cookie.get("expires", cookie.get("expirationDate", -1))
    # -1 is a session cookie; 0 would be 1970, a cookie that is already gone.
    kept["expires"] = expires if isinstance(expires, int | float) and expires > 0 else -1
    same_site = _SAME_SITE.get(str(cookie.get("sameSite", "")).lower())
    return kept | ({"sameSite": same_site} if same_site else {})


def _storage_parts(storage: dict[str, Any]) -> dict[str, bytes]:
    if isinstance(storage.get("origins"), list):
        return {
            storage_part(_origin(entry)): encode({k: v for k, v in entry.items() if k != "origin"})
            for entry in storage["origins"]
        }
    origin = _origin(storage)
    local = storage.get("localStorage") or {}
    session = storage.get("sessionStorage") or {}
    items = [{"name": str(k), "value": str(v)} for k, v in local.items()]
    parts = {storage_part(origin): encode({"localStorage": items, "indexedDB": []})}
    if session:
        tab = {"url": origin, "scroll": [0, 0], "sessionStorage": {origin: session}}
        parts[TABS] = encode({"active": 0, "tabs": [tab]})
    return parts


def _origin(entry: Any) -> str:
    text = entry.get("origin") if isinstance(entry, dict) else None
    split = urlsplit(text) if isinstance(text, str) else None
    if split and split.scheme in {"http", "https"} and split.netloc:
        return f"{split.scheme}://{split.netloc}"
    raise _refused(
        "storage_json",
        'storage belongs to an origin: pass {"origin": "https://example.com", "localStorage": {…}} '
        'or Playwright\'s {"origins": [{"origin": …, "localStorage": […]}]}',
    )

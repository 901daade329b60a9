"""Whether two states hold the same sign-in, as far as that can be seen from outside. Pure."""

from collections.abc import Mapping
from typing import Any

from raypool.state.areas import COOKIES, PERMISSIONS, TABS
from raypool.state.form import decode

_ASIDE = frozenset({COOKIES, TABS, PERMISSIONS})


def same_sign_in(before: Mapping[str, bytes], after: Mapping[str, bytes]) -> bool:
    """Tell whether nothing changed in which a site may keep who is signed in.

    That is the value of a cookie, any storage, and what tabs have for themselves: some sites keep
    their token there. Where tabs are and until when cookies live does not count.
    """
    return _storage(before) == _storage(after) and all(
        before.get(part) == after.get(part) or read(before) == read(after)
        for part, read in ((COOKIES, _cookies), (TABS, _tabs))
    )


def _storage(parts: Mapping[str, bytes]) -> dict[str, bytes]:
    return {name: data for name, data in parts.items() if name not in _ASIDE}


def _cookies(parts: Mapping[str, bytes]) -> set[tuple[str, ...]]:
    return {
        tuple(str(cookie.get(field, "")) for field in ("domain", "path", "name", "value"))
        for cookie in (decode(COOKIES, parts[COOKIES]) if COOKIES in parts else [])
    }


def _tabs(parts: Mapping[str, bytes]) -> list[Any]:
    tabs = decode(TABS, parts[TABS]).get("tabs", []) if TABS in parts else []
    return [storage for tab in tabs if (storage := tab.get("sessionStorage"))]

"""Names of the parts of a saved state: which storage of which storage key a part belongs to. Pure.

``cookies``, ``tabs``, ``credentials``, ``permissions``
    One part each, of the whole browser.
``local:<key>#<i>/<n>``
    localStorage of a storage key; part *i* of *n*: ``{name: value}``.
``db:<key>#<database>``
    A database of IndexedDB:
    ``{"version": …, "stores": [{name, keyPath, autoIncrement, next, indexes}]}``.
``records:<key>#<database>/<store>#<i>/<n>``
    Records of one of its stores: ``{JSON of the key: value}``, both as the page's codec writes them.
``files:<key>#<i>/<n>``
    Files of the origin private file system: ``{path: base64}``; folders that are empty end with ``/``.

A storage key is an origin with a slash, ``https://e.com/``. The browser divides the storage of frames
under other sites; their keys go on with ``^0`` and the top site, ``https://f.com/^0https://e.com``
(https://source.chromium.org/chromium/chromium/src/+/main:third_party/blink/public/common/storage_key/storage_key.h).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Self, TypeVar
from urllib.parse import quote, unquote

T = TypeVar("T")
COOKIES = "cookies"
TABS = "tabs"
CREDENTIALS = "credentials"
PERMISSIONS = "permissions"

_READABLE = ":/^@[]!$&'()*+,;="
"""Stays as it is in a name: people read them. Not ``#``, ``%``, and nothing outside of ASCII."""


class Kind(StrEnum):
    """What a storage key can hold."""

    LOCAL = "local"
    DATABASE = "db"
    RECORDS = "records"
    FILES = "files"


_KINDS = frozenset(kind.value for kind in Kind)
_FORMS = {
    Kind.LOCAL: re.compile(r"([^#]*)#\d+/\d+"),
    Kind.DATABASE: re.compile(r"([^#]*)#([^#]*)"),
    Kind.RECORDS: re.compile(r"([^#]*)#([^#/]*)/([^#/]*)#\d+/\d+"),
    Kind.FILES: re.compile(r"([^#]*)#\d+/\d+"),
}


@dataclass(frozen=True, order=True)
class Area:
    """One storage: what a part, or a group of parts that share its items, belongs to."""

    kind: Kind
    key: str
    """The storage key."""
    database: str = ""
    store: str = ""

    @property
    def name(self) -> str:
        """The part's name; of areas that are spread over parts what comes before ``#<i>/<n>``."""
        base = f"{self.kind}:{_quoted(self.key)}"
        if self.kind is Kind.DATABASE:
            return f"{base}#{_quoted(self.database)}"
        if self.kind is Kind.RECORDS:
            inside = f"{_quoted(self.database, '')}/{_quoted(self.store, '')}"
            return f"{base}#{inside}"
        return base

    @property
    def origin(self) -> str:
        """The origin that its scripts have: ``https://e.com``."""
        return self.key.partition("^")[0].removesuffix("/")

    @property
    def first_party(self) -> bool:
        """Whether it is what a page of its own in the address bar uses."""
        return "^" not in self.key

    @property
    def title(self) -> str:
        """What people call it: ``localStorage of https://e.com``."""
        what = {
            Kind.LOCAL: "localStorage",
            Kind.FILES: "files",
            Kind.DATABASE: f"database {self.database!r}",
            Kind.RECORDS: f"records of {self.store!r} in database {self.database!r}",
        }[self.kind]
        top = self.key.partition("^0")[2]
        return f"{what} of {self.origin}" + (f" under {top}" if top else "")

    @classmethod
    def of(cls, part: str) -> Self | None:
        """Return the area that a part belongs to; None for a part of the whole browser."""
        kind, colon, rest = part.partition(":")
        if not colon or kind not in _KINDS:
            return None
        form = _FORMS[Kind(kind)].fullmatch(rest)
        return cls(Kind(kind), *map(_plain, form.groups())) if form else None


def by_area(parts: Mapping[str, T]) -> dict[Area, dict[str, T]]:
    """Return the parts that belong to areas, each with the others of its area."""
    found: dict[Area, dict[str, T]] = {}
    for part, content in parts.items():
        area = Area.of(part)
        if area:
            found.setdefault(area, {})[part] = content
    return found


def laid_over(parts: Mapping[str, T], others: Mapping[str, T]) -> dict[str, T]:
    """Return *parts* with *others* over them: all that a storage key of the others had is replaced."""
    replaced = {area.key for area in by_area(others)}
    kept = {part: content for part, content in parts.items() if _key(part) not in replaced}
    return kept | dict(others)


def _key(part: str) -> str | None:
    area = Area.of(part)
    return area.key if area else None


def lasts(key: str) -> bool:
    """Tell whether a storage key means anything once the page that used it is gone.

    Not with a nonce (``^1``: frames without credentials), and not under a page without an origin
    (``^4``): Chromium makes another key for the next such page (blink's ``storage_key.cc``).
    """
    return "^1" not in key and "^4" not in key


def key_of(origin: str) -> str:
    """Return the storage key of an origin's own pages."""
    return f"{origin}/"


def _quoted(text: str, safe: str = _READABLE) -> str:
    return quote(text, safe=safe, errors="surrogatepass")


def _plain(text: str) -> str:
    return unquote(text, errors="surrogatepass")

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

from dataclasses import dataclass
from enum import StrEnum
from typing import Self
from urllib.parse import quote, unquote

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

    @classmethod
    def of(cls, part: str) -> Self | None:
        """Return the area that a part belongs to; None for a part of the whole browser."""
        kind, colon, rest = part.partition(":")
        if not colon or kind not in _KINDS:
            return None
        found = Kind(kind)
        spread = found is not Kind.DATABASE
        where = rest.rpartition("#")[0] if spread else rest
        key, _, inside = where.partition("#")
        database, _, store = inside.partition("/") if found is Kind.RECORDS else (inside, "", "")
        return cls(found, _plain(key), _plain(database), _plain(store))


def key_of(origin: str) -> str:
    """Return the storage key of an origin's own pages."""
    return f"{origin}/"


def _quoted(text: str, safe: str = _READABLE) -> str:
    return quote(text, safe=safe, errors="surrogatepass")


def _plain(text: str) -> str:
    return unquote(text, errors="surrogatepass")

"""How the parts of a state are listed: few in the manifest itself, many spread over lists. Pure.

A list is stored like a part, named by its content. So a version that changes one part of a thousand
writes that part, the one list that names it, and a manifest that names the lists.
"""

import json
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from pydantic import TypeAdapter

from raypool.store.manifests import PartRef, Refs, digests

LISTED_INLINE = 64
"""So many parts stand in the manifest itself."""
_LISTS = 64
_REFS = TypeAdapter(Refs)


@dataclass(frozen=True)
class PartList:
    """Some of the parts of a state."""

    digest: str
    parts: Mapping[str, PartRef]

    @property
    def text(self) -> bytes:
        """What is stored: equal lists are equal bytes."""
        return encode(self.parts)


@dataclass(frozen=True)
class Listing:
    """All parts of one state, and the lists that they stand in if they are many."""

    parts: Mapping[str, PartRef] = field(default_factory=dict)
    lists: Mapping[int, PartList] = field(default_factory=dict)

    def digests(self) -> set[str]:
        """Return the digests of all that it consists of."""
        return digests(self.parts.values()) | {one.digest for one in self.lists.values()}


def arrange(parts: Refs, before: Listing, digest: Callable[[bytes], str]) -> Listing:
    """Return the listing of *parts*; the lists of *before* that stay the same are not made again.

    Args:
        parts: The whole state.
        before: Any other listing, best a similar one.
        digest: Names a content.
    """
    if len(parts) <= LISTED_INLINE:
        return Listing(parts)
    known = before.parts if before.lists else {}
    changed = {n for n in parts.keys() | known.keys() if parts.get(n) != known.get(n)}
    touched: dict[int, dict[str, PartRef]] = {}
    for name in changed:
        number = list_of(name)
        if number not in touched:
            touched[number] = dict(before.lists[number].parts) if number in before.lists else {}
        touched[number].pop(name, None)
        if name in parts:
            touched[number][name] = parts[name]
    lists = {n: one for n, one in before.lists.items() if n not in touched}
    lists |= {n: PartList(digest(encode(refs)), refs) for n, refs in touched.items() if refs}
    return Listing(parts, dict(sorted(lists.items())))


def listing_of(lists: Iterable[PartList]) -> Listing:
    """Return the listing that these lists make up."""
    numbered = {list_of(next(iter(one.parts))): one for one in lists if one.parts}
    return Listing({n: ref for one in numbered.values() for n, ref in one.parts.items()}, numbered)


def list_of(name: str) -> int:
    """Return the number of the list that a part stands in."""
    return zlib.crc32(name.encode()) % _LISTS


def encode(parts: Mapping[str, PartRef]) -> bytes:
    """Return a list as it is stored."""
    return json.dumps(parts, sort_keys=True, separators=(",", ":")).encode()


def decode(text: bytes) -> Refs:
    """Return a list that was stored.

    Raises:
        ValueError: It is none.
    """
    return _REFS.validate_json(text)

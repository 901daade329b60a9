"""Which stored contents the kept versions name. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping, Set

from raypool.store.listing import PartList
from raypool.store.manifests import Manifest, digests


class References:
    """Counts who names what, so that a change costs what it changes, however many versions there are.

    A version names its lists, a list its parts: a list that many versions share counts its parts once.
    """

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._within: dict[str, set[str]] = {}
        """What a list that is named names, unless it never could be read."""

    @property
    def named(self) -> Set[str]:
        """Every digest that a version names, itself or by a list."""
        return self._counts.keys()

    def add(self, manifest: Manifest, lists: Mapping[str, PartList]) -> None:
        """Note a version.

        Args:
            manifest: Of the version.
            lists: By digest, at least those of the version that can be read.
        """
        self._count(digests(manifest.parts.values()))
        for digest in set(manifest.lists):
            self._count([digest])
            if digest not in self._within and digest in lists:
                self._within[digest] = digests(lists[digest].parts.values())
                self._count(self._within[digest])

    def drop(self, manifest: Manifest) -> None:
        """Note that a version that was added goes."""
        self._discount(digests(manifest.parts.values()))
        for digest in set(manifest.lists):
            self._discount([digest])
            if digest not in self._counts:
                self._discount(self._within.pop(digest, ()))

    def _count(self, found: Iterable[str]) -> None:
        self._counts.update(found)

    def _discount(self, found: Iterable[str]) -> None:
        for digest in found:
            self._counts[digest] -= 1
            if not self._counts[digest]:
                del self._counts[digest]

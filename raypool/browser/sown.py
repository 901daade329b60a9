"""Items of storages that a script puts into their documents, before the documents' own scripts."""

import json
from collections.abc import Mapping
from typing import Literal, Self

from raypool.browser import library
from raypool.browser.mirror import Mirror
from raypool.state import Area, Kind

SCRIPT_BYTES = 512 * 1024
"""So much localStorage may be in the script that every document runs; larger ones go with databases."""


class Sown:
    """What a script holds, by storage key.

    Each storage is written down once: the script is made anew with every one that leaves it.

    Args:
        which: Whose items they are.
        items: Names and values by storage key.
    """

    def __init__(
        self, which: Literal["local", "session"], items: Mapping[str, Mapping[str, str]]
    ) -> None:
        self._which = which
        self._items: dict[str, Mapping[str, str]] = {}
        self._texts: dict[str, str] = {}
        for key, values in items.items():
            self.put(key, values)

    @classmethod
    def from_mirror(cls, mirror: Mirror, most: int = SCRIPT_BYTES) -> Self:
        """Return the localStorage that a script may hold: the small ones, *most* bytes together."""
        chosen: dict[str, dict[str, str]] = {}
        for area in sorted(mirror.areas(Kind.LOCAL), key=lambda area: mirror.size([area])):
            most -= mirror.size([area])
            if most < 0:
                break
            chosen[area.key] = mirror.items(area)
        return cls("local", chosen)

    def __contains__(self, key: str) -> bool:
        return key in self._items

    def of(self, key: str) -> Mapping[str, str]:
        """Return the items of a storage key; none if there are none (any more)."""
        return self._items.get(key, {})

    def put(self, key: str, items: Mapping[str, str]) -> None:
        """Hold the items of a storage key."""
        self._items[key] = items
        self._texts[key] = json.dumps(
            {"top": key.partition("^0")[2] or None, "items": json.dumps([*items.items()])}
        )

    def drop(self, key: str) -> bool:
        """Hold those of a storage key no more; tell whether it did."""
        self._texts.pop(key, None)
        return self._items.pop(key, None) is not None

    @property
    def script(self) -> str | None:
        """The script; None when it holds nothing."""
        if not self._texts:
            return None
        by_origin: dict[str, list[str]] = {}
        for key, text in self._texts.items():
            by_origin.setdefault(Area(Kind.LOCAL, key).origin, []).append(text)
        seeds = ",".join(f"{json.dumps(o)}:[{','.join(t)}]" for o, t in by_origin.items())
        local, session = (seeds, "") if self._which == "local" else ("", seeds)
        return f"({library.SEED})({{{local}}}, {{{session}}})"

"""The storage of a browser as it is known: what it was restored from, over that what was read since.

A storage that no page has visited yet is therefore part of every later state.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from raypool import state
from raypool.state import Area, Buckets, Kind


class Mirror:
    """All storage of one context, as parts of a checkpoint.

    Args:
        parts: The state that the browser starts from.
    """

    def __init__(self, parts: Mapping[str, bytes]) -> None:
        self.whole: dict[str, bytes] = {}
        """Parts of the whole browser: cookies, tabs and the like."""
        self._shapes: dict[Area, bytes] = {}
        self._items: dict[Area, Buckets] = {}
        self._parts: dict[Area, Mapping[str, bytes]] = {}
        spread: dict[Area, dict[str, bytes]] = {}
        for name, data in parts.items():
            area = Area.of(name)
            if area is None:
                self.whole[name] = data
            elif area.kind is Kind.DATABASE:
                self._shapes[area] = data
            else:
                spread.setdefault(area, {})[name] = data
        for area, own in spread.items():
            self._items[area] = Buckets.load(area.name, own)

    @property
    def parts(self) -> dict[str, bytes]:
        """Everything; what did not change is the same object as before."""
        found = dict(self.whole)
        for area, data in self._shapes.items():
            found[area.name] = data
        for area, items in self._items.items():
            if area not in self._parts:
                self._parts[area] = items.parts
            found |= self._parts[area]
        return found

    def areas(self, *kinds: Kind) -> set[Area]:
        """Return the areas of these kinds that hold anything."""
        return {area for area in (*self._shapes, *self._items) if area.kind in kinds}

    def keys(self, *kinds: Kind) -> set[str]:
        """Return the storage keys that have areas of these kinds."""
        return {area.key for area in self.areas(*kinds)}

    def items(self, area: Area) -> dict[str, Any]:
        """Return the items of an area."""
        return dict(self._items[area].items()) if area in self._items else {}

    def size(self, areas: Iterable[Area]) -> int:
        """Return the bytes of these areas."""
        return sum(self._items[area].size for area in areas if area in self._items)

    def replace(self, area: Area, items: Mapping[str, Any]) -> None:
        """Have an area hold exactly *items*."""
        if self._buckets(area).replace(items):
            self._changed(area)

    def update(self, area: Area, changed: Mapping[str, Any], removed: Collection[str] = ()) -> None:
        """Change some items of an area."""
        if self._buckets(area).update(changed, removed):
            self._changed(area)

    def databases(self, key: str) -> set[str]:
        """Return the names of the databases of a storage key."""
        return {area.database for area in self._shapes if area.key == key}

    def shape(self, key: str, database: str) -> Any:
        """Return version and stores of a database; None when there is none."""
        data = self._shapes.get(Area(Kind.DATABASE, key, database))
        return None if data is None else state.decode(database, data)

    def set_shape(self, key: str, database: str, shape: Mapping[str, Any]) -> None:
        """Have a database of this shape; records of stores that it has not are dropped."""
        area, data = Area(Kind.DATABASE, key, database), state.encode(shape)
        if self._shapes.get(area) != data:
            self._shapes[area] = data
        stores = {store["name"] for store in shape["stores"]}
        for records in self.records(key, database):
            if records.store not in stores:
                self._drop(records)

    def records(self, key: str, database: str) -> list[Area]:
        """Return the areas of a database's records."""
        return [
            area
            for area in self._items
            if area.kind is Kind.RECORDS and (area.key, area.database) == (key, database)
        ]

    def drop_database(self, key: str, database: str) -> None:
        """Forget a database that was deleted."""
        self._shapes.pop(Area(Kind.DATABASE, key, database), None)
        for area in self.records(key, database):
            self._drop(area)

    def _buckets(self, area: Area) -> Buckets:
        if area not in self._items:
            self._items[area] = Buckets(area.name)
        return self._items[area]

    def _changed(self, area: Area) -> None:
        self._parts.pop(area, None)
        if not self._items[area].size:
            del self._items[area]

    def _drop(self, area: Area) -> None:
        del self._items[area]
        self._parts.pop(area, None)

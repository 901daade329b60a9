"""Items of one area, spread over parts by a hash of their names: a change costs the part it is in."""

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Self
from zlib import crc32

from raypool.errors import ErrorCodes, create_error
from raypool.state.form import decode, encode_items

TARGET_BYTES = 16 * 1024
"""What a part should have about; small areas are one part."""
MOST = 1024
_PLACE = re.compile(r"#(\d{1,5})/(\d{1,5})\Z", re.ASCII)


class Buckets:
    """The items of an area, ``{name: JSON value}``, and the parts that hold them.

    A part that did not change stays the same object: whoever saves need not look into it again.

    Args:
        name: Name of the area (:attr:`raypool.state.areas.Area.name`).
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._count = 1
        self._data: dict[int, bytes] = {}
        self._size = 0

    @classmethod
    def load(cls, name: str, parts: Mapping[str, bytes]) -> Self:
        """Return the area that *parts*, all of this area, hold.

        Raises:
            CheckpointCorrupt: One of them is not JSON, or its name has no place among the others.
        """
        made = cls(name)
        places = [_place(part) for part in parts]
        counts = {count for _, count in places}
        if len(counts) == 1:
            made._count = counts.pop()
            made._data = {
                i: data
                for (i, _), data in zip(places, parts.values(), strict=True)
                if data != b"{}"
            }
            made._size = sum(map(len, made._data.values()))
        else:  # two that spread it in different ways were put together: an import into a session
            made.replace(
                {k: v for part, data in parts.items() for k, v in _decoded(part, data).items()}
            )
        return made

    @property
    def parts(self) -> dict[str, bytes]:
        """The parts; none for an area without items."""
        return {f"{self._name}#{i}/{self._count}": data for i, data in sorted(self._data.items())}

    @property
    def size(self) -> int:
        """Bytes of all parts."""
        return self._size

    def items(self) -> Iterator[tuple[str, Any]]:
        """Return names and values, in no order."""
        for i, data in list(self._data.items()):
            yield from _decoded(f"{self._name}#{i}/{self._count}", data).items()

    def replace(self, items: Mapping[str, Any]) -> bool:
        """Have exactly *items*; tell whether anything changed."""
        before = self._data
        self._fill(items)
        if _fitting(self._size, self._count) != self._count:
            self._count = _fitting(self._size, self._count)
            self._fill(items)
        return self._data != before

    def update(self, changed: Mapping[str, Any], removed: Collection[str] = ()) -> bool:
        """Put in *changed* and take out *removed*; tell whether anything changed."""
        touched: dict[int, dict[str, Any]] = {}
        for name in (*changed, *removed):
            i = self._bucket(name)
            if i not in touched:
                touched[i] = _decoded(self._name, self._data.get(i, b"{}"))
        for name in removed:
            touched[self._bucket(name)].pop(name, None)
        for name, value in changed.items():
            touched[self._bucket(name)][name] = value
        different = [self._put(i, items) for i, items in touched.items()]
        if _fitting(self._size, self._count) != self._count:
            self.replace(dict(self.items()))
        return any(different)

    def _fill(self, items: Mapping[str, Any]) -> None:
        spread: dict[int, dict[str, Any]] = {}
        for name, value in items.items():
            spread.setdefault(self._bucket(name), {})[name] = value
        before, self._data, self._size = self._data, {}, 0
        for i, content in spread.items():
            data = encode_items(content)
            self._data[i] = before[i] if before.get(i) == data else data
            self._size += len(data)

    def _put(self, i: int, items: Mapping[str, Any]) -> bool:
        before = self._data.pop(i, b"")
        data = encode_items(items) if items else b""
        self._size += len(data) - len(before)
        if data:
            self._data[i] = before if data == before else data
        return data != before

    def _bucket(self, name: str) -> int:
        return crc32(name.encode(errors="surrogatepass")) % self._count


def _decoded(part: str, data: bytes) -> dict[str, Any]:
    items = decode(part, data)
    if isinstance(items, dict):
        return items
    raise create_error(ErrorCodes.STORAGE_CORRUPT, f"part {part!r} holds no items")


def _fitting(size: int, count: int) -> int:
    """Return over how many parts *size* bytes go, if they are now over *count*: seldom another."""
    least = 0 if count == 1 else count * TARGET_BYTES // 4
    if least <= size <= count * TARGET_BYTES * 4:
        return count
    wanted = 1
    while wanted < MOST and wanted * TARGET_BYTES < size:
        wanted *= 2
    return wanted


def _place(part: str) -> tuple[int, int]:
    found = _PLACE.search(part)
    place = (int(found[1]), int(found[2])) if found else (0, 0)
    if not place[0] < place[1] <= MOST:
        raise create_error(ErrorCodes.STORAGE_CORRUPT, f"part {part!r} has a name that is none")
    return place

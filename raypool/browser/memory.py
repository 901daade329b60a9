"""How much memory this node has: the machine's, or its container's when that has less.

Container limits: cgroup v2 (https://docs.kernel.org/admin-guide/cgroup-v2.html, ``memory.max``) and v1
(``memory.limit_in_bytes``). A limit may stand on any group above ours.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

_GROUPS = Path("/proc/self/cgroup")
_ROOT = Path("/sys/fs/cgroup")
_V2 = ("memory.max", "memory.current", "inactive_file")
_V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


@dataclass(frozen=True)
class Memory:
    """Bytes."""

    total: int
    available: int
    """What can still be had without swapping."""


def node_memory(groups: Path = _GROUPS, root: Path = _ROOT) -> Memory:
    """Return the memory of this node, as its tightest limit leaves it."""
    machine = psutil.virtual_memory()
    found = [Memory(machine.total, machine.available), *_limits(groups, root)]
    return Memory(min(m.total for m in found), max(0, min(m.available for m in found)))


def _limits(groups: Path, root: Path) -> Iterator[Memory]:
    """Yield what each group that we are in allows; nothing where there is no limit."""
    with suppress(OSError, ValueError):
        for line in groups.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers == "":
                yield from _upwards(root, path, _V2)
            elif "memory" in controllers.split(","):
                yield from _upwards(root / "memory", path, _V1)


def _upwards(top: Path, path: str, names: tuple[str, str, str]) -> Iterator[Memory]:
    own = top / path.lstrip("/")
    for group in (own, *own.parents):
        with suppress(OSError, ValueError):  # "max" is no number: there is no limit here
            limit, used = (int((group / name).read_text()) for name in names[:2])
            yield Memory(limit, limit - used + _cache(group, names[2]))
        if group == top:
            return


def _cache(group: Path, name: str) -> int:
    """Return the bytes of files that the group holds and that the kernel drops when asked."""
    lines = (line.split() for line in (group / "memory.stat").read_text().splitlines())
    return next((int(value) for key, value in lines if key == name), 0)

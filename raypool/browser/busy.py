"""When a page stores so much that it is looked at, instead of being told of each item.

The event of an item costs the browser's main process some 50 microseconds; a page that stores hundreds
of them would wait for that. Drivers of network cards do the same: an interrupt for each packet while it
is quiet, a look at intervals while it is not (NAPI, https://docs.kernel.org/networking/napi.html).
"""

MANY = 50
"""Events within a second."""
LOOK_EVERY_S = 0.1
BUSY_S = 5.0
"""So long a busy page is looked at before it is told of again."""


class Flood:
    """Counts events.

    Args:
        many: So many within a second are a flood.
    """

    def __init__(self, many: int = MANY) -> None:
        self._many = many
        self._since, self._count = 0.0, 0

    def rises(self, now: float) -> bool:
        """Count an event at *now*, in seconds of any clock; tell whether there are too many."""
        if now - self._since > 1.0:
            self._since, self._count = now, 0
        self._count += 1
        return self._count >= self._many

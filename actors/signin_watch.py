"""When an idle business is looked at again: the site may have signed it out meanwhile."""

import random
from collections.abc import Callable

SPREAD = 0.2
"""Share by which the time between two looks varies: a thousand businesses must not look at once."""


def spread(every: float, dice: float) -> float:
    """Return the seconds until the next look.

    Args:
        every: Seconds on average.
        dice: A number in [0, 1).
    """
    return every * (1 + SPREAD * (2 * dice - 1))


class SignInWatch:
    """Says when the next look is due; a look that somebody else made counts as well.

    Args:
        every: Seconds between two looks, on average; 0: never.
        dice: Numbers in [0, 1).
    """

    def __init__(self, every: float, dice: Callable[[], float] = random.random) -> None:
        self._every, self._dice = every, dice
        self._wait = spread(every, dice())

    def is_due(self, since_look: float) -> bool:
        """Tell whether a look is due, *since_look* seconds after the last one."""
        if not self._every or since_look < self._wait:
            return False
        self._wait = spread(self._every, self._dice())
        return True

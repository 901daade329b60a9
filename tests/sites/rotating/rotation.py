"""The rule of the rotating cookie, as a pure function.

One sign-in begins a *family* of cookies, numbered 0, 1, 2 … Each authenticated response gives out the
next number. The rule is strict but fair:

- The newest cookie is right, and showing it proves that the response that carried it arrived.
- The one before is forgiven **once**, and only while the newest was never shown: then the response
  that carried the newest may have been lost on its way (a browser that is killed in mid-response
  shows the old cookie when it comes back). The newest is void from then on; another is given out.
- Any other is shown by somebody who has no right to it, or by a state that was restored twice: the
  whole family is signed out. So an old cookie that is shown a second time always signs out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum


class Verdict(StrEnum):
    """What showing a cookie comes to."""

    RIGHT = "right"
    FORGIVEN = "forgiven"
    REPLAYED = "replayed"
    """An old cookie: the family was signed out for it, or long before."""


@dataclass(frozen=True)
class Family:
    """The cookies of one sign-in."""

    newest: int = 0
    """Number of the cookie that was given out last."""
    shown: int = -1
    """Number of the last right cookie that was shown; -1: none was."""
    forgiven: bool = False
    """Whether *shown* was forgiven its replay already."""
    alive: bool = True


def show(family: Family, number: int) -> tuple[Family, Verdict]:
    """Return the family after its cookie *number* was shown, and what that came to.

    Unless the verdict is ``REPLAYED``, the response must carry the new family's *newest*.
    """
    if not family.alive:
        return family, Verdict.REPLAYED
    following = family.newest + 1
    if number == family.newest:
        return Family(newest=following, shown=number), Verdict.RIGHT
    if number == family.shown and not family.forgiven:
        return replace(family, newest=following, forgiven=True), Verdict.FORGIVEN
    return replace(family, alive=False), Verdict.REPLAYED

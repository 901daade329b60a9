"""After a restore whose look found nobody signed in: the last good version gets its chance, once."""

from collections.abc import Awaitable, Callable
from typing import Protocol

from raypool.errors import CheckpointCorrupt
from raypool.logs import get_logger
from raypool.model import Checkpoint, SignIn
from raypool.signin.trust import Step, after_restore

log = get_logger(__name__)

Load = Callable[[int], Awaitable[Checkpoint | None]]


class Restoring(Protocol):
    """Where states are brought back."""

    sign_in: SignIn
    """What is known: from the last look, or that a person is needed."""

    async def bring_up(self, found: Checkpoint | None) -> None:
        """Launch a browser that holds a version, and look whether it is signed in."""

    async def drop(self) -> None:
        """Get rid of the browser."""


async def settle(
    place: Restoring, known: SignIn, found: Checkpoint | None, last_good: int, load: Load
) -> Checkpoint | None:
    """Do what follows from the look at a state that *place* was just brought up with.

    Args:
        place: It ends with a browser of *found*, or of the last good version if only that is signed
            in; with ``NEEDS_HUMAN`` when both were refused by the site.
        known: What was known before the look.
        found: The version that was restored.
        last_good: Number of the last good version; 0: there is none.
        load: Reads a version.

    Returns:
        The last good version if it was gone back to.

    Raises:
        BrowserError: A browser did not come up.
    """
    step = after_restore(place.sign_in, known, found.info if found else None, last_good)
    good = await _loaded(load, last_good) if step is Step.FALL_BACK else None
    if good is not None:
        tried = await _bring_up(place, good)
        if tried is SignIn.SIGNED_IN:
            return good
        seen = await _bring_up(place, found)  # what is newest stays
        refused = SignIn.SIGNED_OUT
        step = Step.ASK_HUMAN if tried is refused and seen is refused else Step.GO_ON
    if step is not Step.GO_ON:
        place.sign_in = SignIn.NEEDS_HUMAN
    return None


async def _bring_up(place: Restoring, version: Checkpoint | None) -> SignIn:
    await place.drop()
    await place.bring_up(version)
    return place.sign_in


async def _loaded(load: Load, version: int) -> Checkpoint | None:
    try:
        return await load(version)
    except CheckpointCorrupt as error:
        log.warning("last good version cannot be read", error=error.message)
        return None

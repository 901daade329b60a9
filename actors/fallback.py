"""After a restore whose look found nobody signed in: the last good version gets its chance, once."""

from collections.abc import Awaitable, Callable
from typing import Protocol

from raypool.errors import CheckpointCorrupt, StorageError
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
        """Have a browser that holds a version, and look whether it is signed in."""


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
    if step is Step.FALL_BACK:
        good, step = await _loaded(load, last_good)
        if good is not None:
            await place.bring_up(good)
            if place.sign_in is SignIn.SIGNED_IN:
                return good
            refused = place.sign_in is SignIn.SIGNED_OUT
            await place.bring_up(found)  # what is newest stays
            still = place.sign_in is SignIn.SIGNED_OUT
            step = Step.ASK_HUMAN if refused and still else Step.GO_ON
    if step is Step.ASK_HUMAN:
        place.sign_in = SignIn.NEEDS_HUMAN
    return None


async def _loaded(load: Load, version: int) -> tuple[Checkpoint | None, Step]:
    """Return the version, and what follows if there is none."""
    try:
        return await load(version), Step.ASK_HUMAN
    except CheckpointCorrupt as error:
        log.warning("last good version cannot be read", error=error.message)
        return None, Step.ASK_HUMAN
    except StorageError as error:  # the next start tries it
        log.warning("last good version cannot be read now", error=error.message)
        return None, Step.GO_ON

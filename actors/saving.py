"""Save a browser's state, and tell apart why it could not be saved."""

import asyncio
from collections.abc import Callable

from actors.presence import ALIVE_TIMEOUT_S
from actors.workplace import Workplace
from raypool.errors import (
    ErrorCodes,
    RaypoolError,
    SessionNotFound,
    StorageError,
    create_error,
)
from raypool.model import CheckpointInfo


async def save(place: Workplace, reason: str, rebuild: Callable[[str], None]) -> CheckpointInfo:
    """Save the whole state and return the acknowledged version.

    Args:
        place: Whose state.
        reason: Why, for the manifest.
        rebuild: Called with the reason when the browser turned out to be of no use any more.

    Raises:
        StorageError: The store could not take it (``STORAGE_NOT_SAVED``); the browser holds it.
        InstanceLost: The browser died before all of its state was read.
        BrowserError: It does not answer; it is being rebuilt.
        LeaseLost: Somebody else has the business.
    """
    browser = place.browser
    try:
        return await _saved(place, reason)
    except StorageError as error:
        if not error.retryable:
            raise
        raise create_error(
            ErrorCodes.STORAGE_NOT_SAVED,
            f"what was done is not saved yet, the browser holds it: {error.message}",
        ) from error
    except RaypoolError as error:
        if error.code is ErrorCodes.BROWSER_CHECKPOINT_FAILED and place.browser is browser:
            await place.drop()  # it does not answer any more
            rebuild(error.message)
        raise
    except Exception as error:
        await asyncio.wait({place.lost}, timeout=ALIVE_TIMEOUT_S)
        if place.lost.done():
            raise place.lost_error() from error
        raise create_error(
            ErrorCodes.BROWSER_CHECKPOINT_FAILED, f"the state could not be read: {error}"
        ) from error


async def _saved(place: Workplace, reason: str) -> CheckpointInfo:
    try:
        return await place.save(reason)
    except SessionNotFound:
        await place.reassure()  # the server may have lost it: then it is written again
        if place.checkpoint is None:
            raise
        return place.checkpoint

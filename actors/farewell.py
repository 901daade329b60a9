"""The last things that a browser does before it is stopped in order."""

from actors.rebuilding import Rebuilder
from actors.turns import Turns
from actors.workplace import Workplace


async def say_farewell(
    place: Workplace | None, turns: Turns, rebuilder: Rebuilder, timeout: float
) -> str:
    """Send away who waits, let what runs end, save, close.

    Args:
        place: The browser; None when it had not come up.
        turns: Are closed, the last one is ours for good.
        rebuilder: A browser that is just coming up is waited for.
        timeout: Seconds for what runs.

    Returns:
        Why the last changes could not be saved; empty when they were.
    """
    turns.close()
    if place is None:
        return "it had not come up"
    try:
        await rebuilder.wait(timeout)
        if not await turns.take_last(timeout):
            return f"a function was still running after {timeout:g} s"
        if place.off_line:
            return "it was off line: its lease could not be renewed in time"
        await place.save("stop")
        await place.close()
    except Exception as error:  # noqa: BLE001 -- a stop ends, and says what it could not do
        return str(error)
    return ""

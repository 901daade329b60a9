"""What it means that an owner does not answer. Pure."""

SUSPECT_AFTER_S = 4.0
"""From when on an instance that does not answer, though its process runs, is of unknown phase."""
PATIENCE_S = 30.0
"""One whose process runs but that has not answered for this long is ended."""


def is_over(state: str | None, silent_for: float) -> bool:
    """Tell whether a silent owner is to be ended.

    Args:
        state: What its node says of its process: running, stopped or dead. None: nothing.
        silent_for: Seconds since it was asked and did not answer.
    """
    return state is not None and (state != "running" or silent_for >= PATIENCE_S)

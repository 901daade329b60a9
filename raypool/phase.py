"""The phases of an instance and which may follow which.

Rule 1: whatever decides about a phase change lives in this file.
Rule 2: an illegal change raises and changes nothing.

``UNKNOWN`` is a phase of its own: an instance that did not answer is not an instance that is gone.
"""

from collections.abc import Mapping
from enum import StrEnum

from raypool.errors import ErrorCodes, create_error


class Phase(StrEnum):
    """Where an instance stands, as its supervisor sees it."""

    ABSENT = "absent"
    STARTING = "starting"
    READY = "ready"
    RECOVERING = "recovering"
    UNKNOWN = "unknown"
    STOPPING = "stopping"
    HIBERNATED = "hibernated"
    BACKOFF = "backoff"
    QUARANTINED = "quarantined"


TRANSITIONS: Mapping[Phase, frozenset[Phase]] = {
    Phase.ABSENT: frozenset({
        Phase.STARTING,  # desired, and nothing stands in the way
        Phase.UNKNOWN,  # adopted: an actor was found that we did not start
        Phase.READY,  # adopted, and it answers
        Phase.BACKOFF,  # it failed before this supervisor's time; its turn has not come yet
        Phase.QUARANTINED,  # set aside before this supervisor's time
    }),
    Phase.STARTING: frozenset({
        Phase.READY,  # lease, browser, restore and probe are done
        Phase.UNKNOWN,  # it does not answer
        Phase.STOPPING,  # not desired any more
        Phase.BACKOFF,  # the start failed
        Phase.QUARANTINED,  # it failed once too often
        Phase.ABSENT,  # the actor is gone
    }),
    Phase.READY: frozenset({
        Phase.RECOVERING,  # its browser died; the actor makes a new one
        Phase.UNKNOWN,
        Phase.STOPPING,
        Phase.BACKOFF,  # the actor died: the next incarnation waits its turn
        Phase.QUARANTINED,  # it died once too often
        Phase.ABSENT,
    }),
    Phase.RECOVERING: frozenset({
        Phase.READY,  # new browser, last checkpoint, tabs back
        Phase.UNKNOWN,
        Phase.STOPPING,
        Phase.BACKOFF,
        Phase.QUARANTINED,
        Phase.ABSENT,
    }),
    Phase.UNKNOWN: frozenset({
        Phase.STARTING,  # it answers again
        Phase.READY,
        Phase.RECOVERING,
        Phase.STOPPING,
        Phase.BACKOFF,
        Phase.QUARANTINED,
        Phase.ABSENT,
    }),
    Phase.STOPPING: frozenset({
        Phase.ABSENT,  # browser gone, lease released, actor gone
        Phase.HIBERNATED,  # the same, and a call wakes it
        Phase.UNKNOWN,
    }),
    Phase.HIBERNATED: frozenset({
        Phase.STARTING,  # woken
        Phase.ABSENT,  # stopped for good
    }),
    Phase.BACKOFF: frozenset({
        Phase.STARTING,  # its time has come
        Phase.QUARANTINED,
        Phase.ABSENT,  # not desired any more
    }),
    Phase.QUARANTINED: frozenset({
        Phase.STARTING,  # released by a person
        Phase.ABSENT,  # not desired any more
    }),
}  # fmt: skip


def transition(now: Phase, then: Phase) -> Phase:
    """Return *then* if an instance may go there from *now*; staying where it is is always allowed.

    Raises:
        InternalError: The table does not allow it.
    """
    if then is now or then in TRANSITIONS[now]:
        return then
    raise create_error(
        ErrorCodes.INTERNAL_ILLEGAL_TRANSITION, f"an instance cannot go from {now} to {then}"
    )

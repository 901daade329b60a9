"""A driver's visit begins when the business is up, also where its browser has just been lost."""

from collections.abc import Callable
from typing import Any

import pytest

from raypool import attaching
from raypool.attaching import ATTEMPTS, Visit
from raypool.errors import ErrorCodes as Codes
from raypool.errors import (
    InstanceNotReady,
    RateLimitError,
    RaypoolError,
    create_error,
)


class Door:
    """Refuses with each of its errors, then lets in."""

    def __init__(self, *errors: RaypoolError) -> None:
        self.errors, self.tickets, self.brought_up = list(errors), [], 0

    async def ready(self) -> None:
        self.brought_up += 1

    async def attach(self, business_id: str, ticket_id: str) -> Any:
        self.tickets.append(ticket_id)
        if self.errors:
            raise self.errors.pop(0)
        return "admitted"

    async def stay(self, business_id: str, ticket_id: str) -> None: ...

    async def detach(self, business_id: str, ticket_id: str) -> None: ...


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attaching, "PAUSE_S", 0.0)


def _not_ready() -> RaypoolError:
    return create_error(Codes.BROWSER_INSTANCE_NOT_READY, "it is not up")


def _lost() -> RaypoolError:
    return create_error(Codes.BROWSER_INSTANCE_LOST, "the actor died")


@pytest.mark.parametrize("error", [_not_ready, _lost])
async def test_who_meets_an_instance_between_two_lives_waits_for_the_next(
    error: Callable[[], RaypoolError],
) -> None:
    """It is brought up again, and the same ticket lets in: an answer may have been lost."""
    door = Door(error(), error())
    visit = Visit(door, "a", door.ready)
    assert await visit.begin() == "admitted"
    await visit.end()
    assert (door.brought_up, len(set(door.tickets))) == (3, 1)


async def test_nobody_knocks_for_ever() -> None:
    """After some attempts the last refusal is the answer."""
    door = Door(*(_not_ready() for _ in range(ATTEMPTS + 1)))
    with pytest.raises(InstanceNotReady):
        await Visit(door, "a", door.ready).begin()
    assert len(door.tickets) == ATTEMPTS


async def test_a_business_that_does_not_come_up_is_not_waited_for_again() -> None:
    """Bringing up has its own deadline."""
    door = Door()

    async def never() -> None:
        raise _not_ready()

    with pytest.raises(InstanceNotReady):
        await Visit(door, "a", never).begin()
    assert door.tickets == []


async def test_too_many_drivers_are_told_at_once() -> None:
    """A refusal that waiting here would not mend."""
    door = Door(create_error(Codes.RATE_LIMIT_CAPACITY, "too many"))
    with pytest.raises(RateLimitError):
        await Visit(door, "a", door.ready).begin()
    assert len(door.tickets) == 1

"""A thread keeps the lease and tells what is due: each thing when it is, and once."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from actors.keeper import LeaseKeeper, now
from raypool.errors import ErrorCodes, create_error
from raypool.model import Holder, Lease
from raypool.store.base import LeaseStore
from raypool.store.memory import MemoryStore

TTL = 1.0


class Guard:
    """Notes what it is told; coming back on line takes it a while."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.until: list[float] = []

    def extended(self, until: float) -> None:
        self.until.append(until)

    def off_line(self) -> None:
        self.told.append("off line")

    def on_line(self) -> None:
        time.sleep(0.1)
        self.told.append("on line")

    def lost(self, reason: str) -> None:
        self.told.append("lost")

    def stuck(self) -> None:
        self.told.append("stuck")


class Kept:
    """A lease with its keeper, and a store that can be away."""

    def __init__(self, store: MemoryStore, lease: Lease, asked_at: float) -> None:
        self.store, self.guard, self.away, self.renewals = store, Guard(), False, 0
        self.keeper = LeaseKeeper(lease, asked_at, self._open, self.guard)
        self.keeper.start()

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[LeaseStore]:
        yield self  # type: ignore[misc]

    async def renew(self, lease: Lease) -> bool:
        if self.away:
            raise create_error(ErrorCodes.STORAGE_UNAVAILABLE, "away")
        self.renewals += 1
        return await self.store.leases.renew(lease)

    async def told(self, *what: str) -> None:
        async with asyncio.timeout(10):
            while self.guard.told != list(what):
                await asyncio.sleep(0.005)


@pytest.fixture
async def kept(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Kept]:
    monkeypatch.setattr("actors.keeper.STUCK_GRACE_S", 0.3)
    store, asked_at = MemoryStore(), now()
    kept = Kept(store, await store.leases.acquire("b1", Holder(id="h1"), TTL), asked_at)
    yield kept
    kept.keeper.stop()


async def test_it_renews_well_before_the_lease_ends(kept: Kept) -> None:
    """Each renewal counts from before it was sent, and less than the server believes."""
    await asyncio.sleep(2 * TTL)
    assert kept.guard.told == []
    assert kept.renewals >= 3
    assert kept.guard.until == sorted(kept.guard.until)
    assert kept.guard.until[-1] < now() + TTL


async def test_a_command_past_its_deadline_that_nobody_ends_is_told_once(kept: Kept) -> None:
    """After a grace; one that ended in time is not."""
    kept.keeper.expect_end(now() + 0.1)
    kept.keeper.expect_end(None)
    await asyncio.sleep(0.8)
    assert kept.guard.told == []
    kept.keeper.expect_end(now() + 0.1)
    await kept.told("stuck")
    await asyncio.sleep(0.5)
    assert kept.guard.told == ["stuck"]


async def test_time_off_line_does_not_count_against_a_command(kept: Kept) -> None:
    """Its deadline moves with it; what is left of it counts on."""
    kept.away = True
    kept.keeper.expect_end(now() + TTL)
    await kept.told("off line")
    await asyncio.sleep(2 * TTL)
    assert kept.guard.told == ["off line"]
    kept.away = False
    await kept.told("off line", "on line")
    await kept.told("off line", "on line", "stuck")


async def test_the_time_off_line_is_never_told_too_long(kept: Kept) -> None:
    """Whoever asks in whatever moment, also in that of coming back."""
    kept.away = True
    await kept.told("off line")
    since = now() - kept.keeper.off_line_seconds()
    await asyncio.sleep(0.5)
    kept.away = False
    before = 0.0
    while "on line" not in kept.guard.told or kept.keeper.off_line:
        seconds = kept.keeper.off_line_seconds()
        assert before <= seconds <= now() - since
        before = seconds
        await asyncio.sleep(0)
    final = kept.keeper.off_line_seconds()
    assert before <= final <= now() - since
    assert kept.keeper.off_line_seconds() == final


async def test_it_goes_off_line_as_often_as_the_store_is_away(kept: Kept) -> None:
    """And adds up how long."""
    for number in (1, 2):
        kept.away = True
        await kept.told(*["off line", "on line"] * (number - 1), "off line")
        kept.away = False
        await kept.told(*["off line", "on line"] * number)
    assert kept.keeper.off_line_seconds() > 0


async def test_it_is_lost_when_somebody_else_held_it_and_then_for_good(kept: Kept) -> None:
    """Told once; and again as stuck, if nobody takes the news."""
    kept.away = True
    await kept.told("off line")
    await kept.store.leases.acquire("b1", Holder(id="h2"), 60, supersedes="h1")
    kept.away = False
    await kept.told("off line", "lost")
    await kept.told("off line", "lost", "stuck")


async def test_stopped_it_tells_and_renews_nothing_any_more(kept: Kept) -> None:
    """The lease itself is left as it is."""
    kept.keeper.stop()
    await asyncio.sleep(0.3)
    renewals = kept.renewals
    kept.away = True
    await asyncio.sleep(1.5 * TTL)
    assert (kept.renewals, kept.guard.told) == (renewals, [])

"""Circuit breakers: a site that is down is asked by one caller at a time, rarely, until it is back."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import pytest_asyncio

from raypool.errors import ConfigurationError
from raypool.store.base import BreakerStore
from raypool.store.breakers import RedisBreakers
from raypool.store.circuit import Breaker, BreakerState, Timing
from raypool.store.memory_breakers import MemoryBreakers
from raypool.store.scripts import source
from tests.contract.conftest import Clock, Fleet, new_fleet
from tests.contract.proxy import LossyProxy
from tests.contract.servers import PASSWORD

CLOSED, OPEN, HALF_OPEN = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN
SITE = "site.example"
QUICK = Timing(window=20, pause=0.4, longest_pause=1.0, permit=0.4, jitter=0)


@dataclass
class Kit:
    """Makes breakers on one store, and lets time pass."""

    make: Callable[[Timing], BreakerStore]
    wait: Callable[[float], Any]

    async def opened(self, timing: Timing = QUICK, site: str = SITE) -> BreakerStore:
        """Return breakers of which that of the site is open."""
        breakers = self.make(timing)
        for _ in range(timing.failures):
            await breakers.report(site, ok=False)
        return breakers


@pytest_asyncio.fixture(params=["memory", "valkey", "redis", "cluster"])
async def kit(request: pytest.FixtureRequest, servers: Callable[[str], str]) -> AsyncIterator[Kit]:
    """Each implementation; with short times where the clock is the server's."""
    if request.param == "memory":
        clock, made = Clock(), {}
        yield Kit(lambda t: made.setdefault(t, MemoryBreakers(clock, t)), clock.wait)
        return
    async with new_fleet(servers(request.param)) as fleet:
        manager = await fleet.manager().open()
        yield Kit(lambda t: RedisBreakers(manager._connection, t), asyncio.sleep)


async def states(breakers: BreakerStore, callers: int) -> list[BreakerState]:
    """Return what so many callers that ask at once are told."""
    answers = await asyncio.gather(*(breakers.ask(SITE) for _ in range(callers)))
    return sorted((answer.state for answer in answers), key=str)


async def test_a_site_that_nobody_knows_is_open_to_all(kit: Kit) -> None:
    """No record is made for it."""
    breakers = kit.make(QUICK)
    assert await breakers.ask(SITE) == Breaker(site=SITE)
    assert await breakers.report(SITE, ok=True) == Breaker(site=SITE)
    assert await breakers.list() == []


async def test_five_failures_open_it_for_everybody(kit: Kit) -> None:
    """The fifth, not the fourth; who asks is told until when."""
    breakers = kit.make(replace(QUICK, pause=30, longest_pause=600))
    for number in range(1, 5):
        breaker = await breakers.report(SITE, ok=False)
        assert (breaker.state, breaker.failures, breaker.retry_at) == (CLOSED, number, None)
    assert (await breakers.ask(SITE)).state is CLOSED
    opened = await breakers.report(SITE, ok=False)
    assert (opened.state, opened.failures) == (OPEN, 5)
    assert opened.opened_at is not None
    assert opened.retry_at == opened.opened_at + timedelta(seconds=30)
    assert await breakers.ask(SITE) == opened
    assert await breakers.list() == [opened]
    assert (await breakers.ask("other.example")).state is CLOSED


async def test_a_success_between_failures_keeps_it_closed(kit: Kit) -> None:
    """A site that answers now and then is not down."""
    breakers = kit.make(QUICK)
    for _ in range(3):
        for _ in range(4):
            await breakers.report(SITE, ok=False)
        assert (await breakers.report(SITE, ok=True)).failures == 0
    assert (await breakers.ask(SITE)).state is CLOSED


async def test_failures_far_apart_keep_it_closed(kit: Kit) -> None:
    """Only those within the window count."""
    breakers = kit.make(replace(QUICK, window=0.3))
    for _ in range(3):
        for _ in range(3):
            await breakers.report(SITE, ok=False)
        await kit.wait(0.35)
    assert (await breakers.ask(SITE)).state is CLOSED
    assert await breakers.list() == []


async def test_after_the_pause_exactly_one_goes_through(kit: Kit) -> None:
    """The others are told when that one's permit ends."""
    breakers = await kit.opened()
    assert await states(breakers, 20) == [OPEN] * 20
    await kit.wait(0.45)
    assert await states(breakers, 20) == [HALF_OPEN] + [OPEN] * 19
    answer = await breakers.ask(SITE)
    assert answer.state is OPEN
    assert answer.retry_at is not None
    assert [b.state for b in await breakers.list()] == [HALF_OPEN]


async def test_success_of_that_one_closes_it(kit: Kit) -> None:
    """And all is forgotten: the next pause would be the first again."""
    breakers = await kit.opened()
    await kit.wait(0.45)
    assert (await breakers.ask(SITE)).state is HALF_OPEN
    assert (await breakers.report(SITE, ok=True)).state is CLOSED
    assert await states(breakers, 5) == [CLOSED] * 5
    assert await breakers.list() == []


async def test_its_failure_opens_it_for_twice_as_long(kit: Kit) -> None:
    """Up to the longest pause; since when it is down stays."""
    breakers = await kit.opened()
    (first,) = await breakers.list()
    pauses = []
    for wait in (0.45, 0.85, 1.05):
        await kit.wait(wait)
        asked = await breakers.ask(SITE)
        assert asked.state is HALF_OPEN
        again = await breakers.report(SITE, ok=False)
        assert (again.state, again.opened_at) == (OPEN, first.opened_at)
        assert again.retry_at is not None
        assert asked.retry_at is not None
        pauses.append((again.retry_at - asked.retry_at).total_seconds())
    assert [pause > least for pause, least in zip(pauses, (0.8, 1.0, 1.0), strict=True)] == [
        True
    ] * 3
    assert max(pauses) < 2.5


async def test_a_permit_that_nobody_reports_on_goes_to_the_next(kit: Kit) -> None:
    """Its holder may have been killed."""
    breakers = await kit.opened()
    await kit.wait(0.45)
    assert await states(breakers, 5) == [HALF_OPEN] + [OPEN] * 4
    await kit.wait(0.45)
    assert await states(breakers, 5) == [HALF_OPEN] + [OPEN] * 4


async def test_calls_that_began_before_it_opened_do_not_prolong_it(kit: Kit) -> None:
    """A thousand of them may fail one after another."""
    breakers = await kit.opened(replace(QUICK, pause=30, longest_pause=600))
    (before,) = await breakers.list()
    for _ in range(20):
        assert await breakers.report(SITE, ok=False) == before


async def test_pauses_have_jitter(kit: Kit) -> None:
    """Never shorter than the pause."""
    timing = Timing(failures=1)
    breakers = kit.make(timing)
    pauses = set()
    for n in range(20):
        opened = await breakers.report(f"s{n}.example", ok=False)
        assert opened.retry_at is not None
        assert opened.opened_at is not None
        pauses.add((opened.retry_at - opened.opened_at).total_seconds())
    assert len(pauses) > 5
    assert 30 <= min(pauses) <= max(pauses) <= 36


async def test_all_sites_are_listed_by_name(kit: Kit) -> None:
    """In whatever partition; names are compared in lower case, ports tell sites apart."""
    breakers = await kit.opened(site="Down.Example")
    for n in range(20):
        await breakers.report(f"s{n:02}.example:80", ok=False)
    found = await breakers.list()
    assert [b.site for b in found] == ["down.example", *(f"s{n:02}.example:80" for n in range(20))]
    assert [b.state for b in found] == [OPEN, *[CLOSED] * 20]
    assert (await breakers.ask("DOWN.example.")).state is OPEN
    assert (await breakers.ask("down.example:8443")).state is CLOSED


@pytest.mark.parametrize(
    "site",
    [
        "",
        "https://a.example",
        "a.example/x",
        "a b",
        "a}b",
        "x" * 300,
        "a:123456",
        "é.example",
        None,
    ],
)
async def test_what_is_no_site_is_refused(kit: Kit, site: Any) -> None:
    """Nothing else becomes a part of a key."""
    breakers = kit.make(QUICK)
    for call in (breakers.ask(site), breakers.report(site, ok=False)):
        with pytest.raises(ConfigurationError, match="is not a site"):
            await call


async def test_nothing_stays_for_ever(fleet: Fleet) -> None:
    """Every key has a TTL, closed or open; a closed one without failures has no key."""
    manager = await fleet.manager().open()
    breakers = RedisBreakers(manager._connection, Timing(failures=2))
    for report in (1, 2):
        await breakers.report(SITE, ok=False)
        for name, most in ((f"breaker:{SITE}", 60), ("index:breakers", 60)):
            left = await fleet.admin.pttl(f"{fleet.prefix}{{0}}:{name}")
            assert 0 < left <= (most if report == 1 else 36 + 1200) * 1000
    await breakers.report(SITE, ok=True)
    assert await fleet.names() == {"meta"}


async def test_a_lost_reply_wastes_no_permit_and_counts_no_failure_twice(fleet: Fleet) -> None:
    """The repeated question is answered as the first was."""
    for file in (files("raypool.store") / "lua").iterdir():
        await fleet.admin.script_load(source(file.name.removesuffix(".lua")))
    with tempfile.TemporaryDirectory(prefix="rp-") as path:
        socket = Path(path) / "p"
        async with (
            LossyProxy(socket, Path(urlsplit(fleet.url).path)) as proxy,
            fleet.manager(url=f"unix://:{PASSWORD}@{socket}") as manager,
        ):
            breakers = RedisBreakers(manager._connection, QUICK)
            proxy.lose_reply_to("report_breaker")
            assert (await breakers.report(SITE, ok=False)).failures == 1
            for _ in range(4):
                await breakers.report(SITE, ok=False)
            await asyncio.sleep(0.45)
            proxy.lose_reply_to("ask_breaker")
            assert (await breakers.ask(SITE)).state is HALF_OPEN
            assert proxy.lost == 2

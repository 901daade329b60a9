"""A site signs a business out: no good state is lost, one is gone back to, then a person is asked."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
import pytest_asyncio

from actors.ports import Stores
from raypool.model import SignIn
from raypool.spec import Probe
from raypool.store.memory import MemoryStore
from tests.integration.browsers import private_directory
from tests.integration.signin_stage import SignInStage, probe_of
from tests.sites.revoking import RevokingSite, Way

Make = Callable[..., Any]


@pytest.fixture
def site() -> Iterator[RevokingSite]:
    """A site of the test's own."""
    with RevokingSite() as running:
        yield running


@pytest_asyncio.fixture
async def make(site: RevokingSite) -> AsyncIterator[Make]:
    """Makes the business, signed in."""
    async with AsyncExitStack() as stack:
        stack.enter_context(private_directory())

        async def made(
            probe: Probe | None = None, kind: str = "headless_shell", **settings: Any
        ) -> Any:
            store = MemoryStore()
            session = await store.sessions.ensure_active(
                "b1", email="owner@example.com", probe=probe or probe_of(site), browser=kind
            )
            stores = Stores(store.sessions, store.leases, store.checkpoints, store.breakers)
            stage = SignInStage(stores, site, session, **settings)
            await stage.start()
            stack.push_async_callback(_over, stage)
            return stage

        yield made


async def _over(stage: SignInStage) -> None:
    await stage.life._vanish()
    assert stage.ended == []


async def _sign_out_unseen(stage: SignInStage) -> None:
    """Have the browser lose its session while nobody can say so; its state is saved."""
    stage.site.way = Way.REPLACES
    stage.site.end_sessions(stage.email)

    async def goes_down(page: Any) -> None:
        await page.goto(f"{stage.site.url}/posts")
        stage.site.down = True

    await stage.life.run(goes_down, 30)
    stage.site.down = False


@pytest.mark.parametrize("kind", ["headless_shell", "chromium"])
@pytest.mark.parametrize("way", Way)
async def test_a_sign_out_by_the_site_costs_no_good_version(
    make: Make, site: RevokingSite, way: Way, kind: str
) -> None:
    """The state is kept as a version; the last good one is the one that was signed in."""
    stage = await make(kind=kind)
    session = await stage.sign_in()
    good = (await stage.record()).last_good_version
    assert await stage.cookie(good) == session
    site.way = way
    site.end_sessions(stage.email)
    assert await stage.visit() == "Sign in"
    await stage.life._place.verify()
    after = await stage.record()
    assert stage.sign_in_state is SignIn.SIGNED_OUT
    assert after.checkpoint_version > good
    assert await stage.good_cookie() == session


async def test_a_business_goes_back_once_and_on_from_there(make: Make, site: RevokingSite) -> None:
    """Its browser lost the session that the site still honours: nobody signs in again."""
    stage = await make()
    session = await stage.sign_in()
    good = (await stage.record()).last_good_version
    await _sign_out_unseen(stage)
    newest = (await stage.record()).checkpoint_version
    assert await stage.cookie(newest) == "visitor"
    site.honour(session)
    await stage.crash()
    assert stage.sign_in_state is SignIn.SIGNED_IN
    told = stage.condition("FellBack")
    assert told is not None
    assert f"version {newest} " in told.message
    assert f"version {good}" in told.message
    after = await stage.record()
    assert after.checkpoint_version > newest
    assert after.last_good_version == after.checkpoint_version
    assert await stage.cookie(after.checkpoint_version) == session
    assert await stage.visit() == "Posts"
    assert site.sign_ins == 1
    await stage.crash()
    assert stage.condition("FellBack") is None
    assert stage.sign_in_state is SignIn.SIGNED_IN


async def test_a_person_is_asked_when_no_state_is_signed_in(make: Make, site: RevokingSite) -> None:
    """The newest state stays, no start tries again, and whoever signs in ends it."""
    stage = await make()
    session = await stage.sign_in()
    await _sign_out_unseen(stage)
    newest = (await stage.record()).checkpoint_version
    await stage.crash()
    assert stage.sign_in_state is SignIn.NEEDS_HUMAN
    told = stage.condition("NeedsHuman")
    assert told is not None
    assert "sign it in again" in told.message
    record = await stage.record()
    assert record.observed.sign_in is SignIn.NEEDS_HUMAN
    assert record.checkpoint_version == newest
    assert await stage.good_cookie() == session

    before = (await stage.crash()).describe()
    assert before["sign_in"] is SignIn.NEEDS_HUMAN
    assert site.sign_ins == 1

    again = await stage.sign_in()
    assert stage.sign_in_state is SignIn.SIGNED_IN
    assert stage.condition("NeedsHuman") is None
    assert (await stage.record()).observed.sign_in is SignIn.SIGNED_IN
    assert await stage.good_cookie() == again


async def test_a_site_that_is_down_sends_nobody_back(make: Make, site: RevokingSite) -> None:
    """Its error page is no verdict: the newest state goes on, and people read why nobody knows."""
    stage = await make()
    await stage.sign_in()
    newest = (await stage.record()).checkpoint_version
    site.down = True
    await stage.crash()
    assert stage.sign_in_state is SignIn.UNKNOWN
    told = stage.condition("Probe")
    assert told is not None
    assert "503" in told.message
    assert stage.condition("FellBack") is None
    await stage.life.checkpoint()
    assert (await stage.record()).last_good_version == newest
    site.down = False
    await stage.life._place.verify()
    assert stage.sign_in_state is SignIn.SIGNED_IN
    assert stage.condition("Probe") is None


async def test_an_idle_business_is_looked_at(
    make: Make, site: RevokingSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sign-out while nobody works is seen, and written down; no page of the business is touched."""
    monkeypatch.setattr("actors.rounds.ROUND_S", 0.02)
    stage = await make(probe_every=0.2)
    session = await stage.sign_in()
    pages = len(stage.life._place.present.components[1].pages)
    site.way = Way.CLEARS
    site.end_sessions(stage.email)
    async with asyncio.timeout(10):
        while (await stage.record()).observed.sign_in is not SignIn.SIGNED_OUT:
            await asyncio.sleep(0.02)
    assert stage.sign_in_state is SignIn.SIGNED_OUT
    assert await stage.good_cookie() == session
    assert len(stage.life._place.present.components[1].pages) == pages


async def test_what_a_page_changes_later_is_good_after_the_next_look(
    make: Make, site: RevokingSite
) -> None:
    """A cookie that changes by itself leaves the last good version where it is until then."""
    stage = await make()
    await stage.sign_in()

    def sets(value: str) -> Callable[[Any], Any]:
        async def work(page: Any) -> None:
            await page.context.add_cookies([{"name": "other", "value": value, "url": site.url}])

        return work

    await stage.life.run(sets("1"), 10)
    assert await stage.good_cookie("other") == "1"  # a cookie came: that was looked at
    await stage.life.run(sets("2"), 10)
    assert await stage.good_cookie("other") == "1"
    await stage.life._place.verify()
    assert await stage.good_cookie("other") == "2"


async def has_token(page: Any) -> bool:
    """Tell whether the page finds the token that its site keeps in localStorage."""
    return bool(await page.evaluate("localStorage.getItem('token') !== null"))


async def test_a_token_in_storage_is_guarded_as_well(make: Make, site: RevokingSite) -> None:
    """A site that takes it away, and changes no cookie, costs no good version either."""
    url = f"{site.url}/posts"
    stage = await make(Probe(url=url, function=f"{__name__}:has_token"))

    async def takes(page: Any) -> None:
        await page.goto(url)
        await page.evaluate("localStorage.setItem('token', 'abc')")

    async def loses(page: Any) -> None:
        await page.evaluate("localStorage.clear()")

    await stage.life.run(takes, 10)
    assert stage.sign_in_state is SignIn.SIGNED_IN
    good = (await stage.record()).last_good_version
    await stage.life.run(loses, 10)
    after = await stage.record()
    assert after.checkpoint_version > good
    assert after.last_good_version == good
    await stage.crash()
    assert stage.sign_in_state is SignIn.SIGNED_IN
    assert stage.condition("FellBack") is not None


async def knows_owner(page: Any) -> bool:
    """Tell whether the site calls somebody by name."""
    return bool(await page.locator("#who").count())


async def breaks(page: Any) -> bool:
    """Fail."""
    raise RuntimeError("the page looks different today")


async def test_a_function_tells_who_is_signed_in(make: Make, site: RevokingSite) -> None:
    """It judges a page of its own at the address, and its verdict guards the good version."""
    stage = await make(Probe(url=f"{site.url}/posts", function=f"{__name__}:knows_owner"))
    assert stage.sign_in_state is SignIn.SIGNED_OUT
    session = await stage.sign_in()
    assert stage.sign_in_state is SignIn.SIGNED_IN
    site.end_sessions(stage.email)
    await stage.life._place.verify()
    assert stage.sign_in_state is SignIn.SIGNED_OUT
    assert await stage.good_cookie() == session


async def test_a_function_that_fails_is_no_verdict(make: Make) -> None:
    """People are told which, and why."""
    stage = await make(Probe(function=f"{__name__}:breaks"))
    told = stage.condition("Probe")
    assert stage.sign_in_state is SignIn.UNKNOWN
    assert told is not None
    assert "breaks raised RuntimeError: the page looks different today" in told.message

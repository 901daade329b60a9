"""Sites that keep their sign-in where it is hard to save: a killed browser costs no sign-in."""

import contextlib
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from playwright.async_api import Frame, Page

from raypool.browser.live import LiveBrowser
from tests.integration.browsers import owned, within
from tests.sites.rotating import flows as rotating_flows
from tests.sites.rotating.server import RotatingSite
from tests.sites.tokens import flows
from tests.sites.tokens.server import TokenSites

KINDS = ("headless_shell", "chromium")


@dataclass(frozen=True)
class Case:
    """One site, with somebody who may sign in."""

    url: str
    elsewhere: str
    sign_in: Callable[[Page], Awaitable[Any]]
    is_signed_in: Callable[[Page | Frame], Awaitable[bool]]
    sign_ins: Callable[[], int]


@pytest.fixture
def sites() -> Iterator[TokenSites]:
    with TokenSites() as sites:
        yield sites


@pytest.fixture(scope="module")
def rotating() -> Iterator[RotatingSite]:
    with RotatingSite(users=10) as site:
        yield site


def token_case(sites: TokenSites, name: str) -> Case:
    url, book = getattr(sites, f"{name}_url"), getattr(sites, name)
    return Case(
        url,
        sites.elsewhere,
        lambda page: flows.sign_in(page, url),
        flows.is_signed_in,
        lambda: book.sign_ins,
    )


def rotating_case(sites: TokenSites, site: RotatingSite) -> Case:
    account = site.users.pop()

    async def is_signed_in(page: Page | Frame) -> bool:
        return not page.url.endswith("/sign-in")

    return Case(
        f"{site.url}/app/",
        sites.elsewhere,
        lambda page: rotating_flows.sign_in(page, site.url, account.email, account.password),
        is_signed_in,
        lambda: site.log(account.email).sign_ins,
    )


@pytest.fixture(params=["oidc", "firebase", "framed", "rotating"])
def case(request: pytest.FixtureRequest, sites: TokenSites, rotating: RotatingSite) -> Case:
    """One site after the other."""
    name = request.param
    return rotating_case(sites, rotating) if name == "rotating" else token_case(sites, name)


@contextlib.asynccontextmanager
async def killed(
    kind: str, work: Callable[[Page], Awaitable[Any]]
) -> AsyncIterator[Mapping[str, bytes]]:
    """Give the state after *work*, once the browser that it was done in is dead."""
    async with owned(kind) as owner:
        await work(await owner.live.page())
        collected = await owner.live.collect(everything=True)
        os.kill(owner.live.browser_pid, signal.SIGKILL)
        await within(10, lambda: owner.lost)
        owner.expected = owner.lost[:1]  # Chromium or a page of it, whichever was heard of first
    assert [text for text in collected.warnings if "sandbox" not in text] == []
    yield collected.parts


@contextlib.asynccontextmanager
async def restored(kind: str, work: Callable[[Page], Awaitable[Any]]) -> AsyncIterator[LiveBrowser]:
    """Give a new browser with the state of one that was killed after *work*."""
    async with killed(kind, work) as parts, owned(kind, parts) as owner:
        yield owner.live


@pytest.mark.parametrize("kind", KINDS)
async def test_an_open_tab_is_still_signed_in(kind: str, case: Case) -> None:
    """The tab comes back, and its first script finds what it needs."""

    async def work(page: Page) -> None:
        await case.sign_in(page)
        await page.goto(case.url)
        assert await case.is_signed_in(page)

    async with restored(kind, work) as live:
        assert await case.is_signed_in(await live.page())
        assert case.sign_ins() == 1


@pytest.mark.parametrize("kind", KINDS)
async def test_a_site_that_was_left_is_still_signed_in_when_visited(kind: str, case: Case) -> None:
    """No tab shows it when its browser dies, and none when the next one starts."""

    async def work(page: Page) -> None:
        await case.sign_in(page)
        await page.goto(case.elsewhere)

    async with restored(kind, work) as live:
        page = await live.page()
        assert page.url == case.elsewhere
        await page.goto(case.url)
        assert await case.is_signed_in(page)
        assert case.sign_ins() == 1


@pytest.mark.parametrize("kind", KINDS)
async def test_a_pop_up_is_signed_in(kind: str, case: Case) -> None:
    """What a page opens has the storage of its site before its first script."""

    # sessionStorage is a tab's own: a pop-up gets a copy from a page of its own origin only.
    opener = case.url if "oidc" in case.url else case.elsewhere

    async def settled(page: Page) -> None:
        if opener == case.url:
            assert await case.is_signed_in(page)

    async def work(page: Page) -> None:
        await case.sign_in(page)
        await page.goto(opener)
        await settled(page)

    async with restored(kind, work) as live:
        page = await live.page()
        await settled(page)
        async with page.expect_popup() as opened:
            await page.evaluate("url => void open(url)", case.url)
        pop_up = await opened.value
        await pop_up.wait_for_load_state()
        assert await case.is_signed_in(pop_up)
        assert case.sign_ins() == 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["firebase", "framed"])
async def test_a_frame_is_signed_in(kind: str, name: str, sites: TokenSites) -> None:
    """What was saved of a page of its own is there when another page shows the site in a frame."""
    case = token_case(sites, name)

    async def work(page: Page) -> None:
        await case.sign_in(page)
        await page.goto(case.elsewhere)

    async with restored(kind, work) as live:
        page = await live.page()
        await page.goto(sites.around(case.url))
        frame = page.frame("inner")
        assert frame is not None
        assert await case.is_signed_in(frame)
        assert case.sign_ins() == 1


@pytest.mark.parametrize("kind", KINDS)
async def test_a_restored_page_goes_on_to_renew(kind: str, sites: TokenSites) -> None:
    """Its token is the newest: the next renewals are accepted, one after the other."""
    case = token_case(sites, "oidc")
    async with restored(kind, case.sign_in) as live:
        page = await live.page()
        before = sites.oidc.renewals
        await within(20, lambda: sites.oidc.renewals > before + 2)
        assert await case.is_signed_in(page)
        assert case.sign_ins() == 1

"""Drivers attach to a live browser and leave it. Real Chromium, real connections, no Ray."""

import asyncio
import os
import signal
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest
from playwright.async_api import Error as PlaywrightError
from playwright.async_api import TimeoutError as PlaywrightTimeout

from raypool import state
from raypool.browser.live import LiveBrowser
from raypool.browser.remote import connect_remote
from raypool.browser.remote_sync import connect_remote_sync
from raypool.errors import InstanceLost, InstanceNotReady
from tests.integration.browsers import hangs, owned, stopped, whole_session, within
from tests.integration.pages import Pages
from tests.integration.scripts import ROOT, script

LOOPBACK = "127.0.0.1"
NEVER = "new Promise(() => {})"
FORM = "<input id=name><button onclick='window.clicks = (window.clicks || 0) + 1'>count</button>"


@pytest.fixture(scope="module")
def pages() -> Iterator[Pages]:
    """The site."""
    with Pages() as pages:
        yield pages


async def _form(live: LiveBrowser, pages: Pages) -> Any:
    page = await live.page()
    await page.goto(pages.url)
    await page.set_content(FORM)
    return page


# -- being there -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["headless_shell", "chromium"])
async def test_a_driver_works_on_the_live_page(kind: str, pages: Pages) -> None:
    """It sees what is there, types, clicks and reads; when it leaves, all of it is still there."""
    async with owned(kind) as owner:
        page = await _form(owner.live, pages)
        await page.fill("#name", "from the owner")
        endpoint = await owner.live.bind(LOOPBACK)
        async with connect_remote(endpoint, await owner.live.active_page_id()) as attached:
            assert attached.page.url == page.url
            assert await attached.page.input_value("#name") == "from the owner"
            await attached.page.fill("#name", "from the driver")
            await attached.page.click("button")
            await attached.context.add_cookies([{"name": "c", "value": "v", "url": pages.url}])
        assert await page.input_value("#name") == "from the driver"
        assert await page.evaluate("window.clicks") == 1
        assert [c["name"] for c in await owner.live.context.cookies()] == ["c"]
        assert (len(owner.live.browser.contexts), len(owner.live.context.pages)) == (1, 1)


async def test_a_driver_gets_the_page_that_functions_get(pages: Pages) -> None:
    """Not the first tab but the active one; another when it was closed, a new one when all were."""
    tabs = [{"url": f"{pages.url}/{n}", "scroll": [0, 0], "sessionStorage": {}} for n in range(3)]
    async with owned(parts={state.TABS: state.encode({"active": 1, "tabs": tabs})}) as owner:
        endpoint, known = await owner.live.bind(LOOPBACK), await owner.live.active_page_id()
        async with connect_remote(endpoint, known) as attached:
            assert attached.page.url == f"{pages.url}/1"
            await attached.page.close()
        async with connect_remote(endpoint, known) as attached:
            assert attached.page.url == f"{pages.url}/0"
            for page in attached.context.pages:
                await page.close()
        async with connect_remote(endpoint, known) as attached:
            assert attached.page.url == "about:blank"
        await within(5, lambda: len(owner.live.context.pages) == 1)
        assert owner.live.pages_opened == 4


async def test_two_drivers_work_at_once(pages: Pages) -> None:
    """Each sees what the other does, and one that leaves does not disturb the one that stays."""
    async with owned() as owner:
        await _form(owner.live, pages)
        endpoint = await owner.live.bind(LOOPBACK)
        async with connect_remote(endpoint) as stays:
            async with connect_remote(endpoint) as leaves:
                await leaves.page.fill("#name", "one")
                assert await stays.page.input_value("#name") == "one"
                await stays.page.fill("#name", "two")
                assert await leaves.page.input_value("#name") == "two"
            assert await stays.page.input_value("#name") == "two"


async def test_a_tab_that_a_driver_opens_stays(pages: Pages) -> None:
    """It is one of the business's tabs, and is saved like one."""
    async with owned() as owner:
        async with connect_remote(await owner.live.bind(LOOPBACK)) as attached:
            tab = await attached.context.new_page()
            await tab.goto(f"{pages.url}/opened")
        assert [page.url for page in owner.live.context.pages] == [
            "about:blank",
            f"{pages.url}/opened",
        ]
        saved = state.decode(
            state.TABS, (await owner.live.collect(everything=True)).parts[state.TABS]
        )
        assert [tab["url"] for tab in saved["tabs"]] == ["about:blank", f"{pages.url}/opened"]
        assert owner.live.pages_opened == 2


async def test_a_script_without_asyncio_attaches_too(pages: Pages) -> None:
    """The same page, the same promises, the same errors."""

    def attach(endpoint: str, page_id: str) -> str:
        with connect_remote_sync(endpoint, page_id) as attached:
            attached.page.fill("#name", "plainly")
            return str(attached.page.url)

    def lose(endpoint: str) -> None:
        with connect_remote_sync(endpoint) as attached:
            attached.context.close()
            attached.page.title()

    async with owned() as owner:
        page = await _form(owner.live, pages)
        endpoint, known = await owner.live.bind(LOOPBACK), await owner.live.active_page_id()
        assert await asyncio.to_thread(attach, endpoint, known) == page.url
        assert await page.input_value("#name") == "plainly"
        with pytest.raises(InstanceLost):
            await asyncio.to_thread(lose, endpoint)
        await owner.live.unbind()
        with pytest.raises(InstanceNotReady):
            await asyncio.to_thread(attach, endpoint, known)
        owner.expected = ["its context was closed"]


# -- leaving badly ---------------------------------------------------------------------------------

_ATTACHED = """
    from raypool.browser.remote import connect_remote

    async def main():
        async with connect_remote(sys.argv[1]) as attached:
            await (await attached.browser.new_context()).new_page()
            await attached.context.route("**/held", lambda route: say(held=route.request.url))
            await attached.page.fill("#name", "and gone")
            say(attached=attached.page.url)
            await asyncio.sleep(100)

    asyncio.run(main())
"""


async def test_a_driver_that_is_killed_leaves_the_owner_working(pages: Pages) -> None:
    """What it held goes on, what it left is tidied up, and its own processes end."""
    async with owned() as owner:
        page = await _form(owner.live, pages)
        endpoint = await owner.live.bind(LOOPBACK)
        env = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], "PYTHONPATH": str(ROOT)}
        with script(_ATTACHED, env, endpoint) as driver:
            assert (await asyncio.to_thread(driver.hear))["attached"] == page.url
            held = asyncio.ensure_future(page.evaluate("fetch('/held').then(got => got.status)"))
            assert (await asyncio.to_thread(driver.hear))["held"] == f"{pages.url}/held"
            below = psutil.Process(driver.pid).children(recursive=True)
            assert below
            os.kill(driver.pid, signal.SIGKILL)
            driver.end()
        assert await held == 200
        assert await page.input_value("#name") == "and gone"
        await within(10, lambda: not [p for p in below if p.is_running()])
        assert await owner.live.tidy() == 1


async def test_contexts_of_drivers_leak_until_they_are_tidied_up(pages: Pages) -> None:
    """Also one whose page hangs; the business's own is not touched."""
    async with owned() as owner:
        page = await _form(owner.live, pages)
        async with connect_remote(await owner.live.bind(LOOPBACK)) as attached:
            await attached.browser.new_context()
            hung = await (await attached.browser.new_context()).new_page()
            await hangs(hung.evaluate("while (true) {}"))
        assert len(owner.live.browser.contexts) == 3
        assert await owner.live.tidy() == 2
        assert owner.live.browser.contexts == [owner.live.context]
        assert await owner.live.tidy() == 0
        assert await page.evaluate("1 + 1") == 2


async def test_a_driver_that_closes_the_context_is_noticed_once(pages: Pages) -> None:
    """Its owner hears why, so that it can rebuild; the driver hears that trying again helps."""

    async def close(endpoint: str) -> None:
        async with connect_remote(endpoint) as attached:
            await attached.context.close()
            await attached.page.title()

    async with owned() as owner:
        endpoint = await owner.live.bind(LOOPBACK)
        with pytest.raises(InstanceLost) as caught:
            await close(endpoint)
        assert caught.value.retryable
        owner.expected = ["its context was closed"]
        await within(5, lambda: owner.lost)
        with pytest.raises(InstanceNotReady, match="its context was closed"):
            async with connect_remote(endpoint):
                pass
        await asyncio.sleep(0.1)  # whatever else there is to tell


@pytest.mark.parametrize(
    ("victim", "reason"),
    [("browser_pid", "Chromium is gone"), ("driver_pid", "the Playwright driver is gone")],
)
async def test_a_browser_that_dies_under_a_driver_is_said_so(victim: str, reason: str) -> None:
    """In words that tell to attach again, without the key to the browser."""

    async def kill(endpoint: str, pid: int) -> None:
        async with connect_remote(endpoint) as attached:
            asking = await hangs(attached.page.evaluate(NEVER))
            os.kill(pid, signal.SIGKILL)
            await asking

    async with owned() as owner:
        endpoint = await owner.live.bind(LOOPBACK)
        owner.expected = [reason]
        with pytest.raises(InstanceLost, match="went away") as caught:
            await kill(endpoint, getattr(owner.live, victim))
        assert caught.value.retryable
        assert urlsplit(endpoint).path.strip("/") not in str(caught.value)
        await within(5, lambda: owner.lost)


async def test_an_error_of_the_page_stays_what_it_is(pages: Pages) -> None:
    """Only a browser that is gone is called so."""
    async with owned() as owner:
        with pytest.raises(PlaywrightError, match="no such thing"):
            async with connect_remote(await owner.live.bind(LOOPBACK)) as attached:
                await attached.page.evaluate("() => { throw Error('no such thing') }")


# -- off line --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["headless_shell", "chromium"])
async def test_a_frozen_browser_goes_on_where_it_was(kind: str, pages: Pages) -> None:
    """Calls wait, actions run into their own timeout; thawed, the same connection goes on."""
    async with owned(kind) as owner:
        await _form(owner.live, pages)
        endpoint = await owner.live.bind(LOOPBACK)
        async with connect_remote(endpoint) as attached:
            with stopped(*whole_session(owner.live.browser_pid)):
                asking = await hangs(attached.page.evaluate("6 * 7"))
                with pytest.raises(PlaywrightTimeout):
                    await attached.page.click("button", timeout=300)
                async with connect_remote(endpoint) as late:
                    assert late.page.url == attached.page.url
                assert attached.browser.is_connected()
            assert await asking == 42
            await attached.page.fill("#name", "thawed")
        assert await (await owner.live.page()).input_value("#name") == "thawed"


@pytest.mark.parametrize("frozen", [False, True])
async def test_unbinding_cuts_off_whoever_is_attached(frozen: bool) -> None:
    """At once, in the middle of a call, also while the browser is frozen; the browser lives on."""

    async def cut_off(live: LiveBrowser) -> None:
        async with connect_remote(await live.bind(LOOPBACK)) as attached:
            asking = await hangs(attached.page.evaluate(NEVER))
            async with asyncio.timeout(5):
                await live.unbind()
            await asking

    async with owned() as owner:
        endpoint = await owner.live.bind(LOOPBACK)
        pids = whole_session(owner.live.browser_pid) if frozen else ()
        with stopped(*pids), pytest.raises(InstanceLost):
            await cut_off(owner.live)
        with pytest.raises(InstanceNotReady, match="ECONNREFUSED"):
            async with connect_remote(endpoint):
                pass
        assert await (await owner.live.page()).evaluate("1") == 1


async def test_a_driver_can_let_go_of_a_frozen_browser() -> None:
    """Closing its connection ends what it waits for: a driver that lost its ticket does that."""

    async def let_go(endpoint: str) -> None:
        async with connect_remote(endpoint) as attached:
            asking = await hangs(attached.page.evaluate("1"))
            await attached.browser.close()
            await asking

    async with owned() as owner:
        endpoint = await owner.live.bind(LOOPBACK)
        with stopped(*whole_session(owner.live.browser_pid)), pytest.raises(InstanceLost):
            await let_go(endpoint)

"""What is different for an attached driver: each row of the tables in docs/attach.md. Real Chromium."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Error as PlaywrightError
from playwright.async_api import TimeoutError as PlaywrightTimeout

from raypool.browser.live import LiveBrowser
from raypool.browser.remote import connect_remote
from raypool.errors import BrowserError
from tests.integration.browsers import hangs, owned
from tests.integration.pages import Pages
from tests.integration.scripts import ROOT, script

LOOPBACK = "127.0.0.1"
ENGINE = """{
  query(root, selector) { return root.querySelector(selector) },
  queryAll(root, selector) { return [...root.querySelectorAll(selector)] },
}"""
COVER = """() => document.body.insertAdjacentHTML(
  'beforeend', "<div id='cover' style='position: fixed; inset: 0'>cookies?</div>")"""
UNCOVER = "document.querySelector('#cover').remove()"


@pytest.fixture(scope="module")
def pages() -> Iterator[Pages]:
    """The site."""
    with Pages() as pages:
        yield pages


@pytest.fixture
async def live(pages: Pages, tmp_path: Path) -> AsyncIterator[LiveBrowser]:
    """A browser with a page of the site, open to drivers. The test's directory is older than its."""
    async with owned() as owner:
        page = await owner.live.page()
        await page.goto(pages.url)
        await page.set_content(
            "<button>do</button><input type=file>"
            "<a href='data:text/plain,file' download='a.txt'>download</a>"
        )
        await owner.live.bind(LOOPBACK)
        yield owner.live


async def test_downloads_go_by_save_as(live: LiveBrowser, tmp_path: Path) -> None:
    """The file is where the browser is: its path means nothing to a driver."""
    async with connect_remote(await live.bind(LOOPBACK)) as attached:
        async with attached.page.expect_download() as downloading:
            await attached.page.click("a")
        download = await downloading.value
        with pytest.raises(PlaywrightError, match="Use save_as"):
            await download.path()
        await download.save_as(tmp_path / "here.txt")
    assert (tmp_path / "here.txt").read_text() == "file"


async def test_uploads_come_from_the_drivers_disk(live: LiveBrowser, tmp_path: Path) -> None:
    """As with a browser of its own."""
    (tmp_path / "mine.txt").write_text("mine")
    async with connect_remote(await live.bind(LOOPBACK)) as attached:
        await attached.page.set_input_files("input", tmp_path / "mine.txt")
    sent = await (await live.page()).evaluate("document.querySelector('input').files[0].text()")
    assert sent == "mine"


async def test_selector_engines_are_registered_after_attaching(live: LiveBrowser) -> None:
    """Then they are everybody's, and stay; a second driver cannot register the name again."""
    page = await live.page()
    async with connect_remote(await live.bind(LOOPBACK)) as attached:
        await attached.playwright.selectors.register("tag", ENGINE)
        assert await attached.page.locator("tag=button").count() == 1
    assert await page.locator("tag=button").count() == 1
    async with connect_remote(await live.bind(LOOPBACK)) as attached:
        assert await attached.page.locator("tag=button").count() == 1
        with pytest.raises(PlaywrightError, match="already registered"):
            await attached.playwright.selectors.register("tag", ENGINE)


async def test_a_locator_handler_works_for_everybody(live: LiveBrowser) -> None:
    """Whoever clicks: the one who added it is asked."""
    page = await live.page()
    async with connect_remote(await live.bind(LOOPBACK)) as attached:
        mine = attached.page
        await mine.add_locator_handler(mine.locator("#cover"), lambda: mine.evaluate(UNCOVER))
        for somebody in (page, mine):
            await page.evaluate(COVER)
            await somebody.click("button", timeout=10_000)


async def test_a_locator_handler_that_is_left_behind_is_in_the_way(live: LiveBrowser) -> None:
    """Nobody answers for it any more: actions time out under its cover. Remove it before leaving."""
    page = await live.page()
    async with connect_remote(await live.bind(LOOPBACK)) as attached:
        await attached.page.add_locator_handler(attached.page.locator("#cover"), _nothing)
        kept = attached.page.locator("button")
        await attached.page.add_locator_handler(kept, _nothing)
        await attached.page.remove_locator_handler(kept)
    await page.click("button", timeout=10_000)
    await page.evaluate(COVER)
    with pytest.raises(PlaywrightTimeout):
        await page.click("button", timeout=1000)


async def _nothing() -> None:
    """Do nothing about it."""


async def test_what_a_driver_hooks_in_goes_with_it(live: LiveBrowser, pages: Pages) -> None:
    """Routes, exposed functions, init scripts, default timeouts."""
    page = await live.page()
    async with connect_remote(await live.bind(LOOPBACK)) as attached:
        attached.context.set_default_timeout(1)
        await attached.context.route("**/r", lambda route: route.fulfill(body="routed"))
        await attached.context.expose_function("hello", lambda: "hi")
        await attached.context.add_init_script("window.inited = true")
        await page.goto(pages.url)
        assert await _hooks(page) == ["routed", "function", True]
    routed, *others = await _hooks(page)
    assert (routed != "routed", others) == (True, ["undefined", True])  # the page is still the same
    await page.goto(pages.url)
    assert (await _hooks(page))[1:] == ["undefined", False]
    await page.set_content("<button disabled>wait</button>")
    clicking = await hangs(page.click("button"), 0.5)
    await page.evaluate("document.querySelector('button').disabled = false")
    await clicking


async def _hooks(page: Any) -> Any:
    return await page.evaluate(
        "fetch('/r').then(r => r.text()).then(t => [t, typeof hello, window.inited === true])"
    )


async def test_what_a_driver_sets_stays(live: LiveBrowser, pages: Pages) -> None:
    """Viewport, media, permissions, position, headers, being off line, a clock: until changed back."""
    page = await live.page()
    async with connect_remote(await live.bind(LOOPBACK)) as attached:
        await attached.page.set_viewport_size({"width": 333, "height": 444})
        await attached.page.emulate_media(color_scheme="dark")
        await attached.context.grant_permissions(["geolocation"])
        await attached.context.set_geolocation({"latitude": 12, "longitude": 34})
        await attached.context.set_extra_http_headers({"x-left": "behind"})
        await attached.context.clock.install(time=0)
        await attached.context.set_offline(True)
    with pytest.raises(PlaywrightError, match="ERR_INTERNET_DISCONNECTED"):
        await page.goto(pages.url)
    await live.context.set_offline(False)
    answer = await page.goto(pages.url)
    assert answer is not None
    assert (await answer.request.all_headers())["x-left"] == "behind"
    seen = await page.evaluate("""() => new Promise((yes, no) =>
      navigator.geolocation.getCurrentPosition(position => yes([
        innerWidth, matchMedia('(prefers-color-scheme: dark)').matches,
        position.coords.latitude, new Date().getFullYear()]), no))""")
    assert seen == [333, True, 12, 1970]


async def test_a_dialog_is_dismissed_unless_somebody_listens(live: LiveBrowser) -> None:
    """Playwright's own rule; a driver that listens decides for everybody."""
    page = await live.page()
    async with connect_remote(await live.bind(LOOPBACK)) as attached:
        assert await page.evaluate("confirm('sure?')") is False
        attached.page.on("dialog", lambda dialog: dialog.accept())
        await attached.page.title()  # the driver knows by now that somebody listens
        assert await page.evaluate("confirm('sure?')") is True
    assert await page.evaluate("confirm('sure?')") is False


async def test_a_dialog_that_is_left_open_hangs_its_page(live: LiveBrowser) -> None:
    """Nobody can answer it any more; the owner's health check finds the page, and rebuilds."""
    page = await live.page()
    async with connect_remote(await live.bind(LOOPBACK)) as attached:
        attached.page.on("dialog", lambda _: None)
        await attached.page.title()
        await hangs(page.evaluate("confirm('sure?')"))
        with pytest.raises(BrowserError):
            await live.check_page(0.5)
    with pytest.raises(BrowserError):
        await live.check_page(0.5)


async def test_closing_a_tab_closes_it(live: LiveBrowser) -> None:
    """For everybody; functions get another one."""
    before = await live.page()
    async with connect_remote(await live.bind(LOOPBACK)) as attached:
        await attached.page.close()
    after = await live.page()
    assert before.is_closed()
    assert not after.is_closed()


_DIES = """
    from raypool.browser.remote import connect_remote

    async def never():
        say(called=True)
        await asyncio.sleep(100)

    async def main():
        async with connect_remote(sys.argv[1]) as attached:
            await attached.context.expose_function("never", never)
            say(attached=True)
            await asyncio.sleep(100)

    asyncio.run(main())
"""


async def test_a_call_into_a_driver_that_dies_never_returns(live: LiveBrowser) -> None:
    """The page waits for an exposed function for ever; the page itself goes on."""
    page = await live.page()
    env = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], "PYTHONPATH": str(ROOT)}
    with script(_DIES, env, await live.bind(LOOPBACK)) as driver:
        await asyncio.to_thread(driver.hear)
        calling = asyncio.ensure_future(page.evaluate("never()"))
        assert (await asyncio.to_thread(driver.hear))["called"]
        os.kill(driver.pid, signal.SIGKILL)
        driver.end()
    await hangs(calling)
    await live.check_page(5)
    assert await page.evaluate("typeof never") == "undefined"

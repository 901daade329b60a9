"""Browsers that only look alive: each way to hang is found by a bounded question. Real Chromium."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Iterator

import pytest

from raypool.errors import BrowserError
from tests.integration.browsers import hangs, owned, stopped, whole_session, within
from tests.integration.pages import Pages

BUSY = "() => { const end = Date.now() + 1500; while (Date.now() < end); return 'done' }"


@pytest.fixture(scope="module")
def pages() -> Iterator[Pages]:
    """The site."""
    with Pages() as pages:
        yield pages


async def test_a_browser_that_is_well_is_found_well(pages: Pages) -> None:
    """Also on a page that fails, on one that was just closed, and without any page."""
    async with owned() as owner:
        live = owner.live
        page = await live.page()
        await page.goto(pages.url)
        await live.ping()
        await live.check_page(5)
        await page.evaluate("() => { window.eval = () => { throw Error('no') } }")
        await live.check_page(5)
        assert not live.stopped()
        await asyncio.gather(page.close(), live.check_page(5))
        await live.check_page(5)


@pytest.mark.parametrize("kind", ["headless_shell", "chromium"])
async def test_a_page_whose_script_never_ends_is_found(kind: str, pages: Pages) -> None:
    """Named by its site; driver and Chromium answer meanwhile, which is why nobody else sees it."""
    async with owned(kind) as owner:
        page = await owner.live.page()
        await page.goto(f"http://hangs.localhost:{pages.port}")
        await hangs(page.evaluate("while (true) {}"))
        with pytest.raises(BrowserError, match="hangs.localhost") as caught:
            await owner.live.check_page(1)
        assert (caught.value.code, caught.value.retryable) == ("BROWSER_CRASHED", True)
        async with asyncio.timeout(5):
            await owner.live.ping()
        assert not owner.live.stopped()


async def test_questions_to_a_hung_page_do_not_pile_up(pages: Pages) -> None:
    """However often it is asked, one call is under way; and a page that was only busy is well again."""
    async with owned() as owner:
        page = await owner.live.page()
        await page.goto(pages.url)
        busy = await hangs(page.evaluate(BUSY), 0.2)
        with pytest.raises(BrowserError):
            await owner.live.check_page(0.1)
        before = len(asyncio.all_tasks())
        for _ in range(3):
            with pytest.raises(BrowserError):
                await owner.live.check_page(0.1)
        assert len(asyncio.all_tasks()) == before
        assert await busy == "done"
        await owner.live.check_page(5)


async def test_another_page_is_asked_anew(pages: Pages) -> None:
    """The question that a hung page owes an answer to is not held against the next one."""
    async with owned() as owner:
        page = await owner.live.page()
        await page.goto(pages.url)
        await hangs(page.evaluate("while (true) {}"), 0.2)
        with pytest.raises(BrowserError):
            await owner.live.check_page(0.3)
        await page.close()
        await (await owner.live.page()).goto(pages.url)
        await owner.live.check_page(5)


@pytest.mark.parametrize("kind", ["headless_shell", "chromium"])
async def test_a_stopped_chromium_is_found(kind: str, pages: Pages) -> None:
    """Its main process alone, or all of it: nothing answers, the kernel knows why, and it goes on."""
    async with owned(kind) as owner:
        live = owner.live
        await (await live.page()).goto(pages.url)
        for pids in ([live.browser_pid], whole_session(live.browser_pid)):
            with stopped(*pids):
                assert live.stopped()
                asking = await hangs(live.ping())
            await asking
            assert not live.stopped()
        await live.check_page(5)


async def test_a_stopped_driver_is_found(pages: Pages) -> None:
    """As for Chromium; the page's answer comes late and counts."""
    async with owned() as owner:
        await (await owner.live.page()).goto(pages.url)
        with stopped(owner.live.driver_pid):
            assert owner.live.stopped()
            await hangs(owner.live.ping())
            with pytest.raises(BrowserError):
                await owner.live.check_page(0.3)
        await owner.live.check_page(5)


async def test_a_dead_browser_is_not_called_stopped() -> None:
    """Death is told at once, by other means; the question for what was stopped stays harmless."""
    async with owned() as owner:
        for pid in whole_session(owner.live.browser_pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        await within(10, lambda: owner.lost)
        owner.expected = owner.lost[:1]  # Chromium or a page of it, whichever was heard of first
        assert not owner.live.stopped()

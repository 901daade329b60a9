"""What a service worker writes while no page of its site is open is found when one is again."""

import asyncio
from collections.abc import Iterator, Mapping

import pytest

from raypool import state
from raypool.state import Area, Buckets, Kind
from tests.integration.browsers import owned
from tests.integration.pages import Pages

TELL = """async (message) => {
  await navigator.serviceWorker.register("/worker.js");
  const { active } = await navigator.serviceWorker.ready;
  active.postMessage(message);
}"""
WRITTEN = """() => new Promise((resolve) => {
  const request = indexedDB.open("db");
  request.onsuccess = () => {
    const reading = request.result.transaction("tokens").objectStore("tokens").get("token");
    reading.onsuccess = () => { request.result.close(); resolve(reading.result); };
  };
})"""


@pytest.fixture(scope="module")
def pages() -> Iterator[Pages]:
    """A site with a service worker that writes to a database when it is told to, a while later."""
    with Pages() as pages:
        yield pages


def tokens(parts: Mapping[str, bytes], origin: str) -> object:
    """Return what a state holds of the service worker's database."""
    area = Area(Kind.RECORDS, state.key_of(origin), "db", "tokens").name
    own = {name: data for name, data in parts.items() if name.startswith(area)}
    return dict(Buckets.load(area, own).items())


@pytest.mark.parametrize("kind", ["headless_shell", "chromium"])
async def test_what_it_wrote_without_a_tab_is_found_at_the_next_visit(
    kind: str, pages: Pages
) -> None:
    """A new database as soon as its site is visited; a changed one at the end of the command."""
    async with owned(kind) as owner:
        live = owner.live
        page, other = await live.page(), await live.context.new_page()
        await page.goto(pages.url)
        await page.evaluate(TELL, {"delay": 500, "value": "new"})
        await page.close()
        await asyncio.sleep(1.5)
        await other.goto(pages.url)
        assert await other.evaluate(WRITTEN) == "new"
        async with asyncio.timeout(5):
            while tokens((await live.collect(everything=False)).parts, pages.url) != {
                '"token"': "new"
            }:
                await asyncio.sleep(0.05)
        page = await live.context.new_page()
        await other.evaluate(TELL, {"delay": 500, "value": "changed"})
        await other.close()
        await asyncio.sleep(1.5)
        await page.goto(pages.url)
        assert await page.evaluate(WRITTEN) == "changed"
        found = (await live.collect(everything=True)).parts
        assert tokens(found, pages.url) == {'"token"': "changed"}

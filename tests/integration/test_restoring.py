"""A fresh browser finds its storage where it is opened first, before the site's own scripts; once."""

import asyncio
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from raypool import state
from raypool.state import Area, Buckets, Kind
from tests.integration.browsers import Owner, owned
from tests.integration.pages import Pages
from tests.integration.saved import everything, local

AT_FIRST = b"""<!doctype html><script>
  // What the first script of this document finds.
  const [local, session] = [localStorage, sessionStorage].map((s) => Object.entries(s).sort());
  const shown = { local, session };
  const tell = (databases) => {
    shown.databases = databases;
    document.title = JSON.stringify(shown);
    if (window !== top) parent.postMessage(document.title, '*');
    if (opener) opener.postMessage(document.title, '*');
  };
  indexedDB.databases().then((all) => {
    if (!all.length) return tell([]);
    const request = indexedDB.open(all[0].name);
    request.onsuccess = () => {
      const records = request.result.transaction('tokens').objectStore('tokens').getAll();
      records.onsuccess = () => tell([all[0].name, all[0].version, records.result]);
    };
  });
</script>"""
TOLD = """act => new Promise((resolve) => {
  addEventListener('message', (event) => resolve(event.data), { once: true });
  eval(act);
})"""


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = AT_FIRST if self.path == "/shows" else b"<!doctype html><title>page</title>page"
        if self.path.startswith("/to?"):
            self.send_response(302)
            self.send_header("Location", self.path.partition("?")[2])
        else:
            self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def pages() -> Iterator[Pages]:
    """A site that shows what its first script finds."""
    with Pages(_Handler) as pages:
        yield pages


@pytest.fixture(params=["headless_shell", "chromium"])
def kind(request: pytest.FixtureRequest) -> str:
    """Both browsers."""
    return str(request.param)


WHOLE = {"local": [["a", "1"]], "session": [], "databases": ["db", 4, ["x", "y"]]}


async def shown(page: Any) -> Any:
    """Return what a document's first script found."""
    await page.wait_for_function("document.title.startsWith('{')")
    return json.loads(await page.title())


async def test_the_first_script_finds_all(kind: str, pages: Pages) -> None:
    """In a page that is opened at once, without waiting for anything."""
    async with owned(kind, everything(pages.url)) as owner:
        page = await owner.live.context.new_page()
        await page.goto(f"{pages.url}/shows")
        assert await shown(page) == WHOLE


async def test_a_popup_finds_all(kind: str, pages: Pages) -> None:
    """A pop-up begins to load before anybody else knows of it."""
    other = f"http://127.0.0.1:{pages.port}"
    async with owned(kind, everything(other)) as owner:
        page = await owner.live.page()
        await page.goto(pages.url)
        told = await page.evaluate(TOLD, f"window.open('{other}/shows')")
        assert json.loads(told) == WHOLE


async def test_a_frame_finds_all(kind: str, pages: Pages) -> None:
    """A frame of another origin; of another site in the browser that gives such frames storage."""
    top = pages.url if kind == "headless_shell" else f"http://shop.localhost:{pages.port}"
    inner = f"http://sub.shop.localhost:{pages.port}"
    async with owned(kind, everything(inner)) as owner:
        page = await owner.live.page()
        await page.goto(top)
        told = await page.evaluate(
            TOLD,
            "const f = document.createElement('iframe');"
            f"f.src = '{inner}/shows'; document.body.append(f)",
        )
        assert json.loads(told) == WHOLE


async def test_a_tab_finds_its_session_storage(kind: str, pages: Pages) -> None:
    """Each tab its own, also that of an origin which it visits only later."""
    other = f"http://127.0.0.1:{pages.port}"
    tabs = [
        {
            "url": f"{pages.url}/shows",
            "scroll": [0, 0],
            "sessionStorage": {
                state.key_of(pages.url): {"tab": str(number)},
                state.key_of(other): {"later": str(number)},
            },
        }
        for number in range(2)
    ]
    parts = {state.TABS: state.encode({"active": 1, "tabs": tabs})}
    async with owned(kind, parts) as owner:
        for number, page in enumerate(owner.live.context.pages):
            assert (await shown(page))["session"] == [["tab", str(number)]]
        kept = (await owner.live.collect(everything=True)).parts
        assert state.decode(state.TABS, kept[state.TABS])["tabs"] == tabs
        for number, page in enumerate(owner.live.context.pages):
            await page.goto(f"{other}/shows")
            assert (await shown(page))["session"] == [["later", str(number)]]


async def test_what_the_site_throws_away_stays_away(kind: str, pages: Pages) -> None:
    """Storage is put back once: after a sign-out nothing of it returns, in no tab."""
    async with owned(kind, everything(pages.url)) as owner:
        page = await owner.live.page()
        await page.goto(f"{pages.url}/shows")
        assert await shown(page) == WHOLE
        await page.evaluate(
            "localStorage.clear(), new Promise(r => { indexedDB.deleteDatabase('db').onsuccess = r })"
        )
        for tab in (page, await owner.live.context.new_page()):
            await tab.goto(f"{pages.url}/shows")
            assert await shown(tab) == {"local": [], "session": [], "databases": []}
        assert (await owner.live.collect(everything=True)).parts.keys() == {"cookies", "tabs"}


async def test_what_nobody_visits_stays_in_every_state(kind: str, pages: Pages) -> None:
    """And is byte for byte what it was, whether or not it was written into the browser yet."""
    parts = everything("https://elsewhere.example") | local("https://other.example", b="2")
    async with owned(kind, parts) as owner:
        first = (await owner.live.collect(everything=True)).parts
        await _all_written(owner)
        await (await owner.live.page()).goto(f"{pages.url}/shows")
        second = (await owner.live.collect(everything=True)).parts
    for found in (first, second):
        assert {name: found.get(name) for name in parts} == parts


async def test_what_is_written_beside_the_work_is_there(kind: str, pages: Pages) -> None:
    """Databases that nobody asked for are put back too, and nobody meets the page that does it."""
    other = f"http://127.0.0.1:{pages.port}"
    async with owned(kind, everything(pages.url) | everything(other)) as owner:
        page = await owner.live.page()
        async with asyncio.timeout(20):
            while not owner.live.restored:
                assert owner.live.context.pages == [page]
                await asyncio.sleep(0)
        for origin in (pages.url, other):
            await page.goto(f"{origin}/shows")
            assert await shown(page) == WHOLE


async def test_what_a_redirect_leads_to_finds_all(kind: str, pages: Pages) -> None:
    """Of a chain of redirects only the first address is asked for by us."""
    other = f"http://127.0.0.1:{pages.port}"
    async with owned(kind, everything(other)) as owner:
        page = await owner.live.page()
        await page.goto(f"{pages.url}/to?{other}/shows")
        assert await shown(page) == WHOLE


async def test_a_large_local_storage_comes_back(kind: str, pages: Pages) -> None:
    """Larger than what every document's script may carry."""
    large = {f"n{number}": "x" * 100_000 for number in range(20)}
    async with owned(kind, local(pages.url, **large)) as owner:
        page = await owner.live.page()
        await page.goto(f"{pages.url}/shows")
        assert (await shown(page))["local"] == sorted(map(list, large.items()))
        again = (await owner.live.collect(everything=True)).parts
        area = Area(Kind.LOCAL, state.key_of(pages.url)).name
        assert (
            dict(Buckets.load(area, {n: d for n, d in again.items() if n.startswith(area)}).items())
            == large
        )


async def test_a_database_that_cannot_be_made_costs_itself(kind: str, pages: Pages) -> None:
    """A warning names it, the rest of the origin comes back, and it stays in the saved state."""
    parts = everything(pages.url)
    bad = Area(Kind.DATABASE, state.key_of(pages.url), "bad").name
    parts[bad] = state.encode({"version": 0, "stores": []})
    async with owned(kind, parts) as owner:
        page = await owner.live.page()
        await page.goto(f"{pages.url}/shows")
        assert await shown(page) == WHOLE
        found = await owner.live.collect(everything=True)
        assert any("'bad'" in warning for warning in found.warnings)
        assert found.parts[bad] == parts[bad]


async def test_a_business_without_scripts_keeps_its_storage(pages: Pages) -> None:
    """Where pages may run no script nothing is put back by one, and nothing is lost."""
    parts = local(pages.url, a="1")
    async with owned("headless_shell", parts, java_script_enabled=False) as owner:
        page = await owner.live.page()
        await page.goto(f"{pages.url}/shows")
        await asyncio.sleep(0.3)
        found = (await owner.live.collect(everything=True)).parts
    assert {name: found.get(name) for name in parts} == parts


async def _all_written(owner: Owner) -> None:
    async with asyncio.timeout(20):
        while not owner.live.restored:
            await asyncio.sleep(0.02)

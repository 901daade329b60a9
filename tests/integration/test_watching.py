"""What a browser changes is known without being asked for, and nothing is navigated to learn it."""

import asyncio
import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from raypool import state
from raypool.browser.collect import Collector
from raypool.browser.live import LiveBrowser
from raypool.state import Area, Buckets, Kind
from tests.integration.browsers import owned
from tests.integration.pages import Pages

LATE_S = 5.0
PUT = """([database, value]) => new Promise((resolve) => {
  const request = indexedDB.open(database, 1);
  request.onupgradeneeded = () => request.result.createObjectStore('tokens');
  request.onsuccess = () => {
    const transaction = request.result.transaction('tokens', 'readwrite');
    if (value === null) transaction.objectStore('tokens').delete('token');
    else transaction.objectStore('tokens').put(value, 'token');
    transaction.oncomplete = () => { request.result.close(); resolve(); };
  };
})"""
DROP = """(database) => new Promise((resolve) => {
  indexedDB.deleteDatabase(database).onsuccess = resolve;
})"""


@pytest.fixture(scope="module")
def pages() -> Iterator[Pages]:
    """The site."""
    with Pages() as pages:
        yield pages


@pytest.fixture(params=["headless_shell", "chromium"])
def kind(request: pytest.FixtureRequest) -> str:
    """Both browsers."""
    return str(request.param)


class Known:
    """What is known of a browser's state by what it tells alone."""

    def __init__(self, live: LiveBrowser) -> None:
        self._live = live
        self.parts: Mapping[str, bytes] = {}

    async def until(self, holds: Any) -> None:
        """Return when what is known fits; fail when that takes longer than changes may take."""
        deadline = time.monotonic() + LATE_S
        while True:
            self.parts = (await self._live.collect(everything=False)).parts
            if holds():
                return
            assert time.monotonic() < deadline, sorted(self.parts.items())
            await asyncio.sleep(0.05)

    def items(self, kind: Kind, origin: str, *inside: str) -> dict[str, Any]:
        """Return the items of an area."""
        area = Area(kind, state.key_of(origin), *inside)
        own = {name: data for name, data in self.parts.items() if Area.of(name) == area}
        return dict(Buckets.load(area.name, own).items())

    def local(self, origin: str) -> dict[str, Any]:
        """Return an origin's localStorage."""
        return self.items(Kind.LOCAL, origin)

    def cookies(self) -> dict[str, str]:
        """Return names and values of cookies."""
        return {c["name"]: c["value"] for c in self._whole(state.COOKIES)}

    def tabs(self) -> list[Any]:
        """Return the tabs."""
        return list(self._whole(state.TABS)["tabs"])

    def _whole(self, name: str) -> Any:
        return state.decode(name, self.parts[name])


async def test_local_storage_is_followed(kind: str, pages: Pages) -> None:
    """Items that are set, changed, removed and cleared; whatever their names and values are."""
    async with owned(kind) as owner:
        page, known = await owner.live.page(), Known(owner.live)
        await page.goto(pages.url)
        await page.evaluate(
            "localStorage.setItem('a', '1'); localStorage.setItem('ä ', '\\ud800x')"
        )
        await known.until(lambda: known.local(pages.url) == {"a": "1", "ä ": "\ud800x"})
        await page.evaluate("localStorage.setItem('a', '2'); localStorage.removeItem('ä ')")
        await known.until(lambda: known.local(pages.url) == {"a": "2"})
        await page.evaluate("localStorage.clear()")
        await known.until(lambda: known.local(pages.url) == {})


async def test_session_storage_is_followed_by_tab(kind: str, pages: Pages) -> None:
    """Two tabs of one site have each its own."""
    async with owned(kind) as owner:
        first, known = await owner.live.page(), Known(owner.live)
        second = await owner.live.context.new_page()
        for number, page in enumerate((first, second)):
            await page.goto(pages.url)
            await page.evaluate("n => sessionStorage.setItem('tab', n)", str(number))
        key = state.key_of(pages.url)
        await known.until(
            lambda: (
                [tab["sessionStorage"].get(key) for tab in known.tabs()]
                == [{"tab": "0"}, {"tab": "1"}]
            )
        )


async def test_cookies_are_followed(kind: str, pages: Pages) -> None:
    """Those that a response sets, also one that scripts cannot see, and those of a script."""
    async with owned(kind) as owner:
        page, known = await owner.live.page(), Known(owner.live)
        await page.goto(pages.url)
        await page.evaluate("document.cookie = 'own=1'")
        await known.until(lambda: known.cookies().get("own") == "1")
        await page.evaluate("fetch('/cookies').then(() => 0)")
        await known.until(lambda: known.cookies().get("httponly") == "4")
        await page.evaluate("document.cookie = 'own=; Max-Age=0'")
        await known.until(lambda: "own" not in known.cookies())


async def test_databases_are_followed(kind: str, pages: Pages) -> None:
    """Records that are put, changed and deleted; a database that is deleted is gone."""
    async with owned(kind) as owner:
        page, known = await owner.live.page(), Known(owner.live)
        await page.goto(pages.url)

        def records() -> dict[str, Any]:
            return known.items(Kind.RECORDS, pages.url, "db", "tokens")

        for value in ("one", "two"):
            await page.evaluate(PUT, ["db", value])
            await known.until(lambda value=value: records() == {'"token"': value})
        await page.evaluate(PUT, ["db", None])
        await known.until(lambda: records() == {})
        assert Area(Kind.DATABASE, state.key_of(pages.url), "db").name in known.parts
        await page.evaluate(DROP, "db")
        await known.until(lambda: not [n for n in known.parts if n.startswith("db:")])


async def test_what_is_written_just_before_a_page_is_left_is_known(kind: str, pages: Pages) -> None:
    """A token that is stored and followed by a redirect to another origin at once."""
    async with owned(kind) as owner:
        page, known = await owner.live.page(), Known(owner.live)
        other = f"http://127.0.0.1:{pages.port}"
        await page.goto(pages.url)
        await page.evaluate(f"({PUT})(['db', 'kept']).then(() => {{ location.href = '{other}/' }})")
        await page.wait_for_url(f"{other}/")
        await page.goto(pages.url)
        await page.evaluate(f"localStorage.setItem('a', 'kept'); location.href = '{other}/'")
        await page.wait_for_url(f"{other}/")
        await known.until(
            lambda: (
                known.local(pages.url) == {"a": "kept"}
                and known.items(Kind.RECORDS, pages.url, "db", "tokens") == {'"token"': "kept"}
            )
        )
        assert len(owner.live.context.pages) == 1


async def test_what_is_written_on_leaving_is_in_the_next_whole_state(
    kind: str, pages: Pages
) -> None:
    """By a page that goes to another origin, and stored too much to be told of each item."""
    async with owned(kind) as owner:
        page, known = await owner.live.page(), Known(owner.live)
        await page.goto(pages.url)
        await page.evaluate(
            "for (let n = 0; n <= 1000; n++) localStorage.setItem('draft', n);"
            " localStorage.setItem('a', '1')"
        )
        await known.until(lambda: known.local(pages.url) == {"draft": "1000", "a": "1"})
        await page.evaluate(
            "onpagehide = () => { localStorage.setItem('draft', 'new'); localStorage.removeItem('a') }"
        )
        await page.goto(f"http://127.0.0.1:{pages.port}")
        known.parts = (await owner.live.collect(everything=True)).parts
        assert known.local(pages.url) == {"draft": "new"}


async def test_a_page_that_stores_all_the_time_is_followed(kind: str, pages: Pages) -> None:
    """Hundreds of items at once, again and again, also of a page that is opened meanwhile."""
    async with owned(kind) as owner:
        page, known = await owner.live.page(), Known(owner.live)
        await page.goto(pages.url)
        last = {f"k{n}": "9" for n in range(100)}
        for _ in range(2):
            await page.evaluate(
                "for (let n = 0; n < 1000; n++) localStorage.setItem(`k${n % 100}`, n / 100 | 0)"
            )
            await known.until(lambda: known.local(pages.url) == last)
            await page.evaluate("localStorage.removeItem('k1'); sessionStorage.setItem('s', '1')")
            await known.until(lambda: "k1" not in known.local(pages.url))
            await known.until(lambda: known.tabs()[0]["sessionStorage"])
            await page.goto(f"{pages.url}/again")
        await page.evaluate("localStorage.clear()")
        await known.until(lambda: known.local(pages.url) == {})


async def test_popups_and_frames_of_other_sites_are_followed(kind: str, pages: Pages) -> None:
    """A pop-up's storage from its first script on, and a frame's where it may have some."""
    async with owned(kind) as owner:
        page, known = await owner.live.page(), Known(owner.live)
        other = f"http://127.0.0.1:{pages.port}"
        await page.goto(pages.url)
        async with page.expect_popup() as opening:
            await page.evaluate(f"window.open('{other}/')")
        popup = await opening.value
        await popup.evaluate("localStorage.setItem('popup', '1')")
        await known.until(lambda: known.local(other) == {"popup": "1"})
        await popup.close()
        # The full browser gives frames of other sites no storage; those of its own it does.
        top = pages.url if kind == "headless_shell" else f"http://shop.localhost:{pages.port}"
        await page.goto(top)
        frame_site = f"http://sub.shop.localhost:{pages.port}"
        async with page.expect_event("framenavigated", lambda f: f.url.startswith(frame_site)):
            await page.evaluate(
                "url => { const f = document.createElement('iframe'); f.src = url;"
                " document.body.append(f) }",
                f"{frame_site}/",
            )
        await page.frames[1].evaluate("localStorage.setItem('framed', '1')")
        await known.until(lambda: known.local(frame_site) == {"framed": "1"})


async def test_a_frame_without_credentials_leaves_nothing(pages: Pages) -> None:
    """Its storage ends with its page: kept, the state would grow with each visit."""
    async with owned() as owner:  # full Chromium gives such a frame no storage
        page, known = await owner.live.page(), Known(owner.live)
        top = f"http://www.shop.localhost:{pages.port}"
        await page.goto(f"{top}/anonymous")
        await page.evaluate("localStorage.own = '1'")
        await page.frames[1].evaluate("localStorage.passing = '1'")
        await page.frames[1].evaluate(PUT, ["db", "passing"])
        await known.until(lambda: known.local(top) == {"own": "1"})
        parts = (await owner.live.collect(everything=True)).parts
        assert {area.key for part in parts if (area := Area.of(part))} == {f"{top}/"}


async def test_a_worker_s_database_is_followed(kind: str, pages: Pages) -> None:
    """A worker writes; no script of a page takes part."""
    async with owned(kind) as owner:
        page, known = await owner.live.page(), Known(owner.live)
        await page.goto(pages.url)
        await page.evaluate(
            "source => { new Worker(URL.createObjectURL(new Blob([source]))) }",
            f"({PUT})(['db', 'of a worker'])",
        )
        await known.until(
            lambda: (
                known.items(Kind.RECORDS, pages.url, "db", "tokens") == {'"token"': "of a worker"}
            )
        )


async def test_a_service_worker_s_database_is_followed_after_its_site_was_left(
    kind: str, pages: Pages
) -> None:
    """It writes when the tab that had shown its site is at another one."""
    async with owned(kind) as owner:
        page, known = await owner.live.page(), Known(owner.live)
        await page.goto(pages.url)
        await page.evaluate(
            """async () => {
                await navigator.serviceWorker.register("/worker.js");
                const { active } = await navigator.serviceWorker.ready;
                active.postMessage({ delay: 1000, value: "of a service worker" });
            }"""
        )
        await page.goto(f"http://www.shop.localhost:{pages.port}/")
        await known.until(
            lambda: (
                known.items(Kind.RECORDS, pages.url, "db", "tokens")
                == {'"token"': "of a service worker"}
            )
        )


async def test_tabs_are_followed(kind: str, pages: Pages) -> None:
    """Address, scroll, and tabs that open and close."""
    async with owned(kind) as owner:
        page, known = await owner.live.page(), Known(owner.live)
        await page.goto(pages.url)
        await page.evaluate("history.pushState(0, '', '/there'); scrollTo(10, 700)")
        await known.until(lambda: known.tabs()[0]["url"].endswith("/there"))
        await known.until(lambda: known.tabs()[0]["scroll"] == [10, 700])
        other = await owner.live.context.new_page()
        await known.until(lambda: len(known.tabs()) == 2)
        await other.close()
        await known.until(lambda: len(known.tabs()) == 1)


async def _stirs(live: LiveBrowser) -> bool:
    """Tell whether anything is told within a second of everything having been read."""
    await live.collect(everything=True)
    await asyncio.sleep(1)
    return live.changed.is_set()


async def test_a_quiet_page_is_left_in_peace(kind: str, pages: Pages) -> None:
    """Reading changes nothing that would be told again: no read follows from a read."""
    async with owned(kind) as owner:
        page, known = await owner.live.page(), Known(owner.live)
        await page.goto(pages.url)
        await page.evaluate(PUT, ["db", "one"])
        await known.until(lambda: known.items(Kind.RECORDS, pages.url, "db", "tokens") != {})
        async with asyncio.timeout(30):
            while await _stirs(owner.live):
                pass
        before = (await owner.live.collect(everything=False)).parts
        again = (await owner.live.collect(everything=False)).parts
        assert all(again[name] is data for name, data in before.items() if name != state.TABS)


async def test_a_page_sees_nothing_of_it(kind: str, pages: Pages) -> None:
    """No name of ours is in its world, and no request is made."""
    async with owned(kind) as owner:
        page = await owner.live.page()
        await page.goto(pages.url)
        await owner.live.collect(everything=True)
        found = await page.evaluate(
            "Object.getOwnPropertyNames(window).filter(n => /raypool/i.test(n))"
        )
        assert found == []
        requests = await page.evaluate("performance.getEntriesByType('resource').map(r => r.name)")
        assert [name for name in requests if not name.endswith("favicon.ico")] == []


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that is so busy that a page works long before it is followed."""
    follow = Collector._follow

    async def late(self: Collector, page: Any) -> None:
        await asyncio.sleep(0.7)
        await follow(self, page)

    monkeypatch.setattr(Collector, "_follow", late)


async def test_a_page_that_is_not_followed_yet_is_waited_for(
    kind: str, pages: Pages, slow: None
) -> None:
    """What a function did in a tab that it opened is acknowledged, however busy the machine is."""
    async with owned(kind) as owner:
        page = await owner.live.context.new_page()
        await page.goto(pages.url)
        await page.evaluate("sessionStorage.setItem('tab', '1'); localStorage.setItem('a', '1')")
        known = Known(owner.live)
        known.parts = (await owner.live.collect(everything=True)).parts
        assert known.tabs()[1]["sessionStorage"] == {state.key_of(pages.url): {"tab": "1"}}
        assert known.local(pages.url) == {"a": "1"}


@pytest.mark.parametrize("way", ["is_closed", "is_elsewhere"])
async def test_a_page_that_came_and_went_before_it_was_followed_left_its_storage(
    kind: str, pages: Pages, slow: None, way: str
) -> None:
    """As a sign-in in a pop-up does, which stores its token and closes."""
    async with owned(kind) as owner:
        elsewhere = pages.url.replace("localhost", "other.localhost")
        page = await owner.live.context.new_page()
        await page.goto(pages.url)
        await page.evaluate("localStorage.setItem('token', '1')")
        await page.evaluate(PUT, ["db", "token"])
        await (page.close() if way == "is_closed" else page.goto(elsewhere))
        known = Known(owner.live)
        known.parts = (await owner.live.collect(everything=True)).parts
        assert known.local(pages.url) == {"token": "1"}
        records = known.items(Kind.RECORDS, pages.url, "db", "tokens")
        assert records == {'"token"': "token"}
        assert len(known.tabs()) == len(owner.live.context.pages)


async def test_a_page_that_hangs_is_waited_for_once(
    kind: str, pages: Pages, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It must not make every save slow."""

    async def never(*_: Any) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr("raypool.browser.collect.FOLLOW_TIMEOUT_S", 0.5)
    async with owned(kind) as owner:
        monkeypatch.setattr(Collector, "_follow", never)
        page = await owner.live.context.new_page()
        (hanging,) = [owner.live._collector._following[page]]
        await owner.live.collect(everything=True)
        assert owner.live._collector._hanging == {hanging}
        monkeypatch.setattr("raypool.browser.collect.FOLLOW_TIMEOUT_S", None)
        await owner.live.collect(everything=True)  # else it would wait for ever

"""From one live browser to the next: what the modules of one kind are tested for, all the way."""

import asyncio
from collections.abc import Iterator

import pytest

from raypool import state
from tests.integration.browsers import owned
from tests.integration.pages import Pages

MANY = 3000
FILL = """(many) => new Promise((resolve) => {
  const request = indexedDB.open('db', 2);
  request.onupgradeneeded = () =>
    request.result.createObjectStore('s', { autoIncrement: true }).createIndex('by', 'name');
  request.onsuccess = () => {
    const transaction = request.result.transaction('s', 'readwrite');
    const store = transaction.objectStore("s");
    for (let n = 0; n < many; n++) store.add({ name: `n${n}`, at: new Date(n) });
    transaction.oncomplete = () => { request.result.close(); resolve(); };
  };
})"""
SUM = """() => new Promise((resolve) => {
  const request = indexedDB.open('db');
  request.onsuccess = () => {
    const store = request.result.transaction('s').objectStore('s');
    store.getAll().onsuccess = ({ target }) => {
      const all = target.result;
      request.result.close();
      resolve([all.length, all.every((one, n) => one.name === `n${n}` && one.at.getTime() === n)]);
    };
  };
})"""
WRITE_FILE = """async (text) => {
  const root = await navigator.storage.getDirectory();
  const folder = await root.getDirectoryHandle('folder', { create: true });
  const stream = await (await folder.getFileHandle('kept.txt', { create: true })).createWritable();
  await stream.write(text);
  await stream.close();
}"""
READ_FILE = """async () => {
  const root = await navigator.storage.getDirectory();
  const folder = await root.getDirectoryHandle('folder');
  return (await (await folder.getFileHandle('kept.txt')).getFile()).text();
}"""


@pytest.fixture(scope="module")
def pages() -> Iterator[Pages]:
    """The site."""
    with Pages() as pages:
        yield pages


@pytest.fixture(params=["headless_shell", "chromium"])
def kind(request: pytest.FixtureRequest) -> str:
    """Both browsers."""
    return str(request.param)


async def test_files_come_back(kind: str, pages: Pages) -> None:
    """They are known within seconds without being asked for, and there at the first visit."""
    async with owned(kind) as owner:
        page = await owner.live.page()
        await page.goto(pages.url)
        await page.evaluate(WRITE_FILE, "what a site keeps")
        parts: dict[str, bytes] = {}
        async with asyncio.timeout(20):
            while not any(name.startswith("files:") for name in parts):
                await asyncio.sleep(0.1)
                parts = (await owner.live.collect(everything=False)).parts
    async with owned(kind, parts) as owner:
        page = await owner.live.page()
        await page.goto(pages.url)
        assert await page.evaluate(READ_FILE) == "what a site keeps"


async def test_permissions_and_passkeys_come_back(kind: str, pages: Pages) -> None:
    """A grant at run time, and a passkey with its private key."""
    async with owned(kind) as owner:
        context = owner.live.context
        await (await owner.live.page()).goto(pages.url)
        await context.grant_permissions(["geolocation"], origin=pages.url)
        passkey = await context.credentials.create(rp_id="localhost")
        parts = (await owner.live.collect(everything=True)).parts
    assert state.decode(state.PERMISSIONS, parts[state.PERMISSIONS]) == {pages.url: ["geolocation"]}
    async with owned(kind, parts) as owner:
        page = await owner.live.page()
        await page.goto(pages.url)
        asked = "navigator.permissions.query({ name: 'geolocation' }).then((found) => found.state)"
        assert await page.evaluate(asked) == "granted"
        assert list(await owner.live.context.credentials.get()) == [passkey]
        again = (await owner.live.collect(everything=True)).parts
        for name in (state.PERMISSIONS, state.CREDENTIALS):
            assert again[name] == parts[name]


async def test_a_large_database_comes_back(kind: str, pages: Pages) -> None:
    """More records than are read or written at once; they are numbered on as before."""
    async with owned(kind) as owner:
        page = await owner.live.page()
        await page.goto(pages.url)
        await page.evaluate(FILL, MANY)
        parts = (await owner.live.collect(everything=True)).parts
    async with owned(kind, parts) as owner:
        page = await owner.live.page()
        await page.goto(pages.url)
        assert await page.evaluate(SUM) == [MANY, True]
        again = (await owner.live.collect(everything=True)).parts
        stored = {name for name in parts if name.startswith(("db:", "records:"))}
        assert {name: again[name] for name in stored} == {name: parts[name] for name in stored}
        assert len(stored) > 2


async def test_a_pop_up_comes_back_as_a_tab(kind: str, pages: Pages) -> None:
    """Behind the page that opened it, with what it stored; it has no opener and no name any more."""
    async with owned(kind) as owner:
        page = await owner.live.page()
        await page.goto(pages.url)
        async with page.expect_popup() as popped:
            await page.evaluate("void window.open('/popped', 'named')")
        popup = await popped.value
        await popup.wait_for_load_state()
        await popup.evaluate("sessionStorage.setItem('kept', window.name)")
        parts = (await owner.live.collect(everything=True)).parts
    async with owned(kind, parts) as owner:
        page, popup = owner.live.context.pages
        assert page is await owner.live.page()
        assert [page.url, popup.url] == [f"{pages.url}/", f"{pages.url}/popped"]
        assert await popup.evaluate("sessionStorage.getItem('kept')") == "named"
        assert await popup.evaluate("[window.opener, window.name]") == [None, ""]

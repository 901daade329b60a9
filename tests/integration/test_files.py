"""Files of the origin private file system, read and restored. Real Chromium, both kinds."""

import base64
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from raypool.browser.files import Limits, files_mark, read_files, write_files
from tests.integration.worlds import KINDS, World, chromium, fresh, visit, world

pytestmark = pytest.mark.asyncio(loop_scope="module")

WRITE = """async ([path, text]) => {
  const names = path.split('/'), last = names.pop();
  let folder = await navigator.storage.getDirectory();
  for (const name of names) folder = await folder.getDirectoryHandle(name, { create: true });
  if (!last) return;
  const stream = await (await folder.getFileHandle(last, { create: true })).createWritable();
  await stream.write(text);
  await stream.close();
}"""
BIG = """async ([path, size]) => {
  const handle = await (await navigator.storage.getDirectory()).getFileHandle(path, { create: true });
  const bytes = new Uint8Array(size).map((_, i) => i * 7 + (i >> 8));
  const stream = await handle.createWritable();
  await stream.write(bytes);
  await stream.close();
}"""
HASH = """async (path) => {
  const handle = await (await navigator.storage.getDirectory()).getFileHandle(path);
  const hash = await crypto.subtle.digest('SHA-256', await (await handle.getFile()).arrayBuffer());
  return [...new Uint8Array(hash)].join();
}"""
HOLD = """async () => {
  const source = `onmessage = async () => {
    const root = await navigator.storage.getDirectory();
    const handle = await (await root.getFileHandle('held', { create: true })).createSyncAccessHandle();
    handle.write(new Uint8Array([1, 2, 3]));
    handle.flush();
    self.handle = handle;
    postMessage('held');
  }`;
  const worker = self.worker = new Worker(URL.createObjectURL(new Blob([source])));
  await new Promise((resolve) => { worker.onmessage = resolve; worker.postMessage(''); });
}"""
CHURN = """async () => {
  self.rounds = 0;
  const root = await navigator.storage.getDirectory();
  const churn = async (name) => {
    for (;; rounds++) {
      const folder = await root.getDirectoryHandle(name, { create: true });
      const file = await folder.getFileHandle('inside', { create: true });
      const stream = await file.createWritable();
      await stream.write('x'.repeat(rounds % 1000));
      await stream.close();
      await root.removeEntry(name, { recursive: true });
    }
  };
  for (const name of ['a', 'b', 'c', 'z']) churn(name);
}"""
OWN = {
    "plain.txt": b"hello",
    "empty": b"",
    "deep/er/file.bin": bytes(range(256)),
    "deep/\u00fc mlaut \U0001f600.txt": b"x",
    "__proto__": b"only a name",
}


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=KINDS)
async def browser(request: pytest.FixtureRequest) -> AsyncIterator[Browser]:
    """A Chromium of each kind."""
    async with chromium(request.param) as browser:
        yield browser


@pytest_asyncio.fixture(loop_scope="module")
async def site(browser: Browser) -> AsyncIterator[World]:
    """A page of a site that has no files yet."""
    site = await fresh(browser)
    yield site
    await site.page.context.close()


async def write(site: World, files: dict[str, bytes]) -> None:
    for path, content in files.items():
        await site.page.evaluate(WRITE, [path, content.decode("latin1")])


async def test_files_come_back_as_they_were(browser: Browser, site: World) -> None:
    """Names, contents and empty folders; and Playwright's own snapshot says the same of both."""
    for path, content in OWN.items():
        encoded = base64.b64encode(content).decode()
        assert await write_files(site, {path: encoded}) == {}
    await write(site, {"plain.txt": b"hello again", "hollow/inside/": b""})
    files = await read_files(site)
    assert files.lost == {}
    expected = {path: base64.b64encode(content).decode() for path, content in OWN.items()}
    expected |= {"plain.txt": base64.b64encode(b"hello again").decode(), "hollow/inside/": ""}
    assert files.contents == expected

    other = await fresh(browser)
    assert await write_files(other, files.contents) == {}
    assert await read_files(other) == files
    assert await snapshot(other) == await snapshot(site)
    assert len(await snapshot(site)) > len(OWN)
    await other.page.context.close()


async def snapshot(site: World) -> list[tuple[str, str, str]]:
    state: Any = await site.page.context.storage_state(opfs=True)
    found = state["origins"][0]["opfs"]
    return sorted((e["path"], e["type"], e.get("base64") or "") for e in found)


async def test_a_site_without_files_has_none(site: World) -> None:
    """And nothing is made by looking."""
    assert await read_files(site) == await read_files(site)
    assert (await read_files(site)).contents == {}
    assert (await site.page.context.storage_state(opfs=True))["origins"] == []


async def test_an_insecure_site_has_none(browser: Browser) -> None:
    """Chromium gives it no file system: that is no failure."""
    site = await fresh(browser, "http://site.example")
    assert (await read_files(site)).contents == {}
    assert await files_mark(site) == ""
    await site.page.context.close()


async def test_big_files_go_over_in_pieces(browser: Browser, site: World) -> None:
    """No message is longer than 8 MB, and every byte arrives."""
    await site.page.evaluate(BIG, ["big", 9 * 2**20 + 1])
    files = await read_files(site)
    other = await fresh(browser)
    assert await write_files(other, files.contents) == {}
    assert await other.page.evaluate(HASH, "big") == await site.page.evaluate(HASH, "big")
    assert max(site.channel.longest, other.channel.longest) < 8_000_000
    await other.page.context.close()


async def test_what_is_too_big_is_named_and_costs_nothing_else(site: World) -> None:
    """A file over its own limit, and the biggest of those that are too many together."""
    await write(site, {"small": b"1", "middle": b"2" * 60, "large": b"3" * 70, "huge": b"4" * 200})
    files = await read_files(site, Limits(total=100, file=100))
    assert set(files.contents) == {"small", "middle"}
    assert set(files.lost) == {"huge", "large"}
    assert "4444" not in repr(files)


async def test_the_mark_changes_with_the_files(site: World) -> None:
    """With each addition, change and removal; and only then."""
    marks = [await files_mark(site)]
    for path, content in (("a", b"1"), ("a", b"12"), ("b/", b"")):
        await write(site, {path: content})
        marks.append(await files_mark(site))
        assert await files_mark(site) == marks[-1]
    await site.page.evaluate(
        "async () => (await navigator.storage.getDirectory()).removeEntry('a')"
    )
    marks.append(await files_mark(site))
    assert len(set(marks)) == len(marks)


async def test_a_file_that_a_worker_holds_open_costs_no_other(site: World) -> None:
    """It is read too, as far as it was flushed, and the mark is made."""
    await write(site, {"free": b"1"})
    await site.page.evaluate(HOLD)
    files = await read_files(site)
    assert files.contents["free"] == "MQ=="
    assert files.lost == {}
    assert files.contents["held"] == "AQID"
    assert await files_mark(site)


async def test_a_site_that_never_rests_is_read_all_the_same(site: World) -> None:
    """What comes and goes meanwhile is no loss, or named; what stays is read each time."""
    await write(site, {"stays": b"1", "folder/stays": b"1"})
    await site.page.evaluate(CHURN)
    for _ in range(20):
        files = await read_files(site)
        assert {"stays", "folder/stays"} <= set(files.contents)
        assert set(files.lost.values()) <= {"it changed meanwhile", "NotReadableError"}
        assert await files_mark(site)
    assert await site.page.evaluate("() => rounds > 20"), "it did not rest"


async def test_what_is_there_already_is_newer(site: World) -> None:
    """A file of the site's own is never overwritten by a restore."""
    await write(site, {"a": b"new"})
    assert await write_files(site, {"a": "b2xk", "b": "b2xk"}) == {}
    files = await read_files(site)
    assert files.contents == {"a": base64.b64encode(b"new").decode(), "b": "b2xk"}


async def test_names_and_contents_that_do_not_fit_are_named(site: World) -> None:
    """A hostile state leaves its own files out and nothing else."""
    bad = {"../up": "MQ==", "a//b": "MQ==", "bytes": "no base64!", "good/below": "MQ=="}
    lost = await write_files(site, {"good": "MQ==", **bad, "good too": "MQ=="})
    assert list(lost) == list(bad)
    assert set((await read_files(site)).contents) == {"good", "good too", "a/"}


async def test_a_disk_that_is_full_leaves_no_half_file(site: World) -> None:
    """What a quota cuts off is named and removed."""
    await site.channel.send(
        "Storage.overrideQuotaForOrigin",
        {"origin": "https://site.example", "quotaSize": 5 * 2**20},
    )
    big = base64.b64encode(bytes(6 * 2**20)).decode()
    lost = await write_files(site, {"small": "MQ==", "big": big})
    assert list(lost) == ["big"]
    assert set((await read_files(site)).contents) == {"small"}


async def test_files_of_sites_do_not_mix(browser: Browser, site: World) -> None:
    """Each origin has its own."""
    await write(site, {"a": b"1"})
    other = await world(await visit(site.page.context, "https://other.example"))
    assert (await read_files(other)).contents == {}

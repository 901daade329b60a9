"""Playwright's ``storage_state`` through our parts and back: a page of real Chromium reads the same."""

import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from playwright.async_api import Browser, async_playwright

from raypool.browser.executable import find_chromium
from raypool.state import Area, Kind, key_of
from raypool.state.storage_state import from_storage_state, left_out, to_storage_state
from tests.integration.browsers import owned
from tests.integration.pages import Pages

FILL = r"""async () => {
  const done = (request) => new Promise((ok, no) => {
    request.onsuccess = () => ok(request.result);
    request.onerror = () => no(request.error);
  });
  localStorage.setItem('plain', 'text');
  localStorage.setItem('\ud800 odd', '\u0000"\u2028');
  const opening = indexedDB.open('da#ta/base', 7);
  opening.onupgradeneeded = () => {
    const database = opening.result;
    const values = database.createObjectStore('values');
    values.createIndex('many', 'tags', { multiEntry: true });
    values.createIndex('two', ['a', 'b.c'], { unique: true });
    database.createObjectStore('numbered', { keyPath: 'id', autoIncrement: true });
    database.createObjectStore('pairs', { keyPath: ['x', 'y.z'] });
    database.createObjectStore('empty / store');
  };
  const database = await done(opening);
  const cycle = { n: 1n }; // a cycle of plain objects ends the driver of Playwright 1.65
  cycle.self = cycle;
  const bytes = new Uint8Array([1, 2, 3, 4, 5, 6, 7, 8]);
  const values = {
    'undefined': undefined, 'null': null, 'NaN': NaN, '-Infinity': -Infinity, 'wrapped -0': [-0, NaN],
    'bigint': -12345678901234567890n, 'half a pair': '\ud800x', 'date': new Date(5),
    'never': new Date(8640000000000000), 'long ago': new Date(-8640000000000000),
    'regexp': /a\/+/gi, 'map': new Map([[{ k: 1 }, [1]], ['m', new Map()]]),
    'set': new Set([1, 'a', cycle]),
    'buffer': new ArrayBuffer(3), 'bytes': bytes, 'some bytes': bytes.subarray(2, 4),
    'doubles': new Float64Array([1.5, NaN]), 'bigints': new BigInt64Array([-1n]),
    'error': new TypeError('bad'), 'dollar': { $: 'date', v: 1 }, 'deep': { a: [{ b: cycle }] },
    'ordered': { z: { at: 1 }, a: { at: 2 }, 7: { at: 3 }, b: new Date(1) },
    'shared': (() => { const o = { s: new Set() }; return { z: o, b: {}, a: [o, { o }, o.s] }; })(),
    'empty': {}, 'list': [], 'indexed': { tags: ['t', 'u'], a: 1, b: { c: 'x' } }, 'cycle': cycle,
  };
  const writing = database.transaction(['values', 'numbered', 'pairs'], 'readwrite');
  for (const [key, value] of Object.entries(values)) writing.objectStore('values').put(value, key);
  const keys = [-1.5, 10, 9, Infinity, new Date(3), new Uint8Array([9]),
    [1, 'two', [new Date(4)], new Uint8Array([7])]];
  for (const key of keys) writing.objectStore('values').put('by key', key);
  const numbered = [{ v: 1 }, { v: new Date(2) }, { v: 3, id: 41 }];
  for (const value of numbered) writing.objectStore('numbered').put(value);
  writing.objectStore('pairs').put({ x: new Date(9), y: { z: [1, 'a'] } });
  writing.objectStore('pairs').put({ x: 'x', y: { z: new Uint8Array([5]), self: cycle } });
  await new Promise((ok) => { writing.oncomplete = ok; });
  database.close();
  const root = await navigator.storage.getDirectory();
  await root.getDirectoryHandle('empty', { create: true });
  const folder = await root.getDirectoryHandle('folder', { create: true });
  for (const [name, content] of [['file', bytes], ['nothing', new Uint8Array()]]) {
    const file = await (await folder.getFileHandle(name, { create: true })).createWritable();
    await file.write(content);
    await file.close();
  }
}"""

READ = r"""async () => {
  const done = (request) => new Promise((ok) => { request.onsuccess = () => ok(request.result); });
  const show = (value, seen = []) => {
    if (typeof value === 'string') return JSON.stringify(value);
    if (typeof value === 'bigint') return `${value}n`;
    if (typeof value !== 'object' || value === null) return Object.is(value, -0) ? '-0' : String(value);
    if (seen.includes(value)) return `^${seen.indexOf(value)}`;
    seen.push(value);
    const kind = Object.prototype.toString.call(value).slice(8, -1);
    const all = (items) => [...items].map((item) => show(item, seen)).join();
    if (value instanceof Date) return `date ${value.getTime()}`;
    if (value instanceof RegExp) return `regexp ${value}`;
    if (value instanceof Map) return `map ${all([...value].flat())}`;
    if (value instanceof Set) return `set ${all(value)}`;
    if (value instanceof ArrayBuffer) return `buffer ${new Uint8Array(value)}`;
    if (ArrayBuffer.isView(value)) return `${kind} ${all(value)}`;
    if (value instanceof Error) return `${value.constructor.name} ${value.name} ${value.message}`;
    if (Array.isArray(value)) return `[${all(value)}]`;
    return `{${Object.keys(value).map((name) => `${name}: ${show(value[name], seen)}`)}}`;
  };
  const found = { local: Object.entries(localStorage).sort().map((item) => JSON.stringify(item)) };
  for (const { name, version } of await indexedDB.databases()) {
    const database = await done(indexedDB.open(name));
    const lines = (found[`${name} ${version}`] = []);
    for (const storeName of database.objectStoreNames) {
      const store = database.transaction(storeName).objectStore(storeName);
      const indexes = [...store.indexNames].map((n) => store.index(n));
      const shape = indexes.map((i) => [i.name, i.keyPath, i.unique, i.multiEntry]);
      lines.push(JSON.stringify([storeName, store.keyPath, store.autoIncrement, shape]));
      const [keys, values] = await Promise.all([done(store.getAllKeys()), done(store.getAll())]);
      keys.forEach((key, i) => lines.push(`${show(key)} = ${show(values[i])}`));
    }
    if (database.objectStoreNames.contains('numbered')) {
      const adding = database.transaction('numbered', 'readwrite');
      found.next = await done(adding.objectStore('numbered').add({}));
      adding.abort();
    }
    database.close();
  }
  const files = async (folder, path) => {
    for await (const [name, handle] of folder.entries()) {
      if (handle.kind === 'directory') {
        found.files.push(`${path}${name}/`);
        await files(handle, `${path}${name}/`);
      } else {
        const content = await (await handle.getFile()).arrayBuffer();
        found.files.push(`${path}${name} ${new Uint8Array(content)}`);
      }
    }
  };
  found.files = [];
  await files(await navigator.storage.getDirectory(), '');
  found.files.sort();
  return found;
}"""


@contextlib.asynccontextmanager
async def _launched(kind: Any) -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        path = find_chromium(kind).path
        browser = await playwright.chromium.launch(executable_path=path, chromium_sandbox=False)
        try:
            yield browser
        finally:
            await browser.close()


async def _page_of(browser: Browser, url: str, state: Any = None) -> Any:
    context = await browser.new_context(storage_state=state)
    page = await context.new_page()
    await page.goto(url)
    return page


@pytest.mark.parametrize("kind", ["headless_shell", "chromium"])
async def test_a_page_reads_what_went_through_our_parts(kind: Any) -> None:
    """localStorage, IndexedDB and files: every kind of value that Playwright carries itself."""
    with Pages() as site:
        async with _launched(kind) as browser:
            page = await _page_of(browser, site.url)
            await page.evaluate(FILL)
            filled = await page.evaluate(READ)
            saved = await page.context.storage_state(indexed_db=True, opfs=True)
            parts = from_storage_state(json.dumps(saved))
            again = to_storage_state(parts)
            restored = await _page_of(browser, site.url, again)
            assert await restored.evaluate(READ) == filled
            assert len(filled["da#ta/base 7"]) == 4 + 27 + 7 + 3 + 2
            assert filled["next"] == 42
            assert again == saved
            assert left_out(parts) == ()
            assert Area(Kind.LOCAL, key_of(site.url)).name == f"local:{site.url}/"


@pytest.mark.parametrize("kind", ["headless_shell", "chromium"])
async def test_a_page_reads_what_a_business_exports(kind: Any) -> None:
    """What a live browser saved, given to a Chromium without raypool."""
    with Pages() as site:
        async with owned(kind) as owner, _launched(kind) as browser:
            page = await owner.live.page()
            await page.goto(site.url)
            await page.evaluate(FILL)
            filled = await page.evaluate(READ)
            parts = (await owner.live.collect(everything=True)).parts
            restored = await _page_of(browser, site.url, to_storage_state(parts))
            found = await restored.evaluate(READ)
    assert {**found, "files": None} == {**filled, "files": None}
    assert left_out(parts) == ("tabs",)

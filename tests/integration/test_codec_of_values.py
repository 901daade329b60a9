"""Each kind of value that IndexedDB holds: read, carried as JSON, and written again. Both browsers.

What a page sees is described by the page itself, with nothing of ours: names, prototypes, and which
objects are one and the same.
"""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import count
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from raypool.browser.databases import Database, read_database, read_generators, write_database
from tests.integration.worlds import KINDS, World, chromium, fresh

pytestmark = pytest.mark.asyncio(loop_scope="module")

BYTES = "const bytes = new Uint8Array([1, 2, 3, 4, 5, 6, 7, 8]); "
VALUES = {
    "undefined": "undefined",
    "null": "null",
    "booleans": "[true, false]",
    "whole number": "42",
    "fraction": "0.1 + 0.2",
    "largest numbers": "[Number.MAX_SAFE_INTEGER, Number.MAX_VALUE, 2 ** 53 + 2, 1e21, 5e-324]",
    "not a number": "NaN",
    "infinities": "[Infinity, -Infinity]",
    "negative zero": "[-0, 0]",
    "bigint": "[12345678901234567890n, -1n, 0n]",
    "text": "'plain'",
    "empty text": "''",
    "text of other scripts": "'ü 漢 😀 \\u2028 \\0'",
    "half a surrogate pair": "['\\ud800x', 'x\\udc00', '\\udc00\\ud800', '\\ufffd']",
    "name with half a pair": "({ ['\\ud800']: 1 })",
    "date": "new Date(1700000000123)",
    "date that is none": "new Date(NaN)",
    "date before 1970": "new Date(-1.5e12)",
    "regexp": "/a+\\/(?<n>b)/giu",
    "regexp with last index": "(() => { const r = /a/g; r.exec('aa'); return r })()",
    "array": "[1, [2, [3]], {}]",
    "empty array": "[]",
    "sparse array": "[1, , 3, , ]",
    "long sparse array": "(() => { const a = []; a[999] = 1; return a })()",
    "object": "({ b: 1, a: { c: [2] }, '': 0, 'with \"quotes\"': 3 })",
    "empty object": "({})",
    "order of names": "({ z: 1, a: 2, 2: 3, 1: 4 })",
    "name of our own": "({ $: 'date', v: 1 })",
    "names of our own in depth": "[{ $: 'same', v: 0 }, { $: { $: 'hole' } }]",
    "__proto__ as a name": 'JSON.parse(\'{"__proto__": {"x": 1}, "y": 2}\')',
    "constructor as a name": "({ constructor: 1, toString: 2, hasOwnProperty: 3 })",
    "map": "new Map([['m', 1], [{ k: 1 }, [1]], [NaN, -0]])",
    "map in a map": "new Map([[new Map(), new Map([[1, 2]])]])",
    "set": "new Set([1, 'a', { b: 1 }, undefined])",
    "boxed boolean": "[new Boolean(false), new Boolean(true)]",
    "boxed number": "[new Number(-0), new Number(NaN), new Number(7)]",
    "boxed text": "new String('q')",
    "boxed bigint": "Object(5n)",
    "buffer": "new Uint8Array([0, 255, 128]).buffer",
    "empty buffer": "new ArrayBuffer(0)",
    "buffer that can grow": "new ArrayBuffer(2, { maxByteLength: 8 })",
    **{
        f"{kind}": f"new {kind}([1, 2, 255])"
        for kind in ("Int8Array", "Uint8Array", "Uint8ClampedArray", "Int16Array", "Uint16Array")
    },
    **{
        f"{kind}": f"new {kind}([1.5, NaN, -0, 3e9])"
        for kind in ("Int32Array", "Uint32Array", "Float16Array", "Float32Array", "Float64Array")
    },
    "BigInt64Array": "new BigInt64Array([-1n, 2n ** 62n])",
    "BigUint64Array": "new BigUint64Array([2n ** 63n])",
    "DataView": f"(() => {{ {BYTES} return new DataView(bytes.buffer, 1, 3) }})()",
    "part of a buffer": f"(() => {{ {BYTES} return bytes.subarray(2, 4) }})()",
    "views of one buffer": (
        f"(() => {{ {BYTES} return [bytes, bytes.subarray(4), new DataView(bytes.buffer), "
        "bytes.buffer] })()"
    ),
    "large buffer": "Uint8Array.from({ length: 300000 }, (_, i) => i * 7)",
    "blob": "new Blob(['hi', new Uint8Array([0, 255])], { type: 'text/x' })",
    "empty blob": "new Blob([])",
    "file": "new File(['yo'], 'ü name.txt', { type: 't/p', lastModified: 99 })",
    "one blob twice": "(() => { const b = new Blob(['x']); return [b, { b }] })()",
    "error": "new Error('bad')",
    "errors of all names": (
        "[EvalError, RangeError, ReferenceError, SyntaxError, TypeError, URIError]"
        ".map((Kind) => new Kind('bad'))"
    ),
    "error of another name": "Object.assign(new Error('bad'), { name: 'OwnError' })",
    "error with a cause": "new Error('bad', { cause: { code: 7 } })",
    "error that is its own cause": "(() => { const e = new Error(''); e.cause = [e]; return e })()",
    "error without a message": "new TypeError()",
    "DOMException": "new DOMException('gone', 'NotFoundError')",
    "cycle": "(() => { const a = { n: 1 }; a.self = a; a.list = [a]; return a })()",
    "cycle through a map": "(() => { const m = new Map(); m.set(m, new Set([m])); return m })()",
    "shared object": "(() => { const s = {}; return { a: s, b: [s, s], c: new Map([[s, s]]) } })()",
    "shared date": "(() => { const d = new Date(5); return [d, d] })()",
    "deep": "Array.from({ length: 200 }).reduce((inner) => ({ inner }), 0)",
}
KEYS = {
    "text": "'k'",
    "number": "-1.5",
    "infinity": "-Infinity",
    "date": "new Date(3)",
    "buffer": "new Uint8Array([9, 0]).buffer",
    "array": "[1, 'two', new Date(3), [new Uint8Array([9]).buffer]]",
    "half a pair": "'\\ud800'",
}
# What cannot be carried, and what people read about it.
LOST = {
    "key that stays": (
        "await crypto.subtle.generateKey({ name: 'HMAC', hash: 'SHA-256' }, false, ['sign'])",
        "CryptoKey that cannot be exported",
    ),
    "key pair that stays": (
        "await crypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, false, ['sign'])",
        "CryptoKey that cannot be exported",
    ),
    "picture": ("new ImageData(1, 1)", "ImageData"),
    "rectangle": ("new DOMRect(1, 2, 3, 4)", "DOMRect"),
    "handle of a file": (
        "await (await navigator.storage.getDirectory()).getFileHandle('f', { create: true })",
        "FileSystemFileHandle",
    ),
}
ALGORITHMS = {
    "HMAC": ("{ name: 'HMAC', hash: 'SHA-256' }", "['sign', 'verify']"),
    "AES": ("{ name: 'AES-GCM', length: 256 }", "['encrypt', 'decrypt']"),
    "ECDSA": ("{ name: 'ECDSA', namedCurve: 'P-256' }", "['sign', 'verify']"),
    "ECDH": ("{ name: 'ECDH', namedCurve: 'P-384' }", "['deriveBits']"),
    "Ed25519": ("{ name: 'Ed25519' }", "['sign', 'verify']"),
    "RSA": (
        "{ name: 'RSA-OAEP', hash: 'SHA-256', modulusLength: 1024,"
        " publicExponent: new Uint8Array([1, 0, 1]) }",
        "['encrypt', 'decrypt']",
    ),
}

MAKE = """async ([name, key, value, options]) => {
  const AsyncFunction = (async () => {}).constructor;
  const request = indexedDB.open(name, 3);
  request.onupgradeneeded = () => request.result.createObjectStore('store', options);
  const database = await new Promise((r) => { request.onsuccess = () => r(request.result) });
  const made = await new AsyncFunction(`return ${value}`)();
  const given = key === null ? [] : [await new AsyncFunction(`return ${key}`)()];
  const transaction = database.transaction('store', 'readwrite');
  transaction.objectStore('store').put(made, ...given);
  await new Promise((resolve, reject) => {
    transaction.oncomplete = resolve;
    transaction.onabort = reject;
  });
  database.close();
}"""
# What is in a database, as JSON that says all of it. Objects are numbered as they are met.
DESCRIBE = """async (name) => {
  const seen = new Map(), codes = (text) => Array.from(text, (c) => c.codePointAt(0));
  const is = (value, ...kinds) => kinds.some((kind) => value instanceof kind);
  const describe = async (value) => {
    if (typeof value === 'string') return ['text', codes(value)];
    if (Object(value) !== value) return [typeof value, Object.is(value, -0) ? '-0' : String(value)];
    if (seen.has(value)) return ['same', seen.get(value)];
    seen.set(value, seen.size);
    const of = Object.getPrototypeOf(value);
    return [of[Symbol.toStringTag] ?? of.constructor.name, ...await inside(value)];
  };
  const all = async (values) => {
    const said = [];
    for (const value of values) said.push(await describe(value));
    return said;
  };
  const inside = async (value) => {
    if (is(value, Boolean, Number, String, BigInt)) return all([value.valueOf()]);
    if (is(value, Date)) return [String(value.getTime())];
    if (is(value, RegExp)) return [value.source, value.flags, value.lastIndex];
    if (is(value, Map, Set)) return all([...value].flat());
    if (is(value, ArrayBuffer)) return [value.maxByteLength, ...new Uint8Array(value)];
    if (ArrayBuffer.isView(value)) return [value.byteOffset, value.length, value.byteLength,
      await describe(value.buffer)];
    if (is(value, Blob)) return [value.type, value.name, value.lastModified,
      ...new Uint8Array(await value.arrayBuffer())];
    if (is(value, DOMException)) return [value.name, value.message];
    if (is(value, Error)) return [value.name, Object.hasOwn(value, 'message'), value.message,
      value.stack, Object.hasOwn(value, 'cause'), await describe(value.cause)];
    if (is(value, CryptoKey)) return [value.type, value.extractable, value.usages,
      await describe(value.algorithm), JSON.stringify(await crypto.subtle.exportKey('jwk', value))];
    const own = Object.getOwnPropertyNames(value);
    return [own.map(codes), await all(own.map((name) => value[name]))];
  };
  const database = await new Promise((r) => {
    const request = indexedDB.open(name);
    request.onsuccess = () => r(request.result);
  });
  const store = database.transaction('store').objectStore('store');
  const done = (request) => new Promise((r) => { request.onsuccess = () => r(request.result) });
  const records = await Promise.all([done(store.getAllKeys()), done(store.getAll())]);
  database.close();
  const shape = [database.version, store.keyPath, store.autoIncrement];
  return JSON.stringify([shape, await describe(records)]);
}"""


@dataclass(frozen=True)
class Two:
    """The same site in two contexts: one that has a state, and one that gets it."""

    first: World
    second: World

    async def carry(self, name: str) -> Database:
        """Carry a database over, by way of the JSON that is kept."""
        found = await read_database(self.first, name)
        assert found is not None
        await read_generators(self.first, name, found.shape)
        shape, records = json.loads(json.dumps([found.shape, found.records]))
        assert await write_database(self.second, name, shape, records)
        return found

    async def described(self, name: str) -> list[str]:
        """Return what each has, as its page sees it."""
        return [await world.page.evaluate(DESCRIBE, name) for world in (self.first, self.second)]


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=KINDS)
async def browser(request: pytest.FixtureRequest) -> AsyncIterator[Browser]:
    """A Chromium of each kind."""
    async with chromium(request.param) as browser:
        yield browser


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def two(browser: Browser) -> Two:
    """A site with a state, and without."""
    return Two(await fresh(browser), await fresh(browser))


_numbers = count()


async def made(site: World, value: str, key: str | None = "'k'", **options: Any) -> str:
    """Put one record into a database of its own; return the database's name."""
    name = f"database {next(_numbers)}"
    await site.page.evaluate(MAKE, [name, key, value, options])
    return name


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
async def test_a_value_comes_back_as_it_was(two: Two, value: str) -> None:
    """Its kind, all that it holds, and which of its objects are one and the same."""
    name = await made(two.first, value)
    found = await two.carry(name)
    assert found.lost == []
    before, after = await two.described(name)
    assert after == before


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
async def test_a_key_comes_back_as_it_was(two: Two, key: str) -> None:
    """All kinds that IndexedDB takes."""
    name = await made(two.first, "1", key)
    await two.carry(name)
    before, after = await two.described(name)
    assert after == before


@pytest.mark.parametrize(("algorithm", "usages"), ALGORITHMS.values(), ids=ALGORITHMS)
async def test_a_key_that_can_be_exported_comes_back(two: Two, algorithm: str, usages: str) -> None:
    """Secret keys and pairs: key, algorithm and what it may be used for."""
    name = await made(two.first, f"await crypto.subtle.generateKey({algorithm}, true, {usages})")
    found = await two.carry(name)
    assert found.lost == []
    before, after = await two.described(name)
    assert after == before


@pytest.mark.parametrize(("value", "why"), LOST.values(), ids=LOST)
async def test_what_cannot_be_carried_is_named_and_costs_no_other(
    two: Two, value: str, why: str
) -> None:
    """Its record is left out; another one in the same store is there."""
    name = await made(two.first, value, "'lost'")
    await two.first.page.evaluate(MAKE, [name, "'kept'", "new Date(1)", {}])
    found = await two.carry(name)
    assert found.lost == [why]
    assert set(found.records["store"]) == {'"kept"'}


async def test_numbering_goes_on_where_it_was(two: Two) -> None:
    """Also when the last records were deleted; with a key path, a deep one, and without any."""
    for options in ({}, {"keyPath": "id"}, {"keyPath": "a.id"}):
        name = await made(two.first, "({ v: 1 })", None, autoIncrement=True, **options)
        add = """async ([name, times, remove]) => {
          const request = indexedDB.open(name);
          const database = await new Promise((r) => { request.onsuccess = () => r(request.result) });
          const store = database.transaction('store', 'readwrite').objectStore('store');
          let key;
          for (let i = 0; i < times; i++) {
            const put = store.put({});
            key = await new Promise((r) => { put.onsuccess = () => r(put.result) });
            if (remove) store.delete(key);
          }
          await new Promise((r) => { store.transaction.oncomplete = r });
          database.close();
          return key;
        }"""
        await two.first.page.evaluate(add, [name, 4, True])
        await two.carry(name)
        before, after = await two.described(name)
        assert after == before
        assert await two.second.page.evaluate(add, [name, 1, False]) == 6


async def test_a_value_never_runs_and_never_reaches_prototypes(two: Two) -> None:
    """A hostile state is data: a name like ``__proto__`` stays a name, in the other site's page too."""
    name = await made(two.first, 'JSON.parse(\'{"__proto__": {"bad": 1}}\')')
    await two.carry(name)
    assert await two.second.page.evaluate("() => ({}).bad === undefined")


async def test_stores_and_indexes_come_back_as_they_were(two: Two) -> None:
    """Key paths of each form, unique and multiple indexes, stores without a record, the version."""
    await two.first.page.evaluate(
        """async () => {
          const request = indexedDB.open('stores', 7);
          request.onupgradeneeded = () => {
            const make = (name, options) => request.result.createObjectStore(name, options);
            make('empty');
            make('paths', { keyPath: ['x', 'y.z'] }).put({ x: 1, y: { z: 2 }, tags: ['a', 'b'] });
            const one = make('one/of#these %', { keyPath: 'id', autoIncrement: true });
            one.createIndex('tags', 'tags', { multiEntry: true });
            one.createIndex('two', ['a', 'b.c'], { unique: true });
            one.put({ tags: ['x', 'y'], a: 1, b: { c: 2 } });
          };
          const database = await new Promise((r) => { request.onsuccess = () => r(request.result) });
          database.close();
        }"""
    )
    found = await two.carry("stores")
    assert await read_database(two.second, "stores") == Database(
        {**found.shape, "stores": [without_next(store) for store in found.shape["stores"]]},
        found.records,
    )
    by_tag = """async () => {
      const request = indexedDB.open('stores');
      const database = await new Promise((r) => { request.onsuccess = () => r(request.result) });
      const store = database.transaction('one/of#these %').objectStore('one/of#these %');
      const found = store.index('tags').get('y');
      return new Promise((r) => { found.onsuccess = () => r([found.result.id, database.version]) });
    }"""
    assert await two.second.page.evaluate(by_tag) == [1, 7]


def without_next(store: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in store.items() if name != "next"}

"""Virtual passkeys, read and restored. Real Chromium, both kinds."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page

from raypool.browser.passkeys import read_passkeys, restore_passkeys
from tests.integration.worlds import KINDS, chromium, visit

pytestmark = pytest.mark.asyncio(loop_scope="module")

REGISTER = """async () => {
  const made = await navigator.credentials.create({ publicKey: {
    challenge: new Uint8Array(16), rp: { id: 'site.example', name: 'Site' },
    user: { id: new Uint8Array([1, 2, 3]), name: 'owner', displayName: 'Owner' },
    pubKeyCredParams: [{ type: 'public-key', alg: -7 }],
    authenticatorSelection: { residentKey: 'required' },
  } });
  return [made.id, [...new Uint8Array(made.response.getPublicKey())]];
}"""
# Returns id, user handle, counter, and whether the signature is by the public key that the site knows.
SIGN_IN = """async ([id, key]) => {
  const found = await navigator.credentials.get({ publicKey: {
    challenge: new Uint8Array([7, 7]), rpId: 'site.example', allowCredentials: [] } });
  const { authenticatorData, clientDataJSON, signature, userHandle } = found.response;
  const client = new Uint8Array(await crypto.subtle.digest('SHA-256', clientDataJSON));
  const signed = new Uint8Array([...new Uint8Array(authenticatorData), ...client]);
  const der = new Uint8Array(signature), raw = new Uint8Array(64);
  for (let part = 0, at = 2; part < 2; part++) {
    const number = der.slice(at + 2, at + 2 + der[at + 1]);
    const short = number.slice(Math.max(0, number.length - 32));
    raw.set(short, part * 32 + 32 - short.length);
    at += 2 + der[at + 1];
  }
  const ec = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
  const known = await crypto.subtle.importKey('spki', new Uint8Array(key), ec, false, ['verify']);
  return [found.id === id, [...new Uint8Array(userHandle)].join(),
    new DataView(authenticatorData).getUint32(33), await crypto.subtle.verify(ec, known, raw, signed)];
}"""
NATIVE = "() => navigator.credentials.get.toString().includes('[native code]')"


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=KINDS)
async def browser(request: pytest.FixtureRequest) -> AsyncIterator[Browser]:
    """A Chromium of each kind."""
    async with chromium(request.param) as browser:
        yield browser


async def registered(browser: Browser) -> tuple[Page, list[Any]]:
    context = await browser.new_context()
    await context.credentials.install()
    page = await visit(context)
    return page, await page.evaluate(REGISTER)


async def test_a_site_knows_its_passkey_again(browser: Browser) -> None:
    """Also after a second move: same key, same owner, and a counter that goes on."""
    page, known = await registered(browser)
    assert await page.evaluate(SIGN_IN, known) == [True, "1,2,3", 1, True]
    for counter in (2, 3):
        passkeys = await read_passkeys(page.context)
        await page.context.close()
        context = await browser.new_context()
        assert await restore_passkeys(context, passkeys) == []
        page = await visit(context)
        assert await page.evaluate(SIGN_IN, known) == [True, "1,2,3", counter, True]
    await page.context.close()


async def test_what_is_read_is_what_playwright_reads(browser: Browser) -> None:
    """All of its own snapshot, private keys and counters too."""
    page, known = await registered(browser)
    await page.context.credentials.create("other.example")
    passkeys = await read_passkeys(page.context)
    snapshot: Any = await page.context.storage_state(credentials=True)
    assert passkeys == sorted(snapshot["credentials"], key=lambda passkey: passkey["id"])
    assert known[0] in {passkey["id"] for passkey in passkeys}
    assert await read_passkeys(page.context) == passkeys
    await page.context.close()


async def test_pop_ups_later_tabs_and_frames_have_them_too(browser: Browser) -> None:
    """Wherever the site asks next."""
    page, known = await registered(browser)
    passkeys = await read_passkeys(page.context)
    context = await browser.new_context()
    await restore_passkeys(context, passkeys)
    await context.route(
        "https://site.example/**", lambda r: r.fulfill(content_type="text/html", body=".")
    )
    first = await context.new_page()
    await first.goto("https://site.example/")
    async with first.expect_popup() as opened:
        await first.evaluate("() => { open('/popup') }")
    popup = await opened.value
    await popup.wait_for_load_state()
    assert await popup.evaluate(SIGN_IN, known) == [True, "1,2,3", 1, True]
    await first.evaluate(
        "() => new Promise(r => { const f = document.createElement('iframe');"
        " f.onload = r; f.src = '/frame'; document.body.append(f) })"
    )
    assert await first.frames[1].evaluate(SIGN_IN, known) == [True, "1,2,3", 2, True]
    for one in (context, page.context):
        await one.close()


async def test_who_never_used_passkeys_sees_no_difference(browser: Browser) -> None:
    """Reading and restoring nothing leaves the browser's own functions to sites."""
    context = await browser.new_context()
    assert await read_passkeys(context) == []
    assert await restore_passkeys(context, []) == []
    page = await visit(context)
    assert await read_passkeys(context) == []
    assert await page.evaluate(NATIVE)
    await context.credentials.install()
    later = await visit(context)
    assert not await later.evaluate(NATIVE), "this is how a difference looks"
    await context.close()


async def test_a_bad_passkey_costs_no_other(browser: Browser) -> None:
    """It is named by its site, and its key is not."""
    page, known = await registered(browser)
    (good,) = await read_passkeys(page.context)
    context = await browser.new_context()
    bad = [{**good, "id": "2", "signCount": -1}, {"rpId": "half.example", "privateKey": "s3cret"}]
    lost = await restore_passkeys(context, [bad[0], good, bad[1]])
    assert [line.split(":")[0] for line in lost] == [
        "passkey of site.example",
        "passkey of half.example",
    ]
    assert "s3cret" not in str(lost)
    assert good["privateKey"] not in str(lost)
    assert await (await visit(context)).evaluate(SIGN_IN, known) == [True, "1,2,3", 1, True]
    for one in (context, page.context):
        await one.close()

"""What cannot be carried is found and named. Real Chromium, both kinds."""

import asyncio
import base64
import datetime
import hashlib
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from playwright.async_api import Browser, BrowserContext

from raypool.browser.channels import PageChannel
from raypool.browser.executable import Kind
from raypool.browser.limits import BoundSessions, find_limits
from tests.integration.worlds import KINDS, ORIGIN, chromium, fresh, world

pytestmark = pytest.mark.asyncio(loop_scope="module")

SOFTWARE_KEYS = (
    "--enable-features=DeviceBoundSessions,"
    "EnableBoundSessionCredentialsSoftwareKeysForManualTesting"
)
PAGE = "<link rel=icon href='data:,'>"
FILL_CACHE = "async (name) => { await (await caches.open(name)).put('/x', new Response('y')) }"


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=KINDS)
async def browser(request: pytest.FixtureRequest) -> AsyncIterator[Browser]:
    """A Chromium of each kind."""
    async with chromium(request.param) as browser:
        yield browser


async def test_caches_are_named(browser: Browser) -> None:
    """By the site and their names; a site without any costs no warning, an insecure one neither."""
    site = await fresh(browser)
    assert await find_limits(site, ORIGIN) == []
    await site.page.evaluate(FILL_CACHE, "pages-v1")
    await site.page.evaluate(FILL_CACHE, "images")
    assert await find_limits(site, ORIGIN) == [
        f"{ORIGIN}: CacheStorage is not kept: pages-v1, images"
    ]
    insecure = await fresh(browser, "http://site.example")
    assert await find_limits(insecure, "http://site.example") == []
    for one in (site, insecure):
        await one.page.context.close()


async def test_a_hostile_number_of_caches_makes_one_short_warning(browser: Browser) -> None:
    """People read it."""
    site = await fresh(browser)
    for number in range(30):
        await site.page.evaluate(FILL_CACHE, f"{number}" * 1000)
    (warning,) = await find_limits(site, ORIGIN)
    assert len(warning) < 5000
    await site.page.context.close()


@dataclass(frozen=True)
class Site:
    """A secure site with a service worker, and a sign-in that it binds to the browser."""

    url: str
    key: str
    """Hash of its public key: a browser may be told to trust it."""
    ended: asyncio.Event


@asynccontextmanager
async def secure_site(directory: Path) -> AsyncIterator[Site]:
    tls, key = certificate(directory)
    ended = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = (await reader.readline()).split()[1].decode()
        while (await reader.readline()).strip():
            pass
        kind, more, body = content(path, url, ended)
        head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
        writer.write(f"{head}{more}Connection: close\r\n\r\n{body}".encode())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=tls)
    url = f"https://localhost:{server.sockets[0].getsockname()[1]}"
    try:
        yield Site(url, key, ended)
    finally:
        server.close()


def content(path: str, url: str, ended: asyncio.Event) -> tuple[str, str, str]:
    """Return kind, more headers and body of a page (https://w3c.github.io/webappsec-dbsc/)."""
    cookie = "Set-Cookie: bound=1; SameSite=Strict; Secure; Max-Age=1\r\n"
    session = {
        "session_identifier": "one",
        "refresh_url": f"{url}/refresh",
        "scope": {"include_site": False},
        "credentials": [
            {"type": "cookie", "name": "bound", "attributes": "SameSite=Strict; Secure"}
        ],
    }
    if path == "/sign-in":
        begin = '(ES256 RS256);challenge="c";path="/register"'
        return "text/html", f"Secure-Session-Registration: {begin}\r\n", PAGE
    if path == "/register":
        return "application/json", cookie, json.dumps(session)
    if path == "/refresh":
        ended.set()
        return "application/json", "", json.dumps({"session_identifier": "one", "continue": False})
    if path == "/worker.js":
        return "text/javascript", "", ""
    return "text/html", "", PAGE


def certificate(directory: Path) -> tuple[ssl.SSLContext, str]:
    """Make a certificate for localhost that nobody trusts yet."""
    private, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=9))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(private, hashes.SHA256())
    )
    pem, der = serialization.Encoding.PEM, serialization.Encoding.DER
    file = directory / "site.pem"
    file.write_bytes(
        private.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + signed.public_bytes(pem)
    )
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(file)
    public = private.public_key().public_bytes(der, serialization.PublicFormat.SubjectPublicKeyInfo)
    return tls, base64.b64encode(hashlib.sha256(public).digest()).decode()


async def bound(context: BrowserContext) -> BoundSessions:
    """Follow the sessions of a context by a page of its own."""
    sessions = BoundSessions()
    page = await context.new_page()
    await sessions.follow(PageChannel(await context.new_cdp_session(page)))
    return sessions


async def soon(holds: list[str] | None, sessions: BoundSessions) -> None:
    async with asyncio.timeout(20):
        while sessions.warnings != holds:
            await asyncio.sleep(0.02)


async def test_a_sign_in_that_is_bound_to_the_browser_is_named(tmp_path: Path) -> None:
    """As long as it lasts, also to who looks later, and not to another context."""
    async with secure_site(tmp_path) as site:
        trust = f"--ignore-certificate-errors-spki-list={site.key}"
        async with chromium("chromium", SOFTWARE_KEYS, trust) as browser:
            context, other = await browser.new_context(), await browser.new_context()
            early, elsewhere = await bound(context), await bound(other)
            page = await context.new_page()
            await page.goto(f"{site.url}/sign-in")
            expected = ["https://localhost: the sign-in is bound to this browser and is not kept"]
            await soon(expected, early)
            late = await bound(context)
            await soon(expected, late)
            assert elsewhere.warnings == []
            async with asyncio.timeout(20):
                while not site.ended.is_set():
                    await page.goto(f"{site.url}/")
            await soon([], early)
            await soon([], late)


async def test_the_headless_shell_has_no_such_sign_in(tmp_path: Path) -> None:
    """It takes the question; the site's offer to bind is not taken up, so nothing can be lost."""
    async with secure_site(tmp_path) as site:
        trust = f"--ignore-certificate-errors-spki-list={site.key}"
        async with chromium("headless_shell", SOFTWARE_KEYS, trust) as browser:
            context = await browser.new_context()
            sessions = await bound(context)
            page = await context.new_page()
            await page.goto(f"{site.url}/sign-in")
            await page.goto(f"{site.url}/")
            assert sessions.warnings == []
            assert await context.cookies() == []


@pytest.mark.parametrize("kind", KINDS)
async def test_service_workers_are_named(kind: Kind, tmp_path: Path) -> None:
    """By the site and what they are for."""
    async with secure_site(tmp_path) as site:
        trust = f"--ignore-certificate-errors-spki-list={site.key}"
        async with chromium(kind, trust) as browser:
            page = await browser.new_page()
            await page.goto(site.url)
            await page.evaluate("() => navigator.serviceWorker.register('/worker.js')")
            assert await find_limits(await world(page), site.url) == [
                f"{site.url}: service workers are not kept: {site.url}/"
            ]

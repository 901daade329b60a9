"""Put a saved state back into a fresh browser: storage, cookies, then the tabs as they were."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from playwright.async_api import Browser, BrowserContext, CDPSession, Page, Route
from playwright.async_api import Error as PlaywrightError

from raypool import state

TAB_TIMEOUT_MS = 15_000
# What `Storage.setCookies` takes (Network.CookieParam); the rest of a cookie is derived from it.
_COOKIE_PARAMS = (
    "name", "value", "url", "domain", "path", "secure", "httpOnly", "sameSite", "priority",
    "sourceScheme", "sourcePort", "partitionKey",
)  # fmt: skip


async def new_context(
    browser: Browser, options: Mapping[str, Any], parts: Mapping[str, bytes], warnings: list[str]
) -> BrowserContext:
    """Return a context whose origins hold the saved storage. Warnings name what did not fit."""
    origins = state.origins(parts)
    try:
        return await _context(browser, options, origins)
    except PlaywrightError as error:
        if not origins:
            raise
        warnings.append(f"IndexedDB was left out of the restore: {str(error).splitlines()[0]}")
        plain = [{**origin, "indexedDB": []} for origin in origins]
        return await _context(browser, options, plain)


async def _context(
    browser: Browser, options: Mapping[str, Any], origins: Sequence[Mapping[str, Any]]
) -> BrowserContext:
    storage: Any = {"cookies": [], "origins": list(origins)}
    return await browser.new_context(**dict(options), storage_state=storage)


async def set_cookies(
    cdp: CDPSession, context_id: str, parts: Mapping[str, bytes], warnings: list[str]
) -> None:
    """Set the saved cookies, all fields as they were; a bad one is named and left out.

    Chromium sets none of a batch when one does not fit, so a refused batch is halved until the bad
    cookie stands alone.
    """
    if state.COOKIES not in parts:
        return
    saved = [_param(cookie) for cookie in state.decode(state.COOKIES, parts[state.COOKIES])]
    await _set_batch(cdp, context_id, saved, warnings)


async def _set_batch(
    cdp: CDPSession, context_id: str, cookies: list[dict[str, Any]], warnings: list[str]
) -> None:
    if not cookies:
        return
    try:
        await cdp.send("Storage.setCookies", {"cookies": cookies, "browserContextId": context_id})
    except PlaywrightError:
        if len(cookies) == 1:
            warnings.append(f"cookie {cookies[0]['name']!r} does not fit this browser; left out")
            return
        half = len(cookies) // 2
        await _set_batch(cdp, context_id, cookies[:half], warnings)
        await _set_batch(cdp, context_id, cookies[half:], warnings)


def _param(cookie: Mapping[str, Any]) -> dict[str, Any]:
    param = {name: cookie[name] for name in _COOKIE_PARAMS if name in cookie}
    if cookie.get("expires", -1) > 0 and not cookie.get("session"):
        param["expires"] = cookie["expires"]
    return param


async def open_tabs(
    context: BrowserContext, parts: Mapping[str, bytes], warnings: list[str]
) -> tuple[Page, dict[Page, str]]:
    """Open the saved tabs in order.

    Returns:
        The active page, and the pages that could not be brought to their address, with the address:
        a site that is down now must not make the business forget where it was.
    """
    saved = state.decode(state.TABS, parts[state.TABS]) if state.TABS in parts else {}
    tabs = saved.get("tabs") or [{"url": "about:blank"}]
    pages = [await context.new_page() for _ in tabs]
    reached = await asyncio.gather(*map(_open_tab, pages, tabs))
    pending = {}
    for page, tab, problem in zip(pages, tabs, reached, strict=True):
        if problem:
            pending[page] = tab["url"]
            warnings.append(f"tab {urlsplit(tab['url']).netloc} did not open: {problem}")
    active = min(int(saved.get("active", 0)), len(pages) - 1)
    return pages[max(active, 0)], pending


async def _open_tab(page: Page, tab: Mapping[str, Any]) -> str | None:
    url = str(tab.get("url", ""))
    if not url.startswith(("http://", "https://")):
        return None
    try:
        for origin, items in (tab.get("sessionStorage") or {}).items():
            await _seed_session_storage(page, origin, items)
        await page.goto(url, wait_until="load", timeout=TAB_TIMEOUT_MS)
        await page.evaluate("([x, y]) => scrollTo(x, y)", tab.get("scroll") or [0, 0])
    except PlaywrightError as error:
        return str(error).strip().splitlines()[0][:200]
    return None


async def _seed_session_storage(page: Page, origin: str, items: Mapping[str, str]) -> None:
    """Write a tab's sessionStorage from an empty page of the origin, before the site's own scripts.

    An init script would write it again at every navigation and clobber newer values.
    """

    async def empty(route: Route) -> None:
        await route.fulfill(content_type="text/html", body="<html></html>")

    pattern = f"{origin}/**"
    await page.route(pattern, empty)
    try:
        await page.goto(f"{origin}/", timeout=TAB_TIMEOUT_MS)
        await page.evaluate(
            "items => Object.entries(items).forEach(([k, v]) => sessionStorage.setItem(k, v))",
            dict(items),
        )
    finally:
        await page.unroute(pattern, empty)

"""Put a saved state back into a fresh browser: storage, cookies, then the tabs as they were."""

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from playwright.async_api import BrowserContext, CDPSession, Page
from playwright.async_api import Error as PlaywrightError

from raypool import state
from raypool.browser.collect import Collector
from raypool.browser.failures import first_line

TAB_TIMEOUT_S = 15.0
ANSWER_TIMEOUT_S = 5.0
"""So long a page that began at its address is waited for; then the site is asked once more."""
# What `Storage.setCookies` takes (Network.CookieParam); the rest of a cookie is derived from it.
_COOKIE_PARAMS = (
    "name", "value", "url", "domain", "path", "secure", "httpOnly", "sameSite", "priority",
    "sourceScheme", "sourcePort", "partitionKey",
)  # fmt: skip


async def set_cookies(
    cdp: CDPSession, context_id: str, parts: Mapping[str, bytes], warnings: list[str]
) -> None:
    """Set the saved cookies, all fields as they were; a bad one is named and left out.

    Chromium sets none of a batch when one does not fit, so a refused batch is halved until the bad
    cookie stands alone.
    """
    if state.COOKIES not in parts:
        return
    cookies = state.decode(state.COOKIES, parts[state.COOKIES])
    saved = [_param(cookie) for cookie in cookies]
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
    context: BrowserContext,
    collector: Collector,
    parts: Mapping[str, bytes],
    warnings: list[str],
    *,
    is_shell: bool,
) -> Page:
    """Open the saved tabs in order and return the active page.

    A page that could not be brought to its address keeps it all the same: a site that is down now must
    not make the business forget where it was.

    Args:
        context: No page opened yet.
        collector: Follows its pages.
        parts: The saved state.
        warnings: Takes what did not open.
        is_shell: Whether the browser is the headless shell; see :class:`.targets.Targets`.
    """
    saved = state.decode(state.TABS, parts[state.TABS]) if state.TABS in parts else {}
    tabs = saved.get("tabs") or [{"url": "about:blank"}]
    if is_shell and len(tabs) == 1 and _needs_nothing_before(tabs[0]):
        await collector.seeds.write()
        opened = [await _open_there(context, collector, tabs[0])]
    else:
        made = [await context.new_page() for _ in tabs]
        await collector.seeds.write()
        opening = (_open_tab(collector, page, tab) for page, tab in zip(made, tabs, strict=True))
        opened = await asyncio.gather(*opening)
    pending = {}
    for (page, problem), tab in zip(opened, tabs, strict=True):
        if problem:
            pending[page] = tab["url"]
            warnings.append(f"tab {urlsplit(tab['url']).netloc} did not open: {problem}")
    collector.tabs.pending = pending
    active = min(int(saved.get("active", 0)), len(opened) - 1)
    return opened[max(active, 0)][0]


def _needs_nothing_before(tab: Mapping[str, Any]) -> bool:
    """Tell whether a tab's page may begin at its address."""
    return _is_site(tab) and not any((tab.get("sessionStorage") or {}).values())


def _is_site(tab: Mapping[str, Any]) -> bool:
    return str(tab.get("url", "")).startswith(("http://", "https://"))


async def _open_there(
    context: BrowserContext, collector: Collector, tab: Mapping[str, Any]
) -> tuple[Page, str | None]:
    """Open a tab whose page begins at its address; in the other way where that does not answer."""
    try:
        page = await collector.targets.open(tab["url"], ANSWER_TIMEOUT_S)
        if page.url.startswith("http"):  # else an error page: asked once more, it says why
            return await _arrived(collector, page, tab)
    except PlaywrightError:
        if collector.targets.over:
            raise
        page = await context.new_page()
    return await _open_tab(collector, page, tab)


async def _arrived(
    collector: Collector, page: Page, tab: Mapping[str, Any]
) -> tuple[Page, str | None]:
    collector.tabs.restored(page, tab)
    try:
        await page.wait_for_load_state("load", timeout=TAB_TIMEOUT_S * 1000)
        await collector.followed(page)
        await _scroll(page, tab)
    except PlaywrightError as error:
        if page.is_closed():  # a page may close itself where it began
            raise
        return page, first_line(error)
    return page, None


async def _open_tab(
    collector: Collector, page: Page, tab: Mapping[str, Any]
) -> tuple[Page, str | None]:
    collector.tabs.restored(page, tab)
    await collector.followed(page)
    if not _is_site(tab):
        return page, None
    try:
        await collector.seeds.begin_tab(page, tab.get("sessionStorage") or {})
        await page.goto(tab["url"], wait_until="load", timeout=TAB_TIMEOUT_S * 1000)
        await _scroll(page, tab)
    except PlaywrightError as error:
        return page, first_line(error)
    return page, None


async def _scroll(page: Page, tab: Mapping[str, Any]) -> None:
    if any(scroll := tab.get("scroll") or [0, 0]):
        await page.evaluate("([x, y]) => scrollTo(x, y)", scroll)

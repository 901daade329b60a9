"""Chromium with pages of made-up sites, and a world of our own in each: where scripts read state."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from playwright.async_api import Browser, BrowserContext, CDPSession, Page, Route, async_playwright

from raypool.browser import library
from raypool.browser.executable import Kind, find_chromium

KINDS: tuple[Kind, ...] = ("headless_shell", "chromium")
ORIGIN = "https://site.example"


@dataclass(frozen=True)
class World:
    """A world of our own in a page's document."""

    page: Page
    session: CDPSession
    context_id: int
    longest: list[int]
    """Characters of the longest message so far."""

    async def call(self, function: str, *args: object) -> Any:
        """Return what one of our functions answers."""
        await self._evaluate(library.INSTALL)
        return json.loads(await self._evaluate(library.call(function, *args)))

    async def _evaluate(self, expression: str) -> Any:
        asked = {"expression": expression, "contextId": self.context_id}
        how = {"awaitPromise": True, "returnByValue": True}
        answer = await self.session.send("Runtime.evaluate", asked | how)
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"]["exception"]["description"])
        value = answer["result"]["value"]
        self.longest[0] = max(self.longest[0], len(str(value)), len(expression))
        return value


@asynccontextmanager
async def chromium(kind: Kind, *args: str) -> AsyncIterator[Browser]:
    """Run a Chromium for the block."""
    executable = find_chromium(kind).path
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=executable, chromium_sandbox=False, args=list(args)
        )
        yield browser
        await browser.close()


async def visit(context: BrowserContext, origin: str = ORIGIN) -> Page:
    """Open an empty page of an origin that is nowhere."""
    page = await context.new_page()
    await page.route(f"{origin}/**", _empty)
    await page.goto(f"{origin}/")
    return page


async def world(page: Page, *, framed: bool = False) -> World:
    """Return a world of our own in the document that a page, or its first frame, shows now."""
    session = await page.context.new_cdp_session(page)
    tree = (await session.send("Page.getFrameTree"))["frameTree"]
    frame = (tree["childFrames"][0] if framed else tree)["frame"]
    made = await session.send(
        "Page.createIsolatedWorld", {"frameId": frame["id"], "worldName": "test"}
    )
    return World(page, session, made["executionContextId"], [0])


async def fresh(browser: Browser, origin: str = ORIGIN, **options: Any) -> World:
    """Return a world in an empty page of a context that has never been used."""
    return await world(await visit(await browser.new_context(**options), origin))


async def _empty(route: Route) -> None:
    await route.fulfill(content_type="text/html", body="<!doctype html><title>empty</title>")

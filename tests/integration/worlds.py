"""Chromium with pages of made-up sites, and a world of our own in each: where scripts read state."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from playwright.async_api import Browser, BrowserContext, Page, Route, async_playwright

from raypool.browser.channels import Message, PageChannel
from raypool.browser.documents import Document
from raypool.browser.executable import Kind, find_chromium

KINDS: tuple[Kind, ...] = ("headless_shell", "chromium")
ORIGIN = "https://site.example"


class Recorded(PageChannel):
    """A session with a page that knows how long its messages were."""

    longest = 0

    async def send(self, method: str, params: Message | None = None) -> Any:
        """Return what a command answers."""
        answer = await super().send(method, params)
        self.longest = max(self.longest, len(str(params)), len(str(answer)))
        return answer


@dataclass(frozen=True)
class World:
    """A world of our own in a page's document."""

    page: Page
    channel: Recorded
    document: Document

    async def call(self, function: str, *args: object) -> Any:
        """Return what one of our functions answers."""
        return await self.document.call(function, *args)


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
    channel, worlds = Recorded(await page.context.new_cdp_session(page)), dict[int, str]()

    def created(event: Message) -> None:
        worlds[event["context"]["id"]] = event["context"]["uniqueId"]

    channel.on("Runtime.executionContextCreated", created)
    await channel.send("Runtime.enable")
    tree = (await channel.send("Page.getFrameTree"))["frameTree"]
    frame = (tree["childFrames"][0] if framed else tree)["frame"]["id"]
    asked = {"frameId": frame, "worldName": "test"}
    made = (await channel.send("Page.createIsolatedWorld", asked))["executionContextId"]
    document = Document(channel, made, worlds[made], key="", page=page, main=not framed)
    return World(page, channel, document)


async def fresh(browser: Browser, origin: str = ORIGIN, **options: Any) -> World:
    """Return a world in an empty page of a context that has never been used."""
    return await world(await visit(await browser.new_context(**options), origin))


async def _empty(route: Route) -> None:
    await route.fulfill(content_type="text/html", body="<!doctype html><title>empty</title>")

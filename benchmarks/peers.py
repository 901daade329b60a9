"""What people do without raypool: plain Playwright, state in a file."""

import asyncio
import json
import os
import time
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, BrowserContext, Page, Playwright, async_playwright

from raypool.browser.executable import find_chromium


async def _launch(playwright: Playwright) -> Browser:
    path = find_chromium().path
    return await playwright.chromium.launch(executable_path=path, chromium_sandbox=False)


async def _act_and_save(page: Page, context: BrowserContext, file: Path) -> None:
    await page.evaluate("() => localStorage.n = String(Math.random())")
    state = await context.storage_state(indexed_db=True)
    with file.open("w") as out:
        json.dump(state, out)
        out.flush()
        os.fsync(out.fileno())


async def command_and_save(url: str, file: Path, runs: int) -> list[float]:
    """Milliseconds of: change something, `storage_state` to a file, fsync."""
    times = []
    async with async_playwright() as playwright:
        browser = await _launch(playwright)
        context = await browser.new_context()
        page = await context.new_page()
        await page.goto(url)
        for _ in range(runs):
            began = time.perf_counter()
            await _act_and_save(page, context, file)
            times.append((time.perf_counter() - began) * 1000)
        await browser.close()
    return times


async def restart(url: str, file: Path, runs: int) -> list[float]:
    """Milliseconds of: a new process-like start (driver, browser), state from a file, the page."""
    times = []
    for _ in range(runs):
        began = time.perf_counter()
        async with async_playwright() as playwright:
            browser = await _launch(playwright)
            context = await browser.new_context(storage_state=file)
            page = await context.new_page()
            await page.goto(url)
            await page.evaluate("() => localStorage.n")
            times.append((time.perf_counter() - began) * 1000)
            await browser.close()
    await asyncio.sleep(0)
    return times


async def restored(storage: Any, url: str, runs: int) -> list[float]:
    """Milliseconds from a browser that is up to a context that has *storage*, with a page at *url*."""
    times = []
    async with async_playwright() as playwright:
        for _ in range(runs):
            browser = await _launch(playwright)
            began = time.perf_counter()
            context = await browser.new_context(storage_state=storage)
            await (await context.new_page()).goto(url)
            times.append((time.perf_counter() - began) * 1000)
            await browser.close()
    return times


async def saved(storage: Any, url: str, runs: int) -> list[float]:
    """Milliseconds of: change one item beside *storage*, `storage_state`."""
    times = []
    async with async_playwright() as playwright:
        browser = await _launch(playwright)
        context = await browser.new_context(storage_state=storage)
        page = await context.new_page()
        await page.goto(url)
        for _ in range(runs):
            began = time.perf_counter()
            await page.evaluate("() => localStorage.n = String(Math.random())")
            await context.storage_state(indexed_db=True)
            times.append((time.perf_counter() - began) * 1000)
        await browser.close()
    return times

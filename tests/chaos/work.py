"""What scripts run in the browsers of businesses. Sent by value, so each brings its own imports."""

from collections.abc import Callable
from typing import Any


async def witnessed(page: Any, work: Callable[..., Any], *args: Any) -> dict[str, Any]:
    """Return what *work* returned, with the process that ran it and from when to when."""
    import os
    import time

    began = time.monotonic()
    value = await work(page, *args)
    return {"value": value, "pid": os.getpid(), "began": began, "ended": time.monotonic()}


async def write(page: Any, url: str, value: str) -> str:
    """Set a session cookie and a localStorage item, as a page's own script would."""
    if not page.url.startswith(url):
        await page.goto(url)
    await page.evaluate(
        "value => { document.cookie = `chaos=${value}; path=/`;"
        " localStorage.setItem('chaos', value) }",
        value,
    )
    return value


async def read(page: Any, url: str) -> dict[str, str | None]:
    """Return what :func:`write` set; the site itself sets neither."""
    cookies = {c["name"]: c["value"] for c in await page.context.cookies(url)}
    if not page.url.startswith(url):
        await page.goto(url)
    local = await page.evaluate("() => localStorage.getItem('chaos')")
    return {"cookie": cookies.get("chaos"), "local": local}


async def write_slowly(page: Any, url: str, value: str, seconds: float) -> str:
    """Do as :func:`write`, after *seconds*."""
    import asyncio

    await asyncio.sleep(seconds)
    return await write(page, url, value)


async def remember(page: Any, value: str) -> str:
    """Keep a value in the page itself: gone with the document."""
    await page.evaluate("value => { window.chaos = value }", value)
    return value


async def recall(page: Any) -> str | None:
    """Return what :func:`remember` kept in this very document."""
    kept: str | None = await page.evaluate("() => window.chaos ?? null")
    return kept


async def page_url(page: Any) -> str:
    """Return where the page is, without touching anything."""
    url: str = page.url
    return url


async def forget(page: Any, cookie: str) -> str:
    """Take a cookie away, without a word to the site."""
    await page.context.clear_cookies(name=cookie)
    return cookie


async def hold_still(page: Any, begun: str, seconds: float) -> float:
    """Let no other Python of this process run for *seconds*; make the file *begun* first."""
    import ctypes
    import pathlib

    pathlib.Path(begun).touch()
    ctypes.PyDLL(None).usleep(int(seconds * 1e6))  # a PyDLL keeps the interpreter's lock
    return seconds

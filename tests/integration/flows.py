"""What the businesses of the integration tests do in their browsers. Sent by value to the actors."""

import asyncio
import fcntl
import os
from pathlib import Path
from typing import Any

TRACES = """async value => {
  localStorage.setItem("kept", value);
  sessionStorage.setItem("kept", value);
  document.cookie = `kept=${value}; path=/`;
  const opening = indexedDB.open("kept", 1);
  opening.onupgradeneeded = () => opening.result.createObjectStore("things");
  await new Promise((done, failed) => { opening.onsuccess = done; opening.onerror = failed; });
  const writing = opening.result.transaction("things", "readwrite");
  writing.objectStore("things").put({ when: new Date(86400000), map: new Map([["k", value]]) }, 1);
  await new Promise((done, failed) => { writing.oncomplete = done; writing.onerror = failed; });
  opening.result.close();
}"""

FOUND = """async () => {
  const opening = indexedDB.open("kept", 1);
  await new Promise((done, failed) => {
    opening.onsuccess = done; opening.onerror = failed; opening.onupgradeneeded = failed;
  });
  const asked = opening.result.transaction("things").objectStore("things").get(1);
  await new Promise((done, failed) => { asked.onsuccess = done; asked.onerror = failed; });
  opening.result.close();
  return {
    local: localStorage.getItem("kept"),
    session: sessionStorage.getItem("kept"),
    cookie: document.cookie,
    date: asked.result.when instanceof Date && asked.result.when.getTime(),
    map: asked.result.map instanceof Map && asked.result.map.get("k"),
  };
}"""


async def who(page: Any, url: str) -> str | None:
    """Return who the site says is signed in, None when it asks to sign in."""
    await page.goto(f"{url}/posts")
    told = page.locator("#who")
    return str(await told.inner_text()) if await told.count() else None


async def nothing(page: Any) -> str:
    """Return where the page is."""
    return str(page.url)


async def leave_traces(page: Any, url: str, value: str) -> dict[str, Any]:
    """Write every kind of storage, and a second tab whose sessionStorage differs; return it all."""
    await page.goto(f"{url}/first")
    await page.evaluate(TRACES, value)
    second = await page.context.new_page()
    await second.goto(f"{url}/second")
    await second.evaluate("sessionStorage.setItem('kept', 'second')")
    return await traces(page)


async def traces(page: Any) -> dict[str, Any]:
    """Return what :func:`leave_traces` left: storage of the page, tabs with their sessionStorage."""
    tabs = [
        [tab.url.rpartition("/")[2], await tab.evaluate("sessionStorage.getItem('kept')")]
        for tab in page.context.pages
    ]
    return {**await page.evaluate(FOUND), "tabs": tabs}


async def note(page: Any, file: str, what: str, seconds: float = 0.0) -> None:
    """Append ``begin`` and ``end`` lines to a file, *seconds* apart."""
    with Path(file).open("a") as lines:
        lines.write(f"begin {what}\n")
    await asyncio.sleep(seconds)
    with Path(file).open("a") as lines:
        lines.write(f"end {what}\n")


async def wait_the_first_time(page: Any, file: str) -> int:
    """Append the process's pid to a file; never end when it is the first one there."""
    with Path(file).open("a") as lines:
        lines.write(f"{os.getpid()}\n")
    attempts = len(Path(file).read_text().splitlines())
    if attempts == 1:
        await asyncio.Event().wait()
    return attempts


async def meet(page: Any, directory: str, me: str, other: str) -> str:
    """Return when the other is there too: only possible when both run at once."""
    Path(directory, me).touch()
    while not Path(directory, other).exists():
        await asyncio.sleep(0.02)
    return me


async def crowd(page: Any, directory: str) -> int:
    """Return how many run this at once, at most, while it runs."""
    mine, most = Path(directory, f"in-{os.getpid()}"), 0
    mine.touch()
    for _ in range(10):
        most = max(most, len(list(Path(directory).glob("in-*"))))
        await asyncio.sleep(0.02)
    mine.unlink()
    return most


async def fail_once(page: Any, file: str) -> str:
    """Raise for whoever comes first."""
    descriptor = os.open(file, os.O_CREAT | os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    first = not os.read(descriptor, 1)
    os.write(descriptor, b"x")
    os.close(descriptor)
    if first:
        raise ValueError("the first one fails")
    return "fine"


async def looks(page: Any) -> dict[str, Any]:
    """Return what a site sees of the browser."""
    seen: dict[str, Any] = await page.evaluate(
        "({ language: navigator.language, agent: navigator.userAgent, "
        "zone: Intl.DateTimeFormat().resolvedOptions().timeZone, "
        "width: innerWidth, height: innerHeight })"
    )
    return seen


async def wait_while_there(page: Any, file: str) -> int:
    """Append the process's pid to a file's neighbour ``.ran`` and return when the file is gone."""
    with Path(f"{file}.ran").open("a") as lines:
        lines.write(f"{os.getpid()}\n")
    while Path(file).exists():
        await asyncio.sleep(0.05)
    return os.getpid()


async def open_and_close_pages(page: Any, count: int) -> None:
    """Open so many pages, one after another."""
    for _ in range(count):
        await (await page.context.new_page()).close()


async def set_when_gone(page: Any, file: str, value: str) -> str:
    """Write into localStorage once a file is gone, by way of the page; return what it holds then."""
    await wait_while_there(page, file)
    return str(await page.evaluate("v => (localStorage.kept = v) && localStorage.kept", value))

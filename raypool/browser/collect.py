"""Read a live browser's state, part by part, through what Playwright and CDP offer in public.

One bad part never costs another: what cannot be read now is carried over from the state that was
read before, with a warning that names it.
"""

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from playwright.async_api import BrowserContext, CDPSession, Page
from playwright.async_api import Error as PlaywrightError

from raypool import state
from raypool.errors import ErrorCodes, create_error

T = TypeVar("T")
COLLECT_TIMEOUT_S = 30.0
TAB_TIMEOUT_S = 3.0


@dataclass
class Collected:
    """A state just read: its parts, and what people should know about them."""

    parts: dict[str, bytes] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def __repr__(self) -> str:
        return f"Collected({ {name: len(data) for name, data in sorted(self.parts.items())} })"


async def bounded(call: Awaitable[T], seconds: float, what: str) -> T:
    """Await a Playwright call, but not for ever.

    The call itself is never cancelled: Playwright does not support that
    (https://playwright.dev/python/docs/library, "Cancelling"). It is left to finish on its own.

    Raises:
        BrowserError: It took longer than *seconds* (``BROWSER_CHECKPOINT_FAILED``).
    """
    task = asyncio.ensure_future(call)
    done, _ = await asyncio.wait({task}, timeout=seconds)
    if not done:
        task.add_done_callback(lambda t: t.cancelled() or t.exception())
        raise create_error(
            ErrorCodes.BROWSER_CHECKPOINT_FAILED, f"{what} took longer than {seconds:.0f} s"
        )
    return task.result()


async def collect(
    context: BrowserContext,
    cdp: CDPSession,
    context_id: str,
    active: Page | None,
    previous: Mapping[str, bytes],
    pending: Mapping[Page, str],
) -> Collected:
    """Return the whole state of *context*.

    Args:
        context: The business's context.
        cdp: A session with the browser itself.
        context_id: The context's id in CDP.
        active: The page that functions are given.
        previous: Parts read before, used where a part cannot be read now.
        pending: Pages that could not be brought back to their address, with that address.

    Raises:
        BrowserError: Not even the cookies could be read.
    """
    found = Collected()
    cookies = await bounded(
        cdp.send("Storage.getCookies", {"browserContextId": context_id}),
        COLLECT_TIMEOUT_S,
        "reading the cookies",
    )
    found.parts[state.COOKIES] = state.encode(sorted(cookies["cookies"], key=_cookie_order))
    hung = await _hung(context.pages)
    if hung:
        found.parts |= await _storage_beside(hung, context.pages, previous, found.warnings)
    else:
        found.parts |= await _storage(context, previous, found.warnings)
    found.parts[state.TABS] = await _tabs(context, active, previous, pending, hung, found.warnings)
    return found


def _cookie_order(cookie: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(str(cookie.get(k, "")) for k in ("domain", "path", "name", "partitionKey"))


async def _storage(
    context: BrowserContext, previous: Mapping[str, bytes], warnings: list[str]
) -> dict[str, bytes]:
    try:
        saved = await bounded(
            context.storage_state(indexed_db=True), COLLECT_TIMEOUT_S, "reading the storage"
        )
    except PlaywrightError as error:
        # One database that cannot be read fails Playwright's whole snapshot.
        warnings.append(f"IndexedDB could not be read and is kept as it was: {_first_line(error)}")
        saved = await bounded(context.storage_state(), COLLECT_TIMEOUT_S, "reading localStorage")
        _carry_databases(saved, previous)
    parts = {}
    for entry in saved.get("origins", []):
        content = {
            "localStorage": sorted(entry.get("localStorage", []), key=lambda i: i["name"]),
            "indexedDB": entry.get("indexedDB", []),
        }
        parts[state.storage_part(entry["origin"])] = state.encode(content)
    return parts


async def _hung(pages: Sequence[Page]) -> list[Page]:
    """Return the pages whose scripts do not end: Playwright's snapshot would wait for them for ever."""
    asked = {asyncio.ensure_future(page.evaluate("0")): page for page in pages}
    if not asked:
        return []
    _, late = await asyncio.wait(asked, timeout=TAB_TIMEOUT_S)
    for task in asked:
        task.add_done_callback(lambda t: t.cancelled() or t.exception())
    return [page for task, page in asked.items() if task in late]


async def _storage_beside(
    hung: Sequence[Page],
    pages: Sequence[Page],
    previous: Mapping[str, bytes],
    warnings: list[str],
) -> dict[str, bytes]:
    """Return localStorage as the other open pages show it, and the rest as it was before."""
    sites = ", ".join(sorted({_origin_of(page.url) for page in hung}))
    warnings.append(f"{sites} does not answer: IndexedDB and closed sites are kept as they were")
    parts = {name: data for name, data in previous.items() if name.startswith(state.STORAGE)}
    for page in pages:
        if page in hung or not page.url.startswith("http"):
            continue
        try:
            origin, items = await bounded(page.evaluate(_READ_STORAGE), TAB_TIMEOUT_S, "a tab")
        except Exception as error:  # noqa: BLE001 -- as in _tab
            warnings.append(f"tab {_origin_of(page.url)} could not be read: {_first_line(error)}")
            continue
        name = state.storage_part(origin)
        before = state.decode(name, parts.pop(name)) if name in parts else {}
        content = {"localStorage": items, "indexedDB": before.get("indexedDB", [])}
        if any(content.values()):
            parts[name] = state.encode(content)
    return parts


_READ_STORAGE = """() => [location.origin, Object.entries(localStorage)
  .map(([name, value]) => ({ name, value })).sort((a, b) => a.name < b.name ? -1 : 1)]"""


def _carry_databases(saved: Any, previous: Mapping[str, bytes]) -> None:
    before = {o["origin"]: o.get("indexedDB", []) for o in state.origins(previous)}
    now = {o["origin"] for o in saved["origins"]}
    for entry in saved["origins"]:
        entry["indexedDB"] = before.get(entry["origin"], [])
    saved["origins"] += [
        {"origin": origin, "localStorage": [], "indexedDB": databases}
        for origin, databases in before.items()
        if origin not in now and databases
    ]


async def _tabs(
    context: BrowserContext,
    active: Page | None,
    previous: Mapping[str, bytes],
    pending: Mapping[Page, str],
    hung: Sequence[Page],
    warnings: list[str],
) -> bytes:
    pages = context.pages
    before = _tabs_before(previous)
    tabs = [
        _as_before(page.url, before)
        if page in hung
        else await _tab(page, pending.get(page), before, warnings)
        for page in pages
    ]
    index = pages.index(active) if active in pages else 0
    return state.encode({"active": index, "tabs": tabs})


def _tabs_before(previous: Mapping[str, bytes]) -> dict[str, dict[str, Any]]:
    if state.TABS not in previous:
        return {}
    return {tab["url"]: tab for tab in state.decode(state.TABS, previous[state.TABS])["tabs"]}


async def _tab(
    page: Page, pending: str | None, before: Mapping[str, dict[str, Any]], warnings: list[str]
) -> dict[str, Any]:
    url = pending if pending and not page.url.startswith("http") else page.url
    if not page.url.startswith("http"):
        return _as_before(url, before)
    try:
        origin, scroll, items = await bounded(page.evaluate(_READ_TAB), TAB_TIMEOUT_S, "a tab")
    except Exception as error:  # noqa: BLE001 -- a hung or closing page costs its tab, nothing else
        warnings.append(f"tab {_origin_of(url)} could not be read: {_first_line(error)}")
        return _as_before(url, before)
    return {"url": url, "scroll": scroll, "sessionStorage": {origin: items} if items else {}}


def _as_before(url: str, before: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    return before.get(url, {"url": url, "scroll": [0, 0], "sessionStorage": {}})


_READ_TAB = """() => {
  let items = {};
  try { items = Object.fromEntries(Object.entries(sessionStorage)); } catch {}
  return [location.origin, [Math.round(scrollX), Math.round(scrollY)], items];
}"""


def _origin_of(url: str) -> str:
    return "/".join(url.split("/", 3)[:3])


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__

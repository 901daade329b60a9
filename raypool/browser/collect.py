"""The state of a live browser, kept up to date as it changes.

Events say what may have changed; most of them carry what changed. What they cannot tell is read from
the documents that are open. No page is navigated and no site is visited for it. One bad part never
costs another: what cannot be read now stays as it was, with a warning that names it.
"""

import asyncio
import time
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any

from playwright.async_api import BrowserContext, CDPSession, Page
from playwright.async_api import Error as PlaywrightError

from raypool import state
from raypool.browser.channels import Message, PageChannel
from raypool.browser.databases import Database, read_database, read_generators, summary
from raypool.browser.documents import Document, Documents
from raypool.browser.mirror import Mirror
from raypool.browser.reading import bounded, first_line, swallow
from raypool.browser.seeding import Seeds
from raypool.browser.stub import Stub
from raypool.browser.tabs import Tabs
from raypool.logs import get_logger
from raypool.state import Area, Kind

log = get_logger(__name__)

COLLECT_TIMEOUT_S = 30.0
DOCUMENT_TIMEOUT_S = 3.0
DATABASE_TIMEOUT_S = 30.0
SMALL_BYTES = 64 * 1024
"""Databases up to this size are read at every command's end, whatever the events said."""
REST = 50
"""A database that took a second to read is not read again, unasked, for so many seconds."""


@dataclass
class Collected:
    """A state: its parts, and what people should know about them."""

    parts: dict[str, bytes] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def __repr__(self) -> str:
        return f"Collected({ {name: len(data) for name, data in sorted(self.parts.items())} })"


class Collector:
    """Knows the state of one context.

    Args:
        context: The business's context.
        cdp: A session with the browser itself.
        context_id: The context's id in CDP.
        parts: The state that it starts from.
        scripted: Whether pages may run scripts.
    """

    def __init__(
        self,
        context: BrowserContext,
        cdp: CDPSession,
        context_id: str,
        parts: Mapping[str, bytes],
        *,
        scripted: bool = True,
    ) -> None:
        self._context, self._cdp, self._context_id = context, cdp, context_id
        self.changed = asyncio.Event()
        """Set when something may be other than it was last collected."""
        self.mirror = Mirror(parts)
        self.tabs = Tabs()
        self.stub = Stub(context, cdp, context_id)
        self.documents = Documents(self)
        self._warnings: dict[str, str] = {}
        self.seeds = Seeds(context, self.mirror, self.stub, self._warn, scripted=scripted)
        self._unread: dict[Document, None] = {}
        self._arriving: set[Document] = set()
        """Their storage may not be complete yet."""
        self._databases: dict[tuple[str, str], None] = {}
        self._lists: set[str] = set()
        self._usage: dict[str, int] = {}
        self._not_before: dict[tuple[str, str], float] = {}
        self._asked: dict[Document, asyncio.Future[Any]] = {}
        self._cookies: list[Any] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._following: dict[Page, asyncio.Task[None]] = {}
        self._turn = asyncio.Lock()

    async def begin(self) -> None:
        """Follow every page from now on. Call it before the first is opened."""
        self._context.on("page", self._page_opened)
        await self.seeds.begin()

    def end(self) -> None:
        """Stop what goes on beside."""
        self.seeds.end()

    @property
    def pages(self) -> list[Page]:
        """The business's own tabs, in order."""
        return [page for page in self._context.pages if not self.stub.is_own(page)]

    # -- news ----------------------------------------------------------------------------------

    def coming(self, page: Any, origin: str) -> None:
        """See :class:`raypool.browser.documents.Listener`."""
        if not self.stub.is_own(page):
            self.seeds.shown(page, origin)

    def opened(self, document: Document) -> None:
        """See :class:`raypool.browser.documents.Listener`."""
        if self.stub.is_own(document.page):
            self.stub.opened(document)
            return
        if document.fresh:
            self._lists.add(document.key)
        self._arriving.add(document)
        self._give(self._arrive(document))

    async def _arrive(self, document: Document) -> None:
        try:
            await self.seeds.visited(document)
        finally:
            self._arriving.discard(document)
            self._unread[document] = None
            self.changed.set()

    def network_used(self) -> None:
        """See :class:`raypool.browser.documents.Listener`."""
        self.changed.set()

    def tab_changed(self) -> None:
        """See :class:`raypool.browser.documents.Listener`."""
        self.changed.set()

    def item_changed(self, page: Any, where: Message, change: Message) -> None:
        """See :class:`raypool.browser.documents.Listener`."""
        if self.stub.is_own(page):
            return
        key, local = where["storageKey"], where["isLocalStorage"]
        told_by = self.documents.of(key, None if local else page)
        # What another tab tells of the same storage comes late; and half a surrogate pair not at all.
        doubtful = local and len({document.page for document in told_by}) > 1
        if doubtful or "�" in f"{change.get('key')}{change.get('newValue')}":
            self._unread |= dict.fromkeys(told_by[:1])
        if local:
            self._change_local(Area(Kind.LOCAL, key), change)
        else:
            _change(self.tabs.session(page, key), change)
        self.changed.set()

    def _change_local(self, area: Area, change: Message) -> None:
        if "newValue" in change:
            self.mirror.update(area, {change["key"]: change["newValue"]})
        elif "key" in change:
            self.mirror.update(area, {}, [change["key"]])
        else:
            self.mirror.replace(area, {})

    def databases_changed(self, page: Any, key: str, database: str | None) -> None:
        """See :class:`raypool.browser.documents.Listener`."""
        if self.stub.is_own(page):
            return
        if database is None:
            self._lists.add(key)
        else:
            self._databases[key, database] = None
        self.changed.set()

    def _page_opened(self, page: Page) -> None:
        page.on("close", self._page_closed)
        page.on("framenavigated", lambda _: self.changed.set())
        self._following[page] = self._give(self._follow(page))

    def _page_closed(self, page: Page) -> None:
        self._following.pop(page, None)
        self.documents.closed(page)
        self.tabs.closed(page)
        self.changed.set()

    async def followed(self, page: Page) -> None:
        """Return when nothing that opens in a page escapes any more."""
        await asyncio.wait({self._following[page]})

    async def _follow(self, page: Page) -> None:
        with_page = PageChannel(await self._context.new_cdp_session(page))
        tree = await with_page.send("Page.getFrameTree")
        await self.documents.follow(with_page, page, tree["frameTree"]["frame"]["id"])
        self.stub.followed(page)

    # -- reading -------------------------------------------------------------------------------

    async def collect(self, active: Page | None, *, everything: bool) -> Collected:
        """Return the state now.

        Args:
            active: The page that functions are given.
            everything: Whether all that is open is read, whatever the events said; else what they
                named, and the cookies.

        Raises:
            BrowserError: Not even the cookies could be read.
        """
        async with self._turn:
            self.changed.clear()
            await self._read_cookies()  # also a fence: events of before it have arrived after it
            await self._read_documents(everything=everything)
            await self._read_databases(everything=everything)
            self.mirror.whole[state.TABS] = self.tabs.part(self.pages, active)
            return Collected(self.mirror.parts, sorted(self._warnings.values()))

    async def _read_cookies(self) -> None:
        answer = await bounded(
            self._cdp.send("Storage.getCookies", {"browserContextId": self._context_id}),
            COLLECT_TIMEOUT_S,
            "reading the cookies",
        )
        if answer["cookies"] != self._cookies:
            self._cookies = answer["cookies"]
            ordered = sorted(answer["cookies"], key=_cookie_order)
            self.mirror.whole[state.COOKIES] = state.encode(ordered)

    async def _read_documents(self, *, everything: bool) -> None:
        unread = list(self.documents) if everything else list(self._unread)
        self._unread.clear()
        await asyncio.gather(*(self._read_document(d) for d in unread if self._is_readable(d)))

    def _is_readable(self, document: Document) -> bool:
        return not self.stub.is_own(document.page) and document not in self._arriving

    async def _read_document(self, document: Document) -> None:
        site = f"{document.key} ({id(document.page)})"
        asked = self._asked.get(document)
        if asked is None or asked.done():
            asked = self._asked[document] = asyncio.ensure_future(
                document.call("look", document.epochs)
            )
        done, _ = await asyncio.wait({asked}, timeout=DOCUMENT_TIMEOUT_S)
        if not done:
            asked.add_done_callback(swallow)
            self._unread[document] = None
            self._warn(site, f"{document.key} does not answer: it is kept as it was")
            return
        del self._asked[document]
        self._warnings.pop(site, None)
        try:
            self._take(document, asked.result())
        except Exception as error:  # noqa: BLE001 -- a document that is gone costs itself, nothing else
            log.debug("a document was not read", key=document.key, error=first_line(error))

    def _take(self, document: Document, found: Mapping[str, Any]) -> None:
        if told := found["local"]:
            area = Area(Kind.LOCAL, document.key)
            if told["whole"]:
                self.mirror.replace(area, dict(told["changed"]))
            else:
                self.mirror.update(area, dict(told["changed"]), told["gone"])
            document.epochs["local"] = told["epoch"]
        if told := found["session"]:
            items = self.tabs.session(document.page, document.key)
            if told["whole"]:
                items.clear()
            for name in told["gone"]:
                items.pop(name, None)
            items.update(dict(told["changed"]))
            document.epochs["session"] = told["epoch"]
        if document.main:
            self.tabs.scrolled(document.page, found["scroll"])

    # -- databases -----------------------------------------------------------------------------

    async def _read_databases(self, *, everything: bool) -> None:
        for key in await self._keys_to_list(everything=everything):
            await self._list_databases(key)
        now = time.monotonic()
        due = dict(self._databases)
        if everything:
            small = {
                (key, name): None
                for key in {document.key for document in self.documents} - self.seeds.pending
                for name in self.mirror.databases(key)
                if self.mirror.size(self.mirror.records(key, name)) <= SMALL_BYTES
            }
            due |= small
        for key, name in due:
            if everything or self._not_before.get((key, name), 0.0) <= now:
                self._databases.pop((key, name), None)
                await self._read_database(key, name)

    async def _keys_to_list(self, *, everything: bool) -> set[str]:
        keys, self._lists = self._lists, set()
        if everything:
            keys |= {document.key for document in self.documents}
        return keys - self.seeds.pending

    async def _list_databases(self, key: str) -> None:
        try:
            document = self._document(key)
            if document is None and not await self._has_others(key):
                return
            names = await self._ask(document, key, "databaseNames")
        except Exception as error:  # noqa: BLE001 -- as in _read_document
            if self.mirror.databases(key):  # else it may be a frame that may use none
                self._warn(f"{key} list", f"databases of {key} are kept: {first_line(error)}")
            return
        self._warnings.pop(f"{key} list", None)
        for name in self.mirror.databases(key) - set(names):
            self.mirror.drop_database(key, name)
        for name in set(names) - self.mirror.databases(key):
            self._databases[key, name] = None

    async def _read_database(self, key: str, name: str) -> None:
        began = time.monotonic()
        what = f"database {name!r} of {key}"
        try:
            found = await bounded(self._database(key, name), DATABASE_TIMEOUT_S, what)
        except Exception as error:  # noqa: BLE001 -- as in _read_document
            self._warn(what, f"{what} is kept as it was: {first_line(error)}")
            return
        self._not_before[key, name] = time.monotonic() + REST * (time.monotonic() - began)
        if found is None:
            self.mirror.drop_database(key, name)
        if found and found.lost:
            self._warn(what, f"{what} is kept without {summary(found.lost)}")
        else:
            self._warnings.pop(what, None)

    async def _database(self, key: str, name: str) -> Database | None:
        document = self._document(key)
        if document is None:
            async with self.stub.document(key) as own:
                return await self._take_database(own, key, name)
        return await self._take_database(document, key, name)

    async def _take_database(self, document: Document, key: str, name: str) -> Database | None:
        found = await read_database(document, name)
        if found is None:
            return None
        known = self.mirror.shape(key, name)
        before = self.mirror.parts
        self._take_records(key, name, found)
        if _without_generators(known) == found.shape and self.mirror.parts == before:
            return found
        await read_generators(document, name, found.shape)
        self.mirror.set_shape(key, name, found.shape)
        return found

    def _take_records(self, key: str, name: str, found: Database) -> None:
        for store, records in found.records.items():
            self.mirror.replace(Area(Kind.RECORDS, key, name, store), records)

    def _document(self, key: str) -> Document | None:
        answering = (d for d in self.documents.of(key) if d not in self._asked)
        return next(answering, None)

    async def _ask(self, document: Document | None, key: str, function: str) -> Any:
        if document is None:
            async with self.stub.document(key) as own:
                return await bounded(own.call(function), DOCUMENT_TIMEOUT_S, key)
        return await bounded(document.call(function), DOCUMENT_TIMEOUT_S, key)

    async def _has_others(self, key: str) -> bool:
        """Tell whether a storage key that no open document has may have other databases by now."""
        anybody = next(iter(self.documents), None)
        if anybody is None:
            return True
        asking = anybody.channel.send(
            "Storage.getUsageAndQuota", {"origin": Area(Kind.LOCAL, key).origin}
        )
        answer = await bounded(asking, DOCUMENT_TIMEOUT_S, key)
        used = {one["storageType"]: one["usage"] for one in answer["usageBreakdown"]}["indexeddb"]
        before, self._usage[key] = self._usage.get(key, 0), used
        return bool(used != before)

    # -- small things --------------------------------------------------------------------------

    def _warn(self, about: str, text: str) -> None:
        self._warnings[about] = text

    def _give(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            level = log.debug if isinstance(error, PlaywrightError) else log.warning
            level("a page was not followed", error=first_line(error))


def _change(items: dict[str, str], change: Message) -> None:
    if "newValue" in change:
        items[change["key"]] = change["newValue"]
    elif "key" in change:
        items.pop(change["key"], None)
    else:
        items.clear()


def _without_generators(shape: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    if shape is None:
        return None
    stores = [{k: v for k, v in store.items() if k != "next"} for store in shape["stores"]]
    return {**shape, "stores": stores}


def _cookie_order(cookie: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(str(cookie.get(k, "")) for k in ("domain", "path", "name", "partitionKey"))

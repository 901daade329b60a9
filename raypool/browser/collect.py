"""The state of a live browser, kept up to date as it changes.

Events say what may have changed; most of them carry what changed. What they cannot tell is read from
the documents that are open. No page is navigated and no site is visited for it. One bad part never
costs another: what cannot be read now stays as it was, with a warning that names it.
"""

import asyncio
from collections.abc import Collection, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from playwright.async_api import BrowserContext, CDPSession, Page
from playwright.async_api import Error as PlaywrightError

from raypool import state
from raypool.browser.channels import Channel, Message, PageChannel
from raypool.browser.database_reader import DatabaseReader
from raypool.browser.documents import Document, Documents
from raypool.browser.failures import first_line
from raypool.browser.file_reader import FileReader
from raypool.browser.mirror import Mirror
from raypool.browser.others import Others
from raypool.browser.reading import Notes, bounded
from raypool.browser.seeding import Seeds
from raypool.browser.sown import Sown
from raypool.browser.storage_reader import StorageReader
from raypool.browser.stub import Stub
from raypool.browser.tabs import Tabs
from raypool.browser.tap import follow, listen
from raypool.browser.targets import Targets
from raypool.errors import BrowserError
from raypool.logs import get_logger

log = get_logger(__name__)

COLLECT_TIMEOUT_S = 30.0
FOLLOW_TIMEOUT_S = 3.0


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
        mirror: The state that it starts from.
        local: The localStorage of it that goes in by script.
        scripted: Whether pages may run scripts.
        given: The ``permissions`` that the context was made with.
    """

    def __init__(
        self,
        context: BrowserContext,
        cdp: CDPSession,
        context_id: str,
        mirror: Mirror,
        local: Sown,
        *,
        scripted: bool = True,
        given: Collection[str] = (),
    ) -> None:
        self._context, self._cdp, self._context_id = context, cdp, context_id
        self.changed = asyncio.Event()
        """Set when something may be other than it was last collected."""
        self.mirror = mirror
        self.tabs = Tabs()
        self.stub = Stub(context, cdp, context_id)
        self.targets = Targets(cdp, context_id)
        self.documents = Documents(self)
        self._notes = Notes()
        self.seeds = Seeds(context, mirror, local, self.stub, self._notes, scripted=scripted)
        self._storage = StorageReader(self.documents, self.mirror, self.tabs, self._notes)
        failed = self.seeds.failed
        self._databases = DatabaseReader(
            self.documents, self.mirror, self.stub, self._notes, failed
        )
        self._files = FileReader(self.documents, self.mirror, self._notes, failed)
        self._others = Others(context, self.documents, self.mirror.whole, self._notes, given)
        self._arriving: set[Document] = set()
        """Their storage may not be complete yet."""
        self._cookies: list[Any] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._following: dict[Page, asyncio.Task[None]] = {}
        self._hanging: set[asyncio.Task[None]] = set()
        """What a page that hangs does not answer: waited for once."""
        self._missed: set[str] = set()
        """Storage keys of what was shown, and was gone or not followed yet when it could have told."""
        self._gone: set[str] = set()
        """Storage keys of what was shown, and is gone."""
        self._turn = asyncio.Lock()

    async def begin(self) -> None:
        """Follow every page from now on. Call it before the first is opened."""
        await self._others.restore()
        self._context.on("page", self._page_opened)
        self.targets.begin()
        await self.seeds.begin()

    def end(self) -> None:
        """Stop what goes on beside."""
        self.seeds.end()
        self.targets.end()

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
            self._databases.changed(document.key, None)
        self._arriving.add(document)
        self._give(self._arrive(document))

    async def _arrive(self, document: Document) -> None:
        try:
            late = await self.seeds.visited(document)
        finally:
            self._arriving.discard(document)
        if document.fresh or late:  # else events have told, or will tell, whatever it has
            self._storage.is_unread(document)
        self.changed.set()

    def network_used(self) -> None:
        """See :class:`raypool.browser.documents.Listener`."""
        self.changed.set()

    def scrolled(self, page: Any) -> None:
        """See :class:`raypool.browser.documents.Listener`."""
        for document in self.documents:
            if document.main and document.page is page:
                self._storage.is_unread(document)
        self.changed.set()

    def item_changed(self, page: Any, where: Message, change: Message) -> None:
        """See :class:`raypool.browser.documents.Listener`."""
        if not self.stub.is_own(page):
            self._storage.changed(page, where, change)
            self.changed.set()

    def looked_at(self, document: Document) -> None:
        """See :class:`raypool.browser.documents.Listener`."""
        if not self.stub.is_own(document.page):
            self._storage.is_unread(document)
            self.changed.set()

    def databases_changed(self, page: Any, key: str, database: str | None) -> None:
        """See :class:`raypool.browser.documents.Listener`."""
        if not self.stub.is_own(page):
            self._databases.changed(key, database)
            self.changed.set()

    def leaving(self, page: Any, key: str, left: Mapping[str, Any]) -> None:
        """See :class:`raypool.browser.documents.Listener`."""
        if self.seeds.lacks(page, key):
            return
        for is_local, which in ((True, "local"), (False, "session")):
            where = {"isLocalStorage": is_local, "storageKey": key}
            self.item_changed(page, where, {"all": dict(left[which])})

    def gone(self, page: Any, key: str) -> None:
        """See :class:`raypool.browser.documents.Listener`."""
        if not self.stub.is_own(page):
            self._gone.add(key)

    def unheard(self, page: Any, key: str) -> None:
        """See :class:`raypool.browser.documents.Listener`."""
        if not self.stub.is_own(page):
            self._missed.add(key)
            self.changed.set()

    def _page_opened(self, page: Page) -> None:
        if self.stub.is_own(page):
            self.stub.hide(page)
        page.on("close", self._page_closed)
        page.on("framenavigated", lambda frame: self._navigated(page, frame.url))
        self._following[page] = self._give(self._follow(page))
        self._navigated(page, page.url)

    def _navigated(self, page: Page, url: str) -> None:
        following = self._following.get(page)
        if following and not following.done() and url.startswith("http"):
            self._missed.add(state.key_of(_origin(url)))
        self.changed.set()

    def _page_closed(self, page: Page) -> None:
        self._following.pop(page, None)
        self.documents.closed(page)
        self.tabs.closed(page)
        self.seeds.closed(page)
        self.changed.set()

    async def followed(self, page: Page) -> None:
        """Return when nothing that opens in a page escapes any more, or when it hangs."""
        if following := self._following.get(page):  # else it is closed already
            await asyncio.wait({following}, timeout=FOLLOW_TIMEOUT_S)

    async def _follow(self, page: Page) -> None:
        channel: Channel = PageChannel(await self._context.new_cdp_session(page))
        target_id = (await channel.send("Target.getTargetInfo"))["targetInfo"]["targetId"]
        if target := self.targets.expected(target_id):
            channel = target.channel  # the other session stays, unused: it costs less than its end
            listen(channel, page, target_id, self.documents)
            target.hand_over(page)
            await target.equipped
        else:
            await follow(channel, page, target_id, self.documents)
        self.stub.followed(page)
        self._give(self._others.follow(channel))

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
            if everything:
                await self._caught_up()
            await self._storage.read(self._arriving, everything=everything)
            await self._read_gone(self._missed | self._gone if everything else self._left_unheard())
            await self._databases.read(self.seeds.pending, everything=everything)
            await self._files.read(self.seeds.pending, everything=everything)
            await self._others.read()
            self.mirror.whole[state.TABS] = self.tabs.part(self.pages, active)
            return Collected(self.mirror.parts, self._notes.lines)

    async def _caught_up(self) -> None:
        """Return when all that has opened by now is known, or does not answer."""
        while (
            late := {t for t in self._tasks | self.documents.tasks if not t.done()} - self._hanging
        ):
            _, still = await asyncio.wait(late, timeout=FOLLOW_TIMEOUT_S)
            self._hanging = {task for task in self._hanging | still if not task.done()}

    def _left_unheard(self) -> set[str]:
        """Return the storage keys that nobody told of when they were shown, and nobody shows now."""
        shown = {state.key_of(_origin(page.url)) for page in self.pages}
        return self._missed - shown - {document.key for document in self.documents}

    async def _read_gone(self, keys: set[str]) -> None:
        """Read what was open, and is not any more."""
        due = keys - self.seeds.pending
        if not due:
            return
        for key in self._missed & due:
            self._databases.doubt(key)
        self._missed -= due
        self._gone -= due  # before it is read: what goes meanwhile is for the next time
        async with self.stub.in_use():
            for key in sorted(due):
                if not self.documents.of(key) and not await self._storage.read_closed(
                    key, self.stub
                ):
                    self._gone.add(key)

    async def _read_cookies(self) -> None:
        answer = await bounded(
            self._cdp.send("Storage.getCookies", {"browserContextId": self._context_id}),
            COLLECT_TIMEOUT_S,
            "reading the cookies",
        )
        if answer["cookies"] != self._cookies:
            self._cookies = answer["cookies"]
            ordered = sorted(filter(_lasts, answer["cookies"]), key=_cookie_order)
            self.mirror.whole[state.COOKIES] = state.encode(ordered)

    def _give(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            its_end = isinstance(error, (PlaywrightError, BrowserError))
            level = log.debug if its_end else log.warning
            level("a page was not followed", error=first_line(error))


def _origin(url: str) -> str:
    where = urlsplit(url)
    return f"{where.scheme}://{where.netloc.rpartition('@')[2]}"


def _lasts(cookie: Mapping[str, Any]) -> bool:
    """Tell whether a cookie outlives the page that got it.

    Those of a frame without credentials do not: their partition has no name. CDP then gives no
    ``partitionKey``, and ``partitionKeyOpaque`` whatever its value; put back they would be others.
    """
    return "partitionKeyOpaque" not in cookie


def _cookie_order(cookie: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(str(cookie.get(k, "")) for k in ("domain", "path", "name", "partitionKey"))

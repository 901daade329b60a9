"""Put saved storage into a fresh context before a page can miss it, at the cost of what is visited.

localStorage and sessionStorage are small: a script that runs before a document's own holds what is not
visited yet. Databases and files can be written only by a document of their origin, and not at once: the
first request for a document waits until an empty page of ours has written them. What nobody asks for is
written beside the work.
"""

import asyncio
import contextlib
import re
from collections.abc import Mapping
from typing import Any

from playwright.async_api import BrowserContext, Page, Route
from playwright.async_api import Error as PlaywrightError

from raypool import state
from raypool.browser.databases import write_database
from raypool.browser.documents import Document
from raypool.browser.failures import first_line
from raypool.browser.files import write_files
from raypool.browser.mirror import Mirror
from raypool.browser.reading import Notes
from raypool.browser.sown import Sown
from raypool.browser.stub import Stub
from raypool.logs import get_logger
from raypool.state import Area, Kind

log = get_logger(__name__)

AT_ONCE_S = 1.0
"""So long the first pages wait for databases to be written: what a redirect leads to has them then."""


class Seeds:
    """What a context still lacks of the state that it was made from.

    Args:
        context: The business's context, no page opened yet.
        mirror: Holds the state.
        local: The localStorage that goes in by script.
        stub: Opens the documents that databases are written from.
        notes: Takes what could not be put back.
        scripted: Whether pages may run scripts; where they may not ours do not run before them either.
    """

    def __init__(
        self,
        context: BrowserContext,
        mirror: Mirror,
        local: Sown,
        stub: Stub,
        notes: Notes,
        *,
        scripted: bool,
    ) -> None:
        self._context, self._mirror, self._stub, self._notes = context, mirror, stub, notes
        self._scripted = scripted
        self._local = local
        self._sessions: dict[Page, Sown] = {}
        large = {key for key in mirror.keys(Kind.LOCAL) if key not in local}
        self.pending = mirror.keys(Kind.DATABASE, Kind.FILES) | large
        """Storage keys whose databases and files are not written yet."""
        self.failed: set[Area] = set()
        """Databases and files that could not be put back: they stay in the state all the same."""
        self._scripts: dict[Page | None, asyncio.Task[Any]] = {}
        self._writing: dict[str, asyncio.Task[None]] = {}
        self._writer: asyncio.Task[None] | None = None
        self._gate: re.Pattern[str] | None = None
        self._over = False

    @property
    def done(self) -> bool:
        """Whether nothing is written beside the work any more."""
        return not self.pending and (self._writer is None or self._writer.done())

    async def begin(self) -> None:
        """Make ready for the first page."""
        await self._install(None)
        if self.pending:
            origins = sorted(set(map(_origin, self.pending)))
            self._gate = re.compile(f"^({'|'.join(map(re.escape, origins))})")
            await self._context.route(self._gate, self._hold)

    async def begin_tab(self, page: Page, items: Mapping[str, Mapping[str, str]]) -> None:
        """Have a tab find its sessionStorage: *items* by storage key."""
        if kept := {key: dict(values) for key, values in items.items() if values}:
            self._sessions[page] = Sown("session", kept)
            await self._install(page)

    async def write(self) -> None:
        """Write what no page has asked for yet; what takes longer goes on beside the work."""
        if self.pending and self._writer is None:
            self._writer = asyncio.ensure_future(self._write_all())
            await asyncio.wait({self._writer}, timeout=AT_ONCE_S)

    def end(self) -> None:
        """Begin to write nothing more: the browser is going."""
        self._over = True

    def closed(self, page: Page) -> None:
        """A tab is closed."""
        self._sessions.pop(page, None)
        self._scripts.pop(page, None)

    def shown(self, page: Page, origin: str) -> None:
        """A tab shows a document of *origin*: it has what the scripts held for it, and they go.

        They are gone before whoever navigated the tab can do so again: messages keep their order.
        """
        if self._scripted:
            self._forget(None, self._local, state.key_of(origin))
            self._forget(page, self._sessions.get(page), state.key_of(origin))

    def lacks(self, page: Page, key: str) -> bool:
        """Tell whether a document of a tab may be without what was saved of its storage."""
        return any(
            key in what for what in (self.pending, self._local, self._sessions.get(page, ()))
        )

    async def visited(self, document: Document) -> bool:
        """A document is open: see that it has what it needs also where no script could know that.

        Tell whether it lacked anything.
        """
        sessions = self._sessions.get(document.page)
        local = await self._late(None, document, "local", self._local)
        return await self._late(document.page, document, "session", sessions) or local

    async def _late(
        self, page: Page | None, document: Document, which: str, sown: Sown | None
    ) -> bool:
        # Of a frame only the browser knows the storage key; and it may be one that may use no storage.
        items = sown.of(document.key) if sown else {}
        if not items or not await document.call("fillStorage", which, list(items.items())):
            return False
        self._forget(page, sown, document.key)
        return True

    def _forget(self, page: Page | None, sown: Sown | None, key: str) -> None:
        open_still = page is None or page in self._sessions
        if sown and sown.drop(key) and open_still:
            self._install(page)

    def _install(self, page: Page | None) -> "asyncio.Future[Any]":
        """Have documents of *page* (None: all) get what is still missing, nothing else."""
        sown = self._local if page is None else self._sessions[page]
        script, old = sown.script, self._scripts.pop(page, None)
        loop = asyncio.get_running_loop()
        added = (
            loop.create_task((page or self._context).add_init_script(script)) if script else None
        )
        if added:
            self._scripts[page] = added
        return loop.create_task(_exchanged(added, old))

    async def _hold(self, route: Route) -> None:
        """Let a request for a document go when what it needs is written."""
        if route.request.resource_type == "document":
            needed = [k for k in self.pending if route.request.url.startswith(_origin(k))]
            for key in needed:
                await self._write(key)
        with contextlib.suppress(PlaywrightError):  # its page is closed
            await route.fallback()

    async def _write_all(self) -> None:
        async with self._stub.in_use():
            for key in sorted(self.pending):
                if self._over:
                    return
                await self._write(key)
        if self._gate:
            with contextlib.suppress(PlaywrightError):
                await self._context.unroute(self._gate, self._hold)

    def _write(self, key: str) -> "asyncio.Task[None]":
        """Write the databases and files of a storage key, once for all who need them."""
        if key not in self._writing:
            self._writing[key] = asyncio.get_running_loop().create_task(self._write_once(key))
        return self._writing[key]

    async def _write_once(self, key: str) -> None:
        try:
            async with self._stub.document(key) as document:
                await self._fill(document, key)
        except Exception as error:  # noqa: BLE001 -- what fails costs itself; the page may go on
            line = f"databases of {key} were not put back: {first_line(error)}"
            self._notes.say(key, line)
            self._give_up(key)
        finally:
            self.pending.discard(key)

    def _give_up(self, key: str) -> None:
        kinds = (Kind.DATABASE, Kind.FILES)
        self.failed |= {area for area in self._mirror.areas(*kinds) if area.key == key}
        if local := self._mirror.items(Area(Kind.LOCAL, key)):
            self._local.put(key, local)  # larger than scripts should be, but not lost
            self._install(None)

    async def _fill(self, document: Document, key: str) -> None:
        local = self._mirror.items(Area(Kind.LOCAL, key))
        if local and key not in self._local:
            await document.call("fillStorage", "local", list(local.items()))
        for name in sorted(self._mirror.databases(key)):
            await self._fill_database(document, key, name)
        if files := self._mirror.items(Area(Kind.FILES, key)):
            lost = await write_files(document, files)
            self.failed |= {Area(Kind.FILES, key)} if lost else set()
            for path, why in lost.items():
                line = f"file {path!r} of {key} was not put back: {why}"
                self._notes.say(f"files:{key}/{path}", line)

    async def _fill_database(self, document: Document, key: str, name: str) -> None:
        shape = self._mirror.shape(key, name)
        records = {a.store: self._mirror.items(a) for a in self._mirror.records(key, name)}
        try:
            await write_database(document, name, shape, records)
        except Exception as error:  # noqa: BLE001 -- one bad database costs itself
            line = f"database {name!r} of {key} was not put back: {first_line(error)}"
            self._notes.say(f"db:{key}#{name}", line)
            self.failed.add(Area(Kind.DATABASE, key, name))


async def _exchanged(added: "asyncio.Task[Any] | None", old: "asyncio.Task[Any] | None") -> None:
    """Return when a script is in and the one before is out."""
    with contextlib.suppress(PlaywrightError):  # the page is closed
        if old:
            await (await old).__aexit__(None, None, None)
        if added:
            await added


def _origin(key: str) -> str:
    """Return how addresses of a storage key's documents begin."""
    return f"{Area(Kind.LOCAL, key).origin}/"

"""Keep what is known of localStorage and sessionStorage up to date, and of where tabs are scrolled.

Events carry what changed; that alone is known of documents that are gone. Of those that are open the
truth is read: when they open, when an event may mislead, and whenever everything is.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from raypool.browser.channels import Message
from raypool.browser.documents import Document, Documents
from raypool.browser.failures import first_line
from raypool.browser.mirror import Mirror
from raypool.browser.reading import Notes, bounded, swallow
from raypool.browser.stub import Stub
from raypool.browser.tabs import Tabs
from raypool.logs import get_logger
from raypool.state import Area, Kind

log = get_logger(__name__)

DOCUMENT_TIMEOUT_S = 3.0
CLOSED_TIMEOUT_S = 30.0
"""Longer than a page of ours may be busy with what is put back."""
_UNREADABLE = "\N{REPLACEMENT CHARACTER}"
"""What events make of half a surrogate pair."""


@dataclass
class Changes:
    """What events told of one storage since they were last looked at."""

    cleared: bool = False
    items: dict[str, str | None] = field(default_factory=dict)
    """By name; None: removed."""

    def take(self, change: Message) -> None:
        """Take note of an event.

        Args:
            change: ``key`` and ``newValue``; ``key`` alone: removed; ``all``: there is nothing else;
                none of them: all were removed.
        """
        if "key" in change:
            self.items[change["key"]] = change.get("newValue")
        else:
            self.cleared, self.items = True, dict(change.get("all", {}))

    @property
    def misleading(self) -> bool:
        """Whether it holds text that events cannot carry."""
        return any(_UNREADABLE in f"{name}{value}" for name, value in self.items.items())

    @property
    def kept(self) -> dict[str, str]:
        """Items that have another value now."""
        return {name: value for name, value in self.items.items() if value is not None}

    @property
    def gone(self) -> list[str]:
        """Names of items that were removed; all others too when it was cleared."""
        return [name for name, value in self.items.items() if value is None]


class StorageReader:
    """Reads storage into a mirror and the tabs.

    Args:
        documents: Those that are open.
        mirror: What is known of localStorage.
        tabs: What is known of sessionStorage and scroll.
        notes: Takes what could not be read.
    """

    def __init__(self, documents: Documents, mirror: Mirror, tabs: Tabs, notes: Notes) -> None:
        self._documents, self._mirror = documents, mirror
        self._tabs, self._notes = tabs, notes
        self._told: list[tuple[Any, Message, Message]] = []
        self._unread: dict[Document, None] = {}
        self._asked: dict[Document, asyncio.Future[Any]] = {}

    def changed(self, page: Any, where: Message, change: Message) -> None:
        """An event told of an item. Hundreds may come at once: they are looked at later."""
        self._told.append((page, where, change))

    def is_unread(self, document: Document) -> None:
        """A document has what no event told."""
        self._unread[document] = None

    async def read(self, but: set[Document], *, everything: bool) -> None:
        """Read what changed.

        Args:
            but: Documents whose storage is not complete yet.
            everything: Whether all that are open are read, whatever was told.
        """
        self._take_events()
        unread = list(self._documents) if everything else list(self._unread)
        self._unread.clear()
        await asyncio.gather(*(self._read(document) for document in unread if document not in but))

    async def read_closed(self, key: str, stub: Stub) -> bool:
        """Read the localStorage of a storage key without an open document; tell whether it could be."""
        about = f"{key} closed"
        try:
            found = await bounded(_closed(key, stub), CLOSED_TIMEOUT_S, f"reading {key}")
        except Exception as error:  # noqa: BLE001 -- it stays as it was
            self._notes.say(about, f"{key} is kept as it was: {first_line(error)}")
            return False
        self._notes.say(about, None)
        self._change_local(key, True, dict(found["local"]["changed"]), ())
        return True

    def _take_events(self) -> None:
        told, self._told = self._told, []
        changes: dict[tuple[Any, str], Changes] = {}
        for page, where, change in told:
            place = (None if where["isLocalStorage"] else page, where["storageKey"])
            changes.setdefault(place, Changes()).take(change)
        for (page, key), found in changes.items():
            if page is None:
                self._change_local(key, found.cleared, found.kept, found.gone)
            elif not page.is_closed():
                self._change_session(page, key, found.cleared, found.kept, found.gone)
            self._doubt(page, key, found)

    def _change_local(
        self, key: str, whole: bool, changed: Mapping[str, str], gone: Sequence[str]
    ) -> None:
        if whole:
            self._mirror.replace(Area(Kind.LOCAL, key), changed)
        else:
            self._mirror.update(Area(Kind.LOCAL, key), changed, gone)

    def _change_session(
        self, page: Any, key: str, whole: bool, changed: Mapping[str, str], gone: Sequence[str]
    ) -> None:
        items = self._tabs.session(page, key)
        if whole:
            items.clear()
        for name in gone:
            items.pop(name, None)
        items.update(changed)

    def _doubt(self, page: Any, key: str, changes: Changes) -> None:
        told_by = self._documents.of(key, page)
        # What several tabs tell of the same storage may come in another order than it happened.
        several = page is None and len({document.page for document in told_by}) > 1
        if several or changes.misleading:
            self._unread |= dict.fromkeys(told_by[:1])

    async def _read(self, document: Document) -> None:
        about = f"{document.key} ({id(document.page)})"
        asked = self._asked.get(document)
        if asked is None:
            asked = asyncio.ensure_future(document.call("look", document.epochs))
            self._asked[document] = asked
        done, _ = await asyncio.wait({asked}, timeout=DOCUMENT_TIMEOUT_S)
        document.silent = not done
        if not done:  # not asked again: calls that a hung page does not answer must not pile up
            asked.add_done_callback(swallow)
            self._unread[document] = None
            self._notes.say(about, f"{document.key} does not answer: it is kept as it was")
            return
        del self._asked[document]
        self._notes.say(about, None)
        if error := asked.exception():
            log.debug("a document was not read", key=document.key, error=first_line(error))
        else:
            self._take(document, asked.result())

    def _take(self, document: Document, found: Mapping[str, Any]) -> None:
        if told := found["local"]:
            changed = dict(told["changed"])
            self._change_local(document.key, told["whole"], changed, told["gone"])
            document.epochs["local"] = told["epoch"]
        if told := found["session"]:
            changed = dict(told["changed"])
            self._change_session(document.page, document.key, told["whole"], changed, told["gone"])
            document.epochs["session"] = told["epoch"]
        if document.main:
            self._tabs.scrolled(document.page, found["scroll"])


async def _closed(key: str, stub: Stub) -> Any:
    async with stub.document(key) as own:
        return await own.call("look", own.epochs)

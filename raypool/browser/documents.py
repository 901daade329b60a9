"""The documents that are open in a context, by storage key, and scripts that run in them.

Each document has a world of our own beside the site's: our scripts see its storage and its page sees
nothing of them. What happens in it is only a hint that something may have changed.
"""

import asyncio
import json
from collections.abc import Coroutine, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from raypool import state
from raypool.browser import library
from raypool.browser.channels import Channel, FrameChannel, Message
from raypool.browser.reading import bounded
from raypool.errors import ErrorCodes, create_error
from raypool.logs import get_logger

log = get_logger(__name__)

WORLD = "raypool"
_TELL = "raypoolTell"
USAGE_TIMEOUT_S = 3.0


@dataclass(eq=False)
class Document:
    """One document that is open."""

    channel: Channel
    context_id: int
    world: str
    """Id of our world in it; context ids are used again when a tab changes its process."""
    key: str
    """Its storage key."""
    page: Any
    """The tab that it is in: sessionStorage belongs to it."""
    main: bool
    """Whether it is what the tab shows, not a frame in it."""
    fresh: bool = False
    """Whether its databases were not watched yet when it opened."""
    epochs: dict[str, int] = field(default_factory=lambda: {"local": -1, "session": -1})
    """What it told last of a storage, see ``changesOf`` in storages.js."""
    silent: bool = False
    """Whether it owes an answer: its page hangs, or works hard."""
    _equipped: bool = False

    async def call(self, function: str, *args: object) -> Any:
        """Return what one of our functions (page/*.js) answers.

        Raises:
            Exception: The document is gone, or the script failed; whose kind says little.
        """
        if not self._equipped:
            await self.evaluate(library.INSTALL)
            self._equipped = True
        return json.loads(await self.evaluate(library.call(function, *args)))

    async def evaluate(self, expression: str) -> Any:
        """Return what *expression* comes to, a promise's value too: JSON values only.

        Raises:
            Exception: As in :meth:`call`.
        """
        answer = await self.channel.send(
            "Runtime.evaluate",
            {
                "expression": expression,
                "uniqueContextId": self.world,
                "awaitPromise": True,
                "returnByValue": True,
            },
        )
        if "exceptionDetails" in answer:
            raise create_error(
                ErrorCodes.BROWSER_CHECKPOINT_FAILED, _said(answer["exceptionDetails"])
            )
        return answer["result"].get("value")


class Listener(Protocol):
    """Whoever wants to know what may have changed. Hints may come twice, late, or not at all."""

    def coming(self, page: Any, origin: str) -> None:
        """A tab shows a document of *origin*. Told before whoever sent it there can go on."""

    def opened(self, document: Document) -> None:
        """A document is open; most of its scripts have not run yet."""

    def network_used(self) -> None:
        """A response came: cookies may be others."""

    def scrolled(self, page: Any) -> None:
        """A tab was scrolled."""

    def item_changed(self, page: Any, where: Message, change: Message) -> None:
        """A storage has another item.

        Args:
            page: The tab of the document that tells.
            where: ``storageKey``, ``isLocalStorage``.
            change: ``key`` and ``newValue``; ``key`` alone for a removal; neither for all of them.
        """

    def databases_changed(self, page: Any, key: str, database: str | None) -> None:
        """A database of a storage key has other contents, or (None) there are other databases."""


class Documents:
    """Follows the documents of one context.

    Args:
        listener: Told what opens and what may have changed.
    """

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        self.tasks: set[asyncio.Task[None]] = set()
        """What opens now and is not among them yet."""
        self._open: dict[tuple[int, int], Document] = {}

    def __iter__(self) -> Iterator[Document]:
        return iter(list(self._open.values()))

    def of(self, key: str, page: Any = None) -> list[Document]:
        """Return the open documents of a storage key, in a tab if one is given; the newest first."""
        return [
            document
            for document in reversed(self._open.values())
            if document.key == key and page in {None, document.page}
        ]

    def answering(self, key: str, *, main: bool = False) -> Document | None:
        """Return an open document of a storage key that is not known to hang; None without one.

        Args:
            key: The storage key.
            main: Whether it must be what its tab shows.
        """
        fit = (d for d in self.of(key) if not d.silent and (d.main or not main))
        return next(fit, None)

    async def usage(self, origin: str, kind: str) -> int | None:
        """Return the bytes that an origin's storage of a kind takes; None when nobody can say.

        Args:
            origin: It needs no open document.
            kind: ``indexeddb``, ``file_systems`` and others of ``Storage.StorageType``.
        """
        anybody = next(iter(self), None)
        if anybody is None:
            return None
        asking = anybody.channel.send("Storage.getUsageAndQuota", {"origin": origin})
        answer = await bounded(asking, USAGE_TIMEOUT_S, "asking for the usage of storage")
        return int({u["storageType"]: u["usage"] for u in answer["usageBreakdown"]}[kind])

    async def follow(self, channel: Channel, page: Any, main_frame: str | None) -> None:
        """Follow what opens in a page, or (*main_frame* None) in a frame with a process of its own."""
        await _Tap(channel, page, main_frame, self).begin()

    def add(self, document: Document) -> None:
        """Take note of a document that has opened."""
        self._open[id(document.channel), document.context_id] = document
        self.listener.opened(document)

    def closed(self, page: Any) -> None:
        """Forget the documents of a tab that is closed."""
        for place, document in list(self._open.items()):
            if document.page is page:
                del self._open[place]

    def remove(self, channel: Channel, context_id: int | None = None) -> None:
        """Forget a document that is gone, or all of a channel."""
        for place in [p for p in self._open if p[0] == id(channel)]:
            if context_id in {None, place[1]}:
                del self._open[place]


class _Tap:
    """What one channel tells."""

    def __init__(
        self, channel: Channel, page: Any, main_frame: str | None, documents: Documents
    ) -> None:
        self._channel, self._page, self._main = channel, page, main_frame
        self._documents = documents
        self._frames: dict[str, FrameChannel] = {}
        self._tracked: set[str] = set()
        self._worlds: set[int] = set()

    async def begin(self) -> None:
        for event, handler in {
            "Runtime.executionContextCreated": self._context_created,
            "Runtime.executionContextDestroyed": self._context_destroyed,
            "Runtime.executionContextsCleared": self._contexts_cleared,
            "Runtime.bindingCalled": self._told,
            "DOMStorage.domStorageItemAdded": self._item_changed,
            "DOMStorage.domStorageItemUpdated": self._item_changed,
            "DOMStorage.domStorageItemRemoved": self._item_changed,
            "DOMStorage.domStorageItemsCleared": self._item_changed,
            "Storage.indexedDBContentUpdated": self._databases_changed,
            "Storage.indexedDBListUpdated": self._databases_changed,
            "Target.attachedToTarget": self._attached,
            "Target.receivedMessageFromTarget": self._received,
            "Target.detachedFromTarget": self._detached,
        }.items():
            self._channel.on(event, handler)
        send = self._channel.send
        await asyncio.gather(
            send("Page.enable"),
            send("Runtime.enable"),
            send("DOMStorage.enable"),
            send("Runtime.addBinding", {"name": _TELL, "executionContextName": WORLD}),
            send(
                "Page.addScriptToEvaluateOnNewDocument",
                {"source": library.OBSERVER, "worldName": WORLD, "runImmediately": True},
            ),
            send(
                "Target.setAutoAttach",
                {"autoAttach": True, "waitForDebuggerOnStart": False, "flatten": False},
            ),
        )

    @property
    def _listener(self) -> Listener:
        return self._documents.listener

    def _told(self, event: Message) -> None:
        if event["payload"] == "scroll":
            self._listener.scrolled(self._page)
        else:
            self._listener.network_used()

    def _context_created(self, event: Message) -> None:
        context = event["context"]
        if context["name"] == WORLD:
            self._worlds.add(context["id"])
            if context["auxData"]["frameId"] == self._main:
                self._listener.coming(self._page, context["origin"])
            self._give(self._opened(context))

    def _context_destroyed(self, event: Message) -> None:
        self._worlds.discard(event["executionContextId"])
        self._documents.remove(self._channel, event["executionContextId"])

    def _contexts_cleared(self, _: Message) -> None:
        self._worlds.clear()
        self._documents.remove(self._channel)

    async def _opened(self, context: Message) -> None:
        frame_id = context["auxData"]["frameId"]
        main = frame_id == self._main
        key = f"{context['origin']}/" if main else await self._key_of(frame_id)
        if not key.startswith("http") or not state.lasts(key):
            return  # a document that has no origin has no storage
        fresh = key not in self._tracked
        if fresh:
            self._tracked.add(key)
            await self._channel.send("Storage.trackIndexedDBForStorageKey", {"storageKey": key})
        if context["id"] in self._worlds:  # else it is gone meanwhile
            world = context["uniqueId"]
            self._documents.add(
                Document(self._channel, context["id"], world, key, self._page, main, fresh)
            )
        elif fresh:  # what it wrote until then nobody tells
            self._listener.databases_changed(self._page, key, None)

    async def _key_of(self, frame_id: str) -> str:
        found = await self._channel.send("Storage.getStorageKeyForFrame", {"frameId": frame_id})
        return str(found["storageKey"])

    def _item_changed(self, event: Message) -> None:
        if state.lasts(event["storageId"]["storageKey"]):
            self._listener.item_changed(self._page, event["storageId"], event)

    def _databases_changed(self, event: Message) -> None:
        key, database = event["storageKey"], event.get("databaseName")
        self._listener.databases_changed(self._page, key, database)

    def _attached(self, event: Message) -> None:
        if event["targetInfo"]["type"] == "iframe":
            channel = self._frames[event["sessionId"]] = FrameChannel(
                self._channel, event["sessionId"]
            )
            self._give(self._documents.follow(channel, self._page, None))

    def _received(self, event: Message) -> None:
        if frame := self._frames.get(event["sessionId"]):
            frame.received(event["message"])

    def _detached(self, event: Message) -> None:
        if frame := self._frames.pop(event["sessionId"], None):
            frame.gone()
            self._documents.remove(frame)

    def _give(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._documents.tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._documents.tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.debug("a document was gone before it was known", error=str(error))


def _said(details: Mapping[str, Any]) -> str:
    thrown = details.get("exception", {})
    return str(thrown.get("description") or details.get("text") or "a script failed")

"""Hear what happens in a page and its frames, and tell it on."""

import asyncio
import json
import time
from collections.abc import Coroutine, Mapping
from typing import Any

from playwright.async_api import Error as PlaywrightError

from raypool import state
from raypool.browser import library
from raypool.browser.busy import BUSY_S, LOOK_EVERY_S, Flood
from raypool.browser.channels import Channel, Message, NestedChannel
from raypool.browser.documents import Document, Documents, Listener
from raypool.errors import BrowserError
from raypool.logs import get_logger

log = get_logger(__name__)

WORLD = "raypool"
_TELL = "raypoolTell"


async def follow(channel: Channel, page: Any, main_frame: str | None, documents: Documents) -> None:
    """Follow what opens in a page, or (*main_frame* None) in a frame with a process of its own."""
    listen(channel, page, main_frame, documents)
    await equip(channel)


def listen(channel: Channel, page: Any, main_frame: str | None, documents: Documents) -> None:
    """Tell *documents* what a channel tells; see :func:`equip`."""
    _Tap(channel, page, main_frame, documents).begin()


async def equip(channel: Channel) -> None:
    """Have a page or frame tell what happens in it, from its next document on and in this one."""
    await asyncio.gather(
        channel.send("Page.enable"),
        channel.send("Runtime.enable"),
        channel.send("DOMStorage.enable"),
        channel.send("Runtime.addBinding", {"name": _TELL, "executionContextName": WORLD}),
        channel.send(
            "Page.addScriptToEvaluateOnNewDocument",
            {"source": library.OBSERVER, "worldName": WORLD, "runImmediately": True},
        ),
        channel.send(
            "Target.setAutoAttach",
            {"autoAttach": True, "waitForDebuggerOnStart": False, "flatten": False},
        ),
    )


class _Tap:
    """What one channel tells."""

    def __init__(
        self, channel: Channel, page: Any, main_frame: str | None, documents: Documents
    ) -> None:
        self._channel, self._page, self._main = channel, page, main_frame
        self._documents = documents
        self._frames: dict[str, NestedChannel] = {}
        self._tracked: set[str] = set()
        self._worlds: set[int] = set()
        self._flood = Flood()
        self._busy_until = 0.0
        """Until when documents are looked at; 0: their items are told."""

    def begin(self) -> None:
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

    @property
    def _listener(self) -> Listener:
        return self._documents.listener

    def _told(self, event: Message) -> None:
        what, _, more = event["payload"].partition(" ")
        if what == "left":
            self._left(event["executionContextId"], json.loads(more))
        elif what == "scroll":
            self._listener.scrolled(self._page)
        else:
            self._listener.network_used()

    def _left(self, context_id: int, left: Mapping[str, Any]) -> None:
        document = self._documents.find(self._channel, context_id)
        key = document.key if document else state.key_of(left["origin"])
        known = document is not None or left["top"]  # else it is a frame: the origin is not enough
        if known and key.startswith("http") and state.lasts(key):
            self._listener.leaving(self._page, key, left)

    def _context_created(self, event: Message) -> None:
        context = event["context"]
        if context["auxData"]["isDefault"] and context["auxData"]["frameId"] == self._main:
            self._listener.coming(self._page, context["origin"])
        if context["name"] == WORLD:
            self._worlds.add(context["id"])
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
        key = await self._key_of(frame_id)
        # Where a page leaves while it is being equipped, our world in the next document is told with
        # the origin of the one before (Chromium 156): that one is gone, and nobody heard it.
        if main and key != (before := f"{context['origin']}/") and before.startswith("http"):
            self._listener.unheard(self._page, before)
        if not key.startswith("http") or not state.lasts(key):
            return  # a document that has no origin has no storage
        fresh = key not in self._tracked
        if fresh:
            self._tracked.add(key)
            await self._channel.send("Storage.trackIndexedDBForStorageKey", {"storageKey": key})
        if context["id"] in self._worlds:  # else it is gone meanwhile
            world = context["uniqueId"]
            document = Document(self._channel, context["id"], world, key, self._page, main, fresh)
            self._documents.add(document)
            return
        if fresh:  # what it wrote until then nobody tells
            self._listener.databases_changed(self._page, key, None)
        if main:
            self._listener.unheard(self._page, key)

    async def _key_of(self, frame_id: str) -> str:
        """Return the storage key of a frame; empty when it has none, or is gone."""
        try:
            found = await self._channel.send("Storage.getStorageKeyForFrame", {"frameId": frame_id})
        except (PlaywrightError, BrowserError):
            return ""
        return str(found["storageKey"])

    def _item_changed(self, event: Message) -> None:
        if state.lasts(event["storageId"]["storageKey"]):
            self._listener.item_changed(self._page, event["storageId"], event)
        if self._flood.rises(time.monotonic()) and not self._busy_until:
            self._busy_until = time.monotonic() + BUSY_S
            self._give(self._channel.send("DOMStorage.disable"))
            self._look()

    def _look(self) -> None:
        for document in self._documents.through(self._channel):
            self._listener.looked_at(document)
        if time.monotonic() < self._busy_until:
            asyncio.get_running_loop().call_later(LOOK_EVERY_S, self._look)
        else:
            self._give(self._be_told_again())

    async def _be_told_again(self) -> None:
        await self._channel.send("DOMStorage.enable")
        self._busy_until = 0.0
        for document in self._documents.through(self._channel):
            self._listener.looked_at(document)

    def _databases_changed(self, event: Message) -> None:
        key, database = event["storageKey"], event.get("databaseName")
        self._listener.databases_changed(self._page, key, database)

    def _attached(self, event: Message) -> None:
        if event["targetInfo"]["type"] == "iframe":
            channel = self._frames[event["sessionId"]] = NestedChannel(
                self._channel, event["sessionId"]
            )
            self._give(follow(channel, self._page, None, self._documents))

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

"""The documents that are open in a context, by storage key, and scripts that run in them.

Each document has a world of our own beside the site's: our scripts see its storage and its page sees
nothing of them. What happens in it is only a hint that something may have changed.
"""

import asyncio
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from raypool.browser import library
from raypool.browser.channels import Channel, Message
from raypool.browser.reading import bounded
from raypool.errors import ErrorCodes, create_error

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
        if not self._equipped and not library.is_there(function):
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

    def leaving(self, page: Any, key: str, left: Mapping[str, Any]) -> None:
        """A document is about to go.

        Args:
            page: Its tab.
            key: Its storage key.
            left: All that it has: ``local`` and ``session``, pairs of name and value.
        """

    def gone(self, page: Any, key: str) -> None:
        """What a tab showed is gone; it may have stored something after all that was told."""

    def unheard(self, page: Any, key: str) -> None:
        """A document was shown in a tab and is gone, before it could be listened to."""

    def item_changed(self, page: Any, where: Message, change: Message) -> None:
        """A storage has another item.

        Args:
            page: The tab of the document that tells.
            where: ``storageKey``, ``isLocalStorage``.
            change: ``key`` and ``newValue``; ``key`` alone for a removal; neither for all of them.
        """

    def looked_at(self, document: Document) -> None:
        """A document may have stored something, and nobody tells what."""

    def databases_changed(self, page: Any, key: str, database: str | None) -> None:
        """A database of a storage key has other contents, or (None) there are other databases."""


class Documents:
    """The open documents of one context.

    Args:
        listener: Told of each that opens or is gone, and by those who follow pages of the rest.
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

    def add(self, document: Document) -> None:
        """Take note of a document that has opened."""
        self._open[id(document.channel), document.context_id] = document
        self.listener.opened(document)

    def through(self, channel: Channel) -> list[Document]:
        """Return the open documents of a channel."""
        return [document for document in self if document.channel is channel]

    def find(self, channel: Channel, context_id: int) -> Document | None:
        """Return the open document of one of our worlds."""
        return self._open.get((id(channel), context_id))

    def closed(self, page: Any) -> None:
        """Forget the documents of a tab that is closed."""
        for place, document in list(self._open.items()):
            if document.page is page:
                self._forget(place)

    def remove(self, channel: Channel, context_id: int | None = None) -> None:
        """Forget a document that is gone, or all of a channel."""
        for place in [p for p in self._open if p[0] == id(channel)]:
            if context_id in {None, place[1]}:
                self._forget(place)

    def _forget(self, place: tuple[int, int]) -> None:
        document = self._open.pop(place)
        if document.main:
            self.listener.gone(document.page, document.key)


def _said(details: Mapping[str, Any]) -> str:
    thrown = details.get("exception", {})
    return str(thrown.get("description") or details.get("text") or "a script failed")

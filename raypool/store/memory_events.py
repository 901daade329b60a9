"""The twin's changes: told to whoever follows at that moment."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from raypool.store.following import Inbox


class MemoryEvents:
    """See :class:`raypool.store.base.EventStore`."""

    def __init__(self) -> None:
        self._followers: list[Inbox] = []

    def announce(self, business_id: str, kind: str) -> None:
        """Tell of a change."""
        for inbox in self._followers:
            inbox.add(business_id, kind)

    @asynccontextmanager
    async def follow(self) -> AsyncIterator[Inbox]:
        """Follow the changes from now on; see the protocol."""
        inbox = Inbox([0])
        inbox.begin(0)
        self._followers.append(inbox)
        try:
            yield inbox
        finally:
            self._followers.remove(inbox)

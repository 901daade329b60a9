"""The less common kinds of state: permissions, passkeys, and what cannot be carried at all."""

import contextlib
import time
from collections.abc import Collection, Mapping
from typing import Any

from playwright.async_api import BrowserContext

from raypool import state
from raypool.browser.channels import Channel
from raypool.browser.documents import Documents
from raypool.browser.failures import first_line
from raypool.browser.limits import BoundSessions, find_limits
from raypool.browser.passkeys import read_passkeys, restore_passkeys
from raypool.browser.permissions import read_permissions, restore_permissions
from raypool.browser.reading import Notes, bounded
from raypool.state import Area, Kind

ASK_TIMEOUT_S = 3.0
ASK_EVERY_S = 5.0
"""Documents are asked for permissions and limits this often: a score of questions each time."""


class Others:
    """Reads them into the parts of the whole browser.

    Args:
        context: The business's context.
        documents: Those that are open.
        whole: Parts of the whole browser, by name.
        notes: Takes what could not be read or carried.
        given: The ``permissions`` that the context was made with.
    """

    def __init__(
        self,
        context: BrowserContext,
        documents: Documents,
        whole: dict[str, bytes],
        notes: Notes,
        given: Collection[str],
    ) -> None:
        self._context, self._documents, self._whole = context, documents, whole
        self._notes, self._given = notes, given
        self._bound = BoundSessions()
        self._not_before: dict[str, float] = {}

    async def restore(self) -> None:
        """Put them into the context, before its first page."""
        lost = await restore_passkeys(self._context, self._saved(state.CREDENTIALS, []))
        lost += await restore_permissions(self._context, self._saved(state.PERMISSIONS, {}))
        for line in lost:
            self._notes.say(line, line)

    async def follow(self, channel: Channel) -> None:
        """Hear what only a page's session tells. A Chromium before version 144 tells nothing."""
        with contextlib.suppress(Exception):
            await self._bound.follow(channel)

    async def read(self) -> None:
        """Read the passkeys, and the rest where it was not read a moment ago."""
        await self._read_passkeys()
        await self._read_documents()
        for line in self._bound.warnings:
            self._notes.say(line, line)

    async def _read_passkeys(self) -> None:
        try:
            found = await bounded(read_passkeys(self._context), ASK_TIMEOUT_S, "reading passkeys")
        except Exception as error:  # noqa: BLE001 -- they stay as they were
            self._notes.say("passkeys", f"passkeys are kept as they were: {first_line(error)}")
            return
        self._put(state.CREDENTIALS, found)
        self._notes.say("passkeys", None)

    async def _read_documents(self) -> None:
        now = time.monotonic()
        keys = {document.key for document in self._documents if document.main}
        due = sorted(key for key in keys if self._not_before.get(key, 0.0) <= now)
        if not due:
            return
        permissions = self._saved(state.PERMISSIONS, {})
        for key in due:
            self._not_before[key] = now + ASK_EVERY_S
            origin = Area(Kind.LOCAL, key).origin
            try:
                await bounded(self._ask(key, origin, permissions), ASK_TIMEOUT_S, origin)
            except Exception as error:  # noqa: BLE001 -- a document that is gone costs itself
                self._notes.say(f"{key} others", f"permissions of {origin}: {first_line(error)}")
        self._put(state.PERMISSIONS, permissions)

    async def _ask(self, key: str, origin: str, permissions: dict[str, list[str]]) -> None:
        document = self._documents.answering(key, main=True)
        if document is None:
            return
        names = await read_permissions(document, self._given)
        permissions.pop(origin, None)
        if names is not None:
            permissions[origin] = names
        limits = await find_limits(document, origin)
        self._notes.say(f"{key} limits", "; ".join(limits) or None)
        self._notes.say(f"{key} others", None)

    def _saved(self, name: str, default: Any) -> Any:
        return state.decode(name, self._whole[name]) if name in self._whole else default

    def _put(self, name: str, value: list[Any] | Mapping[str, Any]) -> None:
        if value:
            self._whole[name] = state.encode(value)
        else:
            self._whole.pop(name, None)

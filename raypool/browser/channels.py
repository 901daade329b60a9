"""DevTools sessions: those that Playwright gives out, and those that we begin within them."""

import asyncio
import itertools
import json
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from playwright.async_api import CDPSession

from raypool.errors import ErrorCodes, create_error

Handler = Callable[[Mapping[str, Any]], None]
Message = Mapping[str, Any]


class Channel(Protocol):
    """A session with one target."""

    async def send(self, method: str, params: Message | None = None) -> Any:
        """Return what a command answers; raises when the target refuses it or is gone."""

    def on(self, event: str, handler: Handler) -> None:
        """Call *handler* with the parameters of each such event, in order."""


class PageChannel:
    """Playwright's session with a page."""

    def __init__(self, session: CDPSession) -> None:
        self._session = session

    async def send(self, method: str, params: Message | None = None) -> Any:
        """See :class:`Channel`."""
        return await self._session.send(method, dict(params or {}))

    def on(self, event: str, handler: Handler) -> None:
        """See :class:`Channel`."""
        self._session.on(event, handler)


class NestedChannel:
    """A session that another one carries (``Target.sendMessageToTarget``).

    With frames that run in processes of their own: Playwright gives out sessions with such frames too,
    but does not tell when one begins. And with pages that are not known to Playwright yet.

    Args:
        held: Whether events wait for :meth:`release`.
    """

    def __init__(self, parent: Channel, session_id: str, *, held: bool = False) -> None:
        self._parent, self._session_id = parent, session_id
        self._numbers = itertools.count(1)
        self._awaited: dict[int, asyncio.Future[Any]] = {}
        self._handlers: dict[str, list[Handler]] = {}
        self._held: list[Message] | None = [] if held else None

    async def send(self, method: str, params: Message | None = None) -> Any:
        """See :class:`Channel`."""
        number = next(self._numbers)
        answer = self._awaited[number] = asyncio.get_running_loop().create_future()
        command = json.dumps({"id": number, "method": method, "params": params or {}})
        try:
            await self._parent.send(
                "Target.sendMessageToTarget", {"sessionId": self._session_id, "message": command}
            )
            return await answer
        finally:
            self._awaited.pop(number, None)
            if not answer.cancel() and not answer.cancelled():
                answer.exception()  # nobody else asks for it

    def on(self, event: str, handler: Handler) -> None:
        """See :class:`Channel`."""
        self._handlers.setdefault(event, []).append(handler)

    def received(self, text: str) -> None:
        """Take a message that the parent got for this session."""
        message = json.loads(text)
        if "method" in message:
            self._happened(message)
        elif (answer := self._awaited.get(message["id"])) and not answer.done():
            if "error" in message:
                answer.set_exception(_refused(message["error"].get("message", "it was refused")))
            else:
                answer.set_result(message.get("result", {}))

    def release(self) -> None:
        """Tell the handlers what happened until now, in order, and from now on at once."""
        held, self._held = self._held or [], None
        for message in held:
            self._happened(message)

    def _happened(self, message: Message) -> None:
        if self._held is not None:
            self._held.append(message)
            return
        for handler in self._handlers.get(message["method"], ()):
            handler(message.get("params", {}))

    def gone(self) -> None:
        """Its target is gone: whoever waits for an answer is told."""
        for answer in self._awaited.values():
            if not answer.done():
                answer.set_exception(_refused("it is gone"))


def _refused(why: str) -> Exception:
    return create_error(ErrorCodes.BROWSER_CHECKPOINT_FAILED, f"a page could not be asked: {why}")

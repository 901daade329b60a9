"""A proxy before a server that loses or delays one reply: what a network does at the worst moment."""

import asyncio
import contextlib
import hashlib
from pathlib import Path
from typing import Self

from raypool.store import scripts

_CHUNK = 2**16


class LossyProxy:
    """Forwards bytes between clients and the server on a unix socket.

    Args:
        socket: Where clients connect.
        upstream: The server's socket.
    """

    def __init__(self, socket: Path, upstream: Path) -> None:
        self._socket, self._upstream = socket, upstream
        self._marker, self._delay = b"", 0.0
        self.lost = 0
        """How many replies were lost."""
        self.delayed = 0
        """How many replies came late."""

    def lose_reply_to(self, script: str) -> None:
        """Let the server run the script the next time it is called, then cut the connection."""
        self._marker, self._delay = _called(script), 0.0

    def delay_reply_to(self, script: str, seconds: float) -> None:
        """Let the reply to the next call of the script come late."""
        self._marker, self._delay = _called(script), seconds

    async def __aenter__(self) -> Self:
        self._tasks: set[asyncio.Task[None]] = set()
        self._server = await asyncio.start_unix_server(self._serve, self._socket)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        if self._tasks:  # clients that have left: a task that ends by itself closes its sockets
            await asyncio.wait(self._tasks, timeout=1)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, client: asyncio.StreamReader, reply: asyncio.StreamWriter) -> None:
        self._tasks.add(asyncio.current_task())  # type: ignore[arg-type]
        server, request = await asyncio.open_unix_connection(self._upstream)
        due = asyncio.Event()
        try:
            async with asyncio.TaskGroup() as pumps:
                pumps.create_task(self._requests(client, request, due))
                pumps.create_task(self._replies(server, reply, due))
        except* (ConnectionError, EOFError):
            pass
        finally:
            for writer in (reply, request):
                writer.close()
                with contextlib.suppress(ConnectionError):
                    await writer.wait_closed()

    async def _requests(
        self, client: asyncio.StreamReader, request: asyncio.StreamWriter, due: asyncio.Event
    ) -> None:
        while data := await client.read(_CHUNK):
            if self._marker and self._marker in data:
                self._marker = b""
                due.set()
            request.write(data)
            await request.drain()
        raise EOFError

    async def _replies(
        self, server: asyncio.StreamReader, reply: asyncio.StreamWriter, due: asyncio.Event
    ) -> None:
        while data := await server.read(_CHUNK):
            if due.is_set():
                due.clear()
                if not self._delay:
                    self.lost += 1
                    break
                self.delayed += 1
                await asyncio.sleep(self._delay)
            reply.write(data)
            await reply.drain()
        raise EOFError


def _called(script: str) -> bytes:
    """Return what a command that runs a script of ``lua/`` contains."""
    text = scripts.source(script).encode()
    return hashlib.sha1(text, usedforsecurity=False).hexdigest().encode()

"""The way to Redis, as a TCP proxy that can be cut, made slow, or made to swallow replies."""

import asyncio
import contextlib
import hashlib
from pathlib import Path
from typing import Self

from raypool.store import scripts

_CHUNK = 2**16


class Link:
    """Forwards bytes between clients and a server on a unix socket, while it is told to.

    Args:
        upstream: The server's socket.
        host: Where it listens.
    """

    def __init__(self, upstream: Path, host: str = "127.0.0.1") -> None:
        self._upstream, self.host = upstream, host
        self._marker = b""
        self._flows = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self.port = 0
        self.delay = 0.0
        """Seconds by which each reply comes late."""
        self.lost = 0
        """How many replies were lost."""
        self.delayed = 0
        """How many replies came late."""

    async def __aenter__(self) -> Self:
        await self.mend()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.cut()

    @property
    def forwarding(self) -> bool:
        """Whether what is sent arrives."""
        return self._server is not None and self._flows.is_set()

    async def cut(self, *, silently: bool = False) -> None:
        """Refuse and break connections; or, *silently*, keep them and let nothing through."""
        self._flows.clear()
        if silently or self._server is None:
            return
        self._server.close()
        self._server = None
        connections = [*self._connections]
        for connection in connections:
            connection.cancel()
        await asyncio.gather(*connections, return_exceptions=True)

    async def mend(self) -> None:
        """Let everything through again; what was held back arrives now. Idempotent."""
        self._flows.set()
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, self.host, self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    def lose_reply_to(self, script: str) -> None:
        """Let the server run a script of ``lua/`` the next time it is called, then hang up."""
        text = scripts.source(script).encode()
        self._marker = hashlib.sha1(text, usedforsecurity=False).hexdigest().encode()

    def lose_no_reply(self) -> None:
        """Take back what was told to :meth:`lose_reply_to`, if it has not happened."""
        self._marker = b""

    async def _serve(self, client: asyncio.StreamReader, reply: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        writers = [reply]
        try:
            server, request = await asyncio.open_unix_connection(self._upstream)
            writers.append(request)
            due = asyncio.Event()
            async with asyncio.TaskGroup() as pumps:
                pumps.create_task(self._requests(client, request, due))
                pumps.create_task(self._replies(server, reply, due))
        except* (OSError, EOFError, asyncio.CancelledError):
            pass  # the server is down, somebody hung up, or we were cut
        finally:
            self._connections.discard(task)
            for writer in writers:
                writer.transport.abort()

    async def _requests(
        self, client: asyncio.StreamReader, request: asyncio.StreamWriter, due: asyncio.Event
    ) -> None:
        while data := await client.read(_CHUNK):
            await self._flows.wait()
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
            await self._flows.wait()
            if due.is_set():
                self.lost += 1
                raise EOFError
            if self.delay:
                self.delayed += 1
                await asyncio.sleep(self.delay)
            reply.write(data)
            with contextlib.suppress(ConnectionError):
                await reply.drain()
        raise EOFError

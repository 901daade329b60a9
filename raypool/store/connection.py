"""One server, as the stores use it: commands and scripts, with our errors, on the running loop."""

import asyncio
import contextlib
import hashlib
import hmac
import os
import unicodedata
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import SecretStr

from raypool.errors import ErrorCodes, create_error
from raypool.store import scripts
from raypool.store.client import build_client, close_client, partitions_for, shown, translated
from raypool.store.crypto import DataKey, Keyring
from raypool.store.durability import Durability
from raypool.store.keys import SCHEMA, Keys
from raypool.store.records import Records
from raypool.store.server_check import ServerReport, inspect_server

_LANES = {"data": (5.0, 16), "waits": (5.0, 16), "leases": (2.0, 4)}
"""Seconds to wait for an answer, and connections, by what they are for."""


@dataclass(frozen=True)
class _Lane:
    client: Any
    timeout: float
    turns: asyncio.Semaphore
    """A pool that has no connection left refuses instead of waiting, so callers queue here."""


class Connection:
    """A server and what all stores on it share.

    Args:
        url: The server.
        prefix: What every key begins with.
        keyring: Master keys.
        name: Shown by ``CLIENT LIST``.
        durability: What a write has to have reached before a call returns.
    """

    def __init__(
        self,
        url: SecretStr,
        prefix: str,
        keyring: Keyring,
        name: str,
        durability: Durability = Durability(),  # noqa: B008 -- frozen
    ) -> None:
        self.url, self.keyring = url, keyring
        self._durability = durability
        self.records = Records(keyring, prefix)
        self.keys = Keys(prefix, partitions_for(url))
        self._name = f"{name}-{os.getpid()}"
        self._lanes: dict[tuple[asyncio.AbstractEventLoop, str], _Lane] = {}
        self._index_key: DataKey | None = None
        self.first_identity = ""
        """Of the data, as it was when they were opened. It changes when all is lost."""
        self._report: ServerReport | None = None

    async def open(self) -> None:
        """Check server and keys; make the fleet's meta record when it is missing. Idempotent.

        Raises:
            StorageError: The server cannot be used, or the data was encrypted with another key.
        """
        if self._index_key is None:
            await self._check_server()
            self._index_key, identity = await self._open_meta()
            self.first_identity = self.first_identity or identity

    async def check_meta(self) -> str:
        """Make sure of the meta record before something new is written; return its identity.

        A server that came back empty lost it, and another process may have made a new one since:
        with an identity of its own, whatever key it has.

        Raises:
            StorageError: The data is not what was opened.
        """
        self._index_key, identity = await self._open_meta()
        return identity

    async def close(self) -> None:
        """Close the running loop's connections. Idempotent."""
        loop = asyncio.get_running_loop()
        for mine in [key for key in self._lanes if key[0] is loop]:
            with contextlib.suppress(Exception):
                await close_client(self._lanes.pop(mine).client)

    async def script(
        self, name: str, keys: Sequence[str], args: Sequence[Any], *, urgent: bool = False
    ) -> Any:
        """Run a script of ``lua/``.

        Args:
            name: Its file, without the ending.
            keys: All keys that it touches.
            args: Its arguments.
            urgent: A lease hangs on it: it does not queue behind states of megabytes.

        Raises:
            StoreUnavailable: Also when it was written, but not where the durability wants it.
        """
        waits = self._durability.waits and scripts.is_waited_for(name)
        # Writes that wait for replicas hold their connections: reads have others.
        lane = self._lane("leases" if urgent else "waits" if waits else "data")
        with translated(self.url):
            async with lane.turns:
                if not waits:
                    return await scripts.call(lane.client, name, keys, args)
                wait = self._durability.command(lane.timeout)
                reply, counted = await scripts.call_and_wait(lane.client, name, keys, args, wait)
        self._durability.check(reply, counted)
        return reply

    async def command(self, *parts: Any) -> Any:
        """Run one command."""
        lane = self._lane("data")
        with translated(self.url):
            async with lane.turns:
                return await lane.client.execute_command(*parts)

    async def hashes(self, keys: Sequence[str]) -> list[dict[bytes, bytes]]:
        """Return several hashes in one round trip."""
        lane = self._lane("data")
        with translated(self.url):
            async with lane.turns:
                pipe = lane.client.pipeline(transaction=False)
                for key in keys:
                    pipe.hgetall(key)
                found: list[dict[bytes, bytes]] = await pipe.execute() if keys else []
                return found

    def _lane(self, name: str) -> "_Lane":
        """Return connections of the running loop: redis-py's are bound to the loop they began on."""
        key = (asyncio.get_running_loop(), name)
        if key not in self._lanes:
            timeout, width = _LANES[name]
            client = build_client(
                self.url, f"{self._name}-{name}", timeout=timeout, connections=width
            )
            self._lanes[key] = _Lane(client, timeout, asyncio.Semaphore(width))
        return self._lanes[key]

    def email_index(self, email: str) -> str:
        """Return the index name of an address: a keyed hash, so that no key tells an address."""
        assert self._index_key is not None, "open() comes first"  # noqa: S101
        folded = unicodedata.normalize("NFKC", email).casefold().encode()
        digest = hmac.new(self._index_key.secret, folded, hashlib.sha256).hexdigest()
        return f"email:{digest[:32]}"

    @property
    def meta_about(self) -> bytes:
        """What the index key is sealed for."""
        return f"{self.keys.prefix}\x00meta".encode()

    @property
    def server(self) -> ServerReport:
        """What the server said of itself when it was opened."""
        assert self._report is not None, "open() comes first"  # noqa: S101
        return self._report

    async def used_memory(self) -> int | None:
        """Return the bytes that the server uses; None when it would not say."""
        info = await self.command("INFO", "memory")
        return info.get("used_memory") if isinstance(info, dict) else None

    async def _check_server(self) -> None:
        client = self._lane("data").client
        with translated(self.url):
            await client.ping()
        report = await inspect_server(client)
        for problem in report.problems:
            if problem.level == "fail":
                raise create_error(
                    problem.code or ErrorCodes.STORAGE_UNSUPPORTED,
                    f"Redis at {shown(self.url)}: {problem.message}",
                    recovery=problem.recovery,
                )
        self._durability.check_server(report)
        self._report = report

    async def _open_meta(self) -> tuple[DataKey, str]:
        about = self.meta_about
        found = await self._meta()
        if "index_key" not in found:
            fresh = self.keyring.wrap(self._index_key or DataKey.new(), about)
            found = await self._add_to_meta(
                index_key=fresh, schema=SCHEMA, partitions=self.keys.partitions,
                store_id=uuid.uuid4().hex,
            )  # fmt: skip
        self._fits(found)
        index_key = self.keyring.unwrap(found["index_key"], about)
        if "store_id" not in found:  # made by a raypool that did not give data an identity yet
            found = await self._add_to_meta(store_id=uuid.uuid4().hex)
        return index_key, found["store_id"]

    async def _add_to_meta(self, **fields: Any) -> dict[str, str]:
        """Add what is missing, and return the record: two that add at once agree on one."""
        with translated(self.url):
            pipe = self._lane("data").client.pipeline(transaction=True)
            for name, value in fields.items():
                pipe.hsetnx(self.keys.meta, name, value)
            await pipe.execute()
        found = await self._meta()
        if not fields.keys() <= found.keys():
            raise create_error(
                ErrorCodes.STORAGE_UNAVAILABLE, f"Redis at {shown(self.url)} was just emptied"
            )
        return found

    async def _meta(self) -> dict[str, str]:
        (found,) = await self.hashes([self.keys.meta])
        return {k.decode(): v.decode() for k, v in found.items()}

    def _fits(self, meta: dict[str, str]) -> None:
        for name, ours in (("schema", SCHEMA), ("partitions", str(self.keys.partitions))):
            if meta.get(name) != ours:
                raise create_error(
                    ErrorCodes.STORAGE_UNSUPPORTED,
                    f"the data under {self.keys.prefix!r} at {shown(self.url)} has {name} "
                    f"{meta.get(name)}, this raypool uses {ours}",
                    recovery="Use another REDIS_PREFIX, or the raypool that wrote the data.",
                )

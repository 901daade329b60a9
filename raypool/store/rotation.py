"""Key rotation in place: each data key is wrapped anew with the first master key; states stay.

Each session is a step of its own, so a rotation can be broken off anywhere and begun again: what is
done is skipped. It may run beside a fleet whose processes all have the new key; a business whose
owner lacks it is left as it is, and named.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from raypool.errors import CheckpointCorrupt, ErrorCodes, RaypoolError
from raypool.model import Holder
from raypool.spec import Frozen
from raypool.store.connection import Connection
from raypool.store.crypto import wrapped_with

INDEX_KEY = "the key of the e-mail index"

_AT_ONCE = 16
Cause = Literal["unknown_key", "damaged", "owner"]
_CAUSES: dict[ErrorCodes, Cause] = {
    ErrorCodes.STORAGE_KEY_UNKNOWN: "unknown_key",
    ErrorCodes.STORAGE_CORRUPT: "damaged",
}

Advance = Callable[[], None]
Ids = list[str]


class RotationFailure(Frozen):
    """A key that could not be wrapped anew; it is as it was."""

    what: str
    cause: Cause
    why: str
    key_id: str | None
    """Master key that it is wrapped with, and needs; None: it cannot be told."""
    session_id: str | None = None
    business_id: str | None = None


class Rotation(Frozen):
    """How a rotation went. Key ids may be shown."""

    key_id: str
    """Master key that everything is wrapped with now, but for the failures."""
    rotated: int
    skipped: int
    """Were wrapped with it already, or went meanwhile."""
    failures: tuple[RotationFailure, ...]
    retired: tuple[str, ...]
    """Configured keys that nothing needs any more."""


Step = bool | RotationFailure
"""True: wrapped anew; False: nothing to do."""
Steps = list[Step]


class KeyRotation:
    """Wraps the data keys of all sessions, and the fleet's index key, with the first master key."""

    def __init__(self, connection: Connection) -> None:
        self._connection, self._keys = connection, connection.keys

    async def sessions(self) -> Ids:
        """Return the ids of all living sessions, also of those whose record cannot be read."""
        await self._connection.open()
        found: Ids = []
        for partition in self._keys.all_partitions():
            index = self._keys.index(partition, "expiry")
            _, *ids = await self._connection.script("list_living", [index], [])
            found += [sid.decode() for sid in ids]
        return found

    async def rotate(self, sessions: Iterable[str], advance: Advance = lambda: None) -> Rotation:
        """Wrap the keys of *sessions*, of those that appear meanwhile, and the index key. Idempotent.

        The index key comes last, and not while an owner lacks the new master key: a process that
        lacks it cannot open the data any more.

        Args:
            sessions: What :meth:`sessions` returned.
            advance: Called once for each of them.

        Raises:
            StorageError: The server cannot be used. What was done stays done.
        """
        waiting, seen, steps = list(sessions), set[str](), Steps()
        while waiting:
            seen |= set(waiting)
            for batch in _batches(waiting):
                steps += await asyncio.gather(*map(self._session, batch))
                for _ in batch:
                    advance()
            waiting = [sid for sid in await self.sessions() if sid not in seen]
        if not any(failure.cause == "owner" for failure in _failures(steps)):
            steps.append(await self._index_key())
        return _summary(steps, *self._connection.keyring.ids)

    async def _session(self, sid: str) -> Step:
        key = self._keys.session(sid)
        fields = await self._connection.command("HMGET", key, "business_id", "data_key")
        if None in fields:
            return False
        business_id, wrapped = (field.decode(errors="replace") for field in fields)
        subject = _Subject(f"session {sid} of {business_id}", wrapped, sid, business_id)
        if self._keys.partition_of(business_id) != self._keys.partition_of_session(sid):
            return subject.failed("damaged", "its business is not the one that it was made for")

        def rewrap() -> str | None:
            return self._connection.records.rewrap(sid, wrapped)

        done = await self._step(subject, rewrap, "data_key", [key, self._keys.lease(business_id)])
        return await self._session(sid) if done is None else done

    async def _index_key(self) -> Step:
        key, field = self._keys.meta, "index_key"
        found = await self._connection.command("HGET", key, field)
        if found is None:
            return False
        wrapped = found.decode(errors="replace")

        def rewrap() -> str | None:
            return self._connection.keyring.rewrap(wrapped, self._connection.meta_about)

        done = await self._step(_Subject(INDEX_KEY, wrapped), rewrap, field, [key])
        return await self._index_key() if done is None else done

    async def _step(
        self, subject: "_Subject", rewrap: Callable[[], str | None], field: str, keys: Ids
    ) -> Step | None:
        """Put the new wrapping in place; None when the old one is not there any more."""
        try:
            fresh = rewrap()
        except RaypoolError as error:
            if error.code not in _CAUSES:
                raise
            return subject.failed(_CAUSES[error.code], error.message)
        if fresh is None:
            return False
        writer = self._connection.keyring.ids[0]
        args = [field, subject.wrapped, fresh, writer]
        answer = await self._connection.script("rewrap_key", keys, args)
        if answer[0] == b"OWNER":
            holder = Holder.model_validate_json(answer[1])
            return subject.failed("owner", _lacks(holder, writer))
        return None if answer[0] == b"CHANGED" else True


@dataclass(frozen=True)
class _Subject:
    """Whose key is at hand."""

    what: str
    wrapped: str
    session_id: str | None = None
    business_id: str | None = None

    def failed(self, cause: Cause, why: str) -> RotationFailure:
        key_id = None
        with contextlib.suppress(CheckpointCorrupt):
            key_id = wrapped_with(self.wrapped)
        return RotationFailure(
            what=self.what,
            cause=cause,
            why=why,
            key_id=key_id,
            session_id=self.session_id,
            business_id=self.business_id,
        )


def _lacks(holder: Holder, key_id: str) -> str:
    return (
        f"its owner ({holder.kind} {holder.id[:8]} of cluster {holder.cluster or '?'}) runs without "
        f"key {key_id}: start that process again with the new RAYPOOL_ENCRYPTION_KEYS first"
    )


def _failures(steps: Iterable[Step]) -> tuple[RotationFailure, ...]:
    return tuple(step for step in steps if isinstance(step, RotationFailure))


def _summary(steps: Steps, writer: str, *others: str) -> Rotation:
    failures = _failures(steps)
    needed = {failure.key_id for failure in failures}
    # The index key is not looked at where an owner lacks a key: it may still need any of them.
    unclear = None in needed or any(failure.cause == "owner" for failure in failures)
    return Rotation(
        key_id=writer,
        rotated=sum(step is True for step in steps),
        skipped=sum(step is False for step in steps),
        failures=failures,
        retired=() if unclear else tuple(key for key in others if key not in needed),
    )


def _batches(ids: Ids) -> Iterator[Ids]:
    for start in range(0, len(ids), _AT_ONCE):
        yield ids[start : start + _AT_ONCE]

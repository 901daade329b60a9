"""How records are written: one script a change, applied once, tried again when somebody was faster."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from raypool.errors import ErrorCodes, LeaseLost, VersionConflict, create_error
from raypool.model import Desired, Observed, Session, SessionStatus, Supervision
from raypool.store.connection import Connection
from raypool.store.indexes import Indexes, missing
from raypool.store.records import Record
from raypool.store.whereabouts import Whereabouts

_ATTEMPTS = 20
_LONGEST_PAUSE_S = 0.1
_OTHER_WISHES = [wish for wish in Desired if wish is not Desired.STOPPED]


class LookAgainError(Exception):
    """Another session of the business appeared meanwhile."""


class Writer:
    """Writes, reports and deletes records."""

    def __init__(self, connection: Connection, indexes: Indexes) -> None:
        self._connection, self._keys, self._indexes = connection, connection.keys, indexes
        self.whereabouts = Whereabouts(connection)

    async def write(
        self,
        before: Record | None,
        after: Session,
        operation: str,
        kind: str,
        *,
        create_alone: bool = False,
        owner: int | None = None,
    ) -> Session:
        """Write *after* over *before* if that is still what is there; slide the TTL.

        Args:
            before: What *after* was made from; None to create it.
            after: What shall be there.
            operation: The same for each attempt: it is applied once.
            kind: Of the event. The version grows unless it is ``touched``.
            create_alone: Refuse to create it beside an active session of the business.
            owner: Fencing token of the owner that brings a lost record back, with the age and the
                version that it had; None: anybody's change.

        Raises:
            LeaseLost: *owner* is stale.
            LookAgainError: The business's other sessions changed meanwhile.
            VersionConflict: The record changed meanwhile.
            SessionNotFound: The record went meanwhile.
        """
        await self._connection.open()
        identity = await self._connection.check_meta() if before is None else None
        keys, partition = self._keys, self._keys.partition_of(after.business_id)
        data_key = self._data_key(before, after)
        rivals = await self._rivals(before, after, create_alone=create_alone)
        enter, left = self._moves(before, after)
        named = (f"business:{after.business_id}", "expiry", "status:active", "status:inactive",
                 "desired:stopped")  # fmt: skip
        wishes = [keys.index(partition, f"desired:{wish}") for wish in _OTHER_WISHES]
        answer = await self._connection.script(
            "write_record",
            [keys.session(after.id), keys.parts(after.id), keys.checkpoints(after.id),
             keys.events(partition), *(keys.index(partition, name) for name in named),
             keys.lease(after.business_id), keys.token(after.business_id),
             *wishes, *enter, *left, *(keys.session(sid) for sid in rivals or ())],
            [after.id, operation, before.session.version if before else 0,
             max(1, int(after.ttl * 1000)), kind, after.business_id,
             "" if owner is None else owner, after.version if owner is not None else 0,
             len(wishes), len(enter), len(left),
             -1 if rivals is None else len(rivals), *(rivals or ()),
             *self._connection.records.fields_of(after, data_key),
             *(() if before else ("data_key", data_key)),  # a rotation may have wrapped it anew
             *(_brought_back(after, owner) if owner is not None else ())],
        )  # fmt: skip
        written = await self._written(answer, before, after, owner)
        if identity is not None:
            self.whereabouts.note(after.id, identity)
        return written

    def _moves(self, before: Record | None, after: Session) -> tuple[list[str], list[str]]:
        """Return the indexes to enter and those to leave, besides the two that hold everything."""
        names = self._indexes.names(after)
        left = set(self._indexes.names(before.session)) - set(names) if before else set()
        partition = self._keys.partition_of(after.business_id)
        enter = [self._keys.index(partition, name) for name in names[2:]]
        return enter, [self._keys.index(partition, name) for name in sorted(left)]

    def _data_key(self, before: Record | None, session: Session) -> str:
        return before.data_key if before else self._connection.records.new_data_key(session.id)

    async def _written(
        self, answer: Any, before: Record | None, after: Session, owner: int | None
    ) -> Session:
        match answer[0]:
            case b"AGAIN":
                raise LookAgainError
            case b"GONE":
                raise missing(after.id)
            case b"FENCED":
                raise fenced(after.business_id, owner or 0)
            case b"CONFLICT":
                expected = before.session.version if before else 0
                raise conflict(after.model_copy(update={"version": int(answer[1])}), expected)
        return (await self._indexes.existing(after.id)).session

    async def _rivals(
        self, before: Record | None, after: Session, *, create_alone: bool
    ) -> Sequence[str] | None:
        """Return the business's other sessions when *after* becomes active, None when not."""
        was_active = before is not None and before.session.status is SessionStatus.ACTIVE
        if was_active or after.status is not SessionStatus.ACTIVE:
            return None
        others = await self._indexes.of_business(after.business_id)
        if create_alone and any(s.status is SessionStatus.ACTIVE for s in others):
            raise LookAgainError
        return [s.id for s in others if s.id != after.id]

    async def report(self, session: Session, token: int, observed: Observed) -> None:
        """Write what the owner says of its instance.

        Raises:
            LeaseLost: The token is stale.
            SessionNotFound: The record went meanwhile.
        """
        business_id = session.business_id
        keys = [
            self._keys.session(session.id),
            self._keys.token(business_id),
            self._keys.lease(business_id),
            self._keys.events(self._keys.partition_of(business_id)),
        ]
        args = [token, session.id, business_id, observed.model_dump_json()]
        answer = await self._connection.script("report", keys, args)
        if answer == b"FENCED":
            raise fenced(business_id, token)
        if answer == b"GONE":
            raise missing(session.id)

    async def supervise(self, session_id: str, supervision: Supervision) -> None:
        """Write what the supervisor must remember.

        Raises:
            SessionNotFound: There is no such session.
        """
        session = (await self._indexes.existing(session_id)).session
        events = self._keys.events(self._keys.partition_of(session.business_id))
        args = [session_id, session.business_id, supervision.model_dump_json()]
        keys = [self._keys.session(session_id), events]
        if await self._connection.script("supervise", keys, args) == b"GONE":
            raise missing(session_id)

    async def delete(self, session: Session) -> None:
        """Delete a session and all that is kept of it. Idempotent."""
        keys, partition = self._keys, self._keys.partition_of(session.business_id)
        names = self._indexes.possible_names(session)
        await self._connection.script(
            "delete_record",
            [keys.session(session.id), keys.parts(session.id), keys.checkpoints(session.id),
             keys.events(partition), *(keys.index(partition, name) for name in names)],
            [session.id, session.business_id],
        )  # fmt: skip


async def until_settled(
    what: str, attempt: Callable[[], Awaitable[Session]], *again: type[Exception]
) -> Session:
    """Try a write until nobody else was faster.

    Args:
        what: Is changed; for the error.
        attempt: Reads, decides and writes.
        again: What says that somebody else was faster.

    Raises:
        VersionConflict: Others were faster every time.
    """
    for number in range(_ATTEMPTS):
        try:
            return await attempt()
        except again:
            most = min(0.002 * 2**number, _LONGEST_PAUSE_S)
            await asyncio.sleep(random.uniform(0, most))  # noqa: S311 -- jitter
    raise create_error(
        ErrorCodes.SESSION_VERSION_CONFLICT, f"{what} was changed by others {_ATTEMPTS} times"
    )


def fenced(business_id: str, token: int) -> LeaseLost:
    """Return the error for a write with a stale token."""
    return LeaseLost(
        f"a newer owner has {business_id}, or it was released: token {token} is stale",
        context={"business_id": business_id, "fencing_token": token},
    )


def _brought_back(session: Session, token: int) -> list[Any]:
    """Return the fields that a record which comes back has beside those of a new one."""
    return ["token", token, "created_at", round(session.created_at.timestamp() * 1000)]


def conflict(session: Session, expected: int) -> VersionConflict:
    """Return the error for a session that is not at the expected version."""
    return VersionConflict(
        f"session {session.id} is at version {session.version}, not {expected}",
        context={"session_id": session.id, "version": session.version},
    )

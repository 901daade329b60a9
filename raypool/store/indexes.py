"""How sessions are found: records by id, and by the indexes that every write keeps."""

from datetime import datetime

from raypool.errors import CheckpointCorrupt, SessionNotFound
from raypool.logs import get_logger
from raypool.model import Desired, Session, SessionStatus
from raypool.store.connection import Connection
from raypool.store.records import Record

log = get_logger(__name__)

Sessions = list[Session]
Names = list[str]


class Indexes:
    """Reads records; changes nothing but entries that lead nowhere."""

    def __init__(self, connection: Connection) -> None:
        self._connection, self._keys = connection, connection.keys

    def names(self, session: Session) -> Names:
        """Return the names of the indexes that a session is in; every one is in the first two."""
        named = [f"business:{session.business_id}", "expiry", f"status:{session.status}",
                 f"desired:{session.desired}"]  # fmt: skip
        return named + self._by_email(session)

    def possible_names(self, session: Session) -> Names:
        """Return the names of all indexes that a session may be in by now, the first two first."""
        return [f"business:{session.business_id}", "expiry",
                *(f"status:{status}" for status in SessionStatus),
                *(f"desired:{wish}" for wish in Desired),
                *self._by_email(session)]  # fmt: skip

    def _by_email(self, session: Session) -> Names:
        return [self._connection.email_index(session.email)] if session.email else []

    async def record(self, session_id: str) -> Record | None:
        """Return the record of a living session."""
        await self._connection.open()
        answer = await self._connection.script("read_record", [self._keys.session(session_id)], [])
        return self._connection.records.parse(dict(zip(answer[::2], answer[1::2], strict=True)))

    async def existing(self, session_id: str) -> Record:
        """Return the record of a living session.

        Raises:
            SessionNotFound: There is none.
        """
        record = await self.record(session_id)
        if record is None:
            raise missing(session_id)
        return record

    async def of_business(self, business_id: str) -> Sessions:
        """Return the living sessions of a business, oldest first.

        Raises:
            CheckpointCorrupt: A record cannot be read: nobody should decide without it.
        """
        partition = self._keys.partition_of(business_id)
        return await self._living(partition, f"business:{business_id}", skip_broken=False)

    async def everywhere(self, name: str) -> Sessions:
        """Return the living sessions of an index in all partitions, oldest first.

        A record that cannot be read is left out and logged: it must not hide all others.
        """
        found: Sessions = []
        for partition in self._keys.all_partitions():
            found += await self._living(partition, name, skip_broken=True)
        return sorted(found, key=_age)

    async def _living(self, partition: int, name: str, *, skip_broken: bool) -> Sessions:
        index = self._keys.index(partition, name)
        now, *ids = await self._connection.script("list_living", [index], [])
        sids = [sid.decode() for sid in ids]
        hashes = await self._connection.hashes([self._keys.session(sid) for sid in sids])
        gone = [sid for sid, fields in zip(sids, hashes, strict=True) if b"id" not in fields]
        if gone:
            await self._connection.command("ZREM", index, *gone)
        found: Sessions = []
        for fields in hashes:
            try:
                record = self._connection.records.parse(fields)
            except CheckpointCorrupt as error:
                if not skip_broken:
                    raise
                log.warning("a session's record cannot be read", **error.context)
                continue
            if record and _ms(record.session.expires_at) > int(now):
                found.append(record.session)
        return sorted(found, key=_age)


def missing(session_id: str) -> SessionNotFound:
    """Return the error for a session that is not there."""
    return SessionNotFound(f"there is no session {session_id!r}, or it has expired")


def _age(session: Session) -> tuple[datetime, str]:
    return session.created_at, session.id


def _ms(when: datetime) -> int:
    return int(when.timestamp() * 1000)

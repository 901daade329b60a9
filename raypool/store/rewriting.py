"""Write a record again that the server lost: what a live owner does when the data came back empty."""

import uuid

from raypool.errors import VersionConflict
from raypool.model import Session
from raypool.store.connection import Connection
from raypool.store.indexes import Indexes, missing
from raypool.store.whereabouts import Whereabouts
from raypool.store.writing import LookAgainError, Writer, fenced, until_settled


class Rewriter:
    """Writes lost records again."""

    def __init__(self, connection: Connection, indexes: Indexes, writer: Writer) -> None:
        self._connection, self._indexes, self._writer = connection, indexes, writer
        self._whereabouts = Whereabouts(connection)

    def note(self, session: Session) -> Session:
        """Note where a session was just made; returns it."""
        self._whereabouts.note(session.id)
        return session

    async def rewrite(self, session: Session, token: int) -> Session:
        """Write *session* again if the server lost it; see the protocol."""
        operation = uuid.uuid4().hex
        await self._connection.open()

        async def attempt() -> Session:
            await self._connection.check_meta()
            there = await self._indexes.record(session.id)
            if there is None and not self._whereabouts.lost(session.id):
                raise missing(session.id)
            written = there.session if there else await self._write(session, token, operation)
            return self.note(written)

        return await until_settled(session.id, attempt, LookAgainError, VersionConflict)

    async def _write(self, session: Session, token: int, operation: str) -> Session:
        if token < session.fencing_token:  # what the caller read tells of a newer owner
            raise fenced(session.business_id, token)
        return await self._writer.write(None, session, operation, "created", owner=token)

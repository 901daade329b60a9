"""Write a record again that the server lost: what a live owner does when the data came back empty."""

import uuid

from raypool.errors import VersionConflict
from raypool.model import Session
from raypool.store.connection import Connection
from raypool.store.indexes import Indexes, missing
from raypool.store.writing import LookAgainError, Writer, fenced, until_settled


class Rewriter:
    """Writes lost records again."""

    def __init__(self, connection: Connection, indexes: Indexes, writer: Writer) -> None:
        self._connection, self._indexes, self._writer = connection, indexes, writer

    async def rewrite(self, session: Session, token: int) -> Session:
        """Write *session* again if the server lost it; see the protocol."""
        operation, where = uuid.uuid4().hex, self._writer.whereabouts
        await self._connection.open()

        async def attempt() -> Session:
            identity = await self._connection.check_meta()
            there = await self._indexes.record(session.id)
            if there:
                where.note(session.id, identity)
                return there.session
            if not where.lost(session.id, await self._connection.check_meta()):
                raise missing(session.id)
            if token < session.fencing_token:  # what the caller read tells of a newer owner
                raise fenced(session.business_id, token)
            return await self._writer.write(None, session, operation, "created", owner=token)

        return await until_settled(session.id, attempt, LookAgainError, VersionConflict)

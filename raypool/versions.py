"""Versions of a business's state: look at them, compare them, go back to one, carry one elsewhere.

Going back and importing write a new version in front of the others: no history is lost, and what
did not change is shared with it. One writer: the write holds the business's lease.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from raypool import exportfile
from raypool.errors import (
    CheckpointCorrupt,
    ErrorCodes,
    LeaseLost,
    RaypoolError,
    SessionLocked,
    SessionNotFound,
    create_error,
)
from raypool.exports import Export, ExportHead
from raypool.ids import parse_business_id
from raypool.model import (
    Checkpoint,
    CheckpointInfo,
    CheckpointMeta,
    Session,
    SignIn,
    VersionDiff,
)
from raypool.spec import SessionSpec
from raypool.state.storage_state import left_out
from raypool.store.base import CheckpointStore, SessionStore
from raypool.store.differences import count_items, not_kept

LOCK_TIMEOUT_S = 5.0
_VERDICTS = {True: SignIn.SIGNED_IN, False: SignIn.SIGNED_OUT, None: SignIn.UNKNOWN}

AtRest = Callable[[Session], AbstractAsyncContextManager[None]]
Infos = list[CheckpointInfo]


class Records(SessionStore, Protocol):
    """Session records with their checkpoints."""

    @property
    def checkpoints(self) -> CheckpointStore: ...  # noqa: D102


class Versions:
    """What people do with the versions of a state. All methods may be called concurrently.

    Args:
        sessions: Records and checkpoints.
        at_rest: Stops a live business for a block and lets it come up again after it. Without it,
            a business that is live is refused with ``SESSION_LOCKED``.
    """

    def __init__(self, sessions: Records, at_rest: AtRest = lambda _: nullcontext()) -> None:
        self._sessions, self._at_rest = sessions, at_rest

    # -- look ----------------------------------------------------------------------------------

    async def list(self, business_id: str) -> Infos:
        """Return the kept versions of a business, newest first.

        Raises:
            SessionNotFound: It has no active session.
        """
        session = await self._active(business_id)
        return await self._sessions.checkpoints.list(session.id)

    async def diff(self, business_id: str, before: int, after: int) -> VersionDiff:
        """Return how two versions differ: names, sizes and numbers of items, never contents.

        Items are not counted where a part of one of the versions is damaged.

        Raises:
            SessionNotFound: The business has no active session.
            ConfigurationError: A version is not kept; names those that are.
        """
        session = await self._active(business_id)
        diff = await self._sessions.checkpoints.diff(session.id, before, after)
        try:
            old = await self._version(session, before)
            new = await self._version(session, after)
            return await asyncio.to_thread(count_items, diff, old.parts, new.parts)
        except CheckpointCorrupt:
            return diff

    # -- write ---------------------------------------------------------------------------------

    async def rollback(self, business_id: str, version: int) -> CheckpointInfo:
        """Write a new version with the contents of an old one; the next browser starts from it.

        A live business is stopped first, its state saved as a version of its own; it comes up again
        when it is desired. The verdict of the old version is carried over.

        Raises:
            SessionNotFound: The business has no active session.
            ConfigurationError: The version is not kept; names those that are.
            CheckpointCorrupt: A part of it cannot be read; named, and nothing was changed.
            SessionLocked: Somebody else has the business, or took it meanwhile; nothing was written.
        """
        session = await self._active(business_id)
        old = await self._version(session, version)
        meta = CheckpointMeta(
            reasons=(f"rollback to {version}",),
            sign_in=_VERDICTS[old.info.signed_in],
            warnings=old.info.warnings,
            chosen=True,
            unverified=_is_doubtful(_VERDICTS[old.info.signed_in], session),
        )
        return await self._replace(session, old.parts, meta)

    async def _replace(
        self, session: Session, parts: Mapping[str, bytes], meta: CheckpointMeta
    ) -> CheckpointInfo:
        """Make *parts* the newest version while nobody else may write."""
        info = None
        async with self._at_rest(session):
            try:
                async with self._sessions.lock(
                    session.business_id, timeout=LOCK_TIMEOUT_S
                ) as token:
                    info = await self._sessions.checkpoints.save(session.id, token, parts, meta)
            except LeaseLost as error:
                if info is None:
                    raise _taken(session) from error
                # Fencing: whoever has the business now took it after the write, and starts from it.
            return info

    # -- carry ---------------------------------------------------------------------------------

    async def import_state(self, export: Export, business_id: str | None = None) -> CheckpointInfo:
        """Make an exported state the newest version of a business, as :meth:`rollback` does.

        A business without a session gets one, with the e-mail address and the browser's options of
        the export. One that has a session keeps its own.

        Args:
            export: What was exported.
            business_id: Whose state it becomes; that of the export when None.

        Raises:
            ConfigurationError: It is no business id.
            SessionLocked: Somebody else has the business, or took it meanwhile; nothing was written.
        """
        about = export.about
        whose = about.business_id if business_id is None else business_id
        session = await self._made(parse_business_id(whose), about)
        source = f"imported version {about.version} of {about.business_id}"
        meta = CheckpointMeta(
            reasons=(source if about.version else "imported",),
            sign_in=about.sign_in,
            warnings=about.warnings,
            chosen=True,
            unverified=_is_doubtful(about.sign_in, session),
        )
        return await self._replace(session, export.parts, meta)

    async def _made(self, business_id: str, about: ExportHead) -> Session:
        session = await self._sessions.get_active_session(business_id)
        return session or await self._sessions.ensure_active(
            business_id, email=about.email, **_wishes(about.spec)
        )

    # -- files ---------------------------------------------------------------------------------

    async def export_file(
        self,
        business_id: str,
        file: Path,
        *,
        passphrase: str | None = None,
        playwright: bool = False,
        version: int | None = None,
        force: bool = False,
    ) -> CheckpointInfo:
        """Write a version into a file; see :meth:`raypool.AsyncPool.export_session`.

        Raises:
            SessionNotFound: The business has no active session.
            ConfigurationError: The version is not kept; the file is there, or cannot be written; not
                exactly one of *passphrase* and *playwright* was given.
            CheckpointCorrupt: A part of the version cannot be read; named.
        """
        if playwright is (passphrase is not None):
            raise create_error(
                ErrorCodes.CONFIG_INVALID_ARGUMENT,
                "give a passphrase, or playwright=True for a file that anybody can read",
            )
        if not force:
            exportfile.refuse_existing(file)
        session = await self._active(business_id)
        found = await self._version(session, version)
        data = await asyncio.to_thread(exportfile.render, _export(session, found), passphrase)
        missing = await asyncio.to_thread(left_out, found.parts) if playwright else ()
        await asyncio.to_thread(exportfile.write, file, data, force=force)
        warnings = (*found.info.warnings, *(f"not in the file: {what}" for what in missing))
        return found.info.model_copy(update={"warnings": warnings})

    async def import_file(
        self, file: Path, *, passphrase: str | None = None, business_id: str | None = None
    ) -> CheckpointInfo:
        """Import what is in a file; see :meth:`raypool.AsyncPool.import_session`.

        Raises:
            ConfigurationError: It cannot be read, is neither of the kinds, or its passphrase is
                another.
            CheckpointCorrupt: It was damaged or changed.
            SessionLocked: As :meth:`import_state`.
        """
        data = await asyncio.to_thread(exportfile.read, file)
        export = await asyncio.to_thread(exportfile.parse, data, passphrase, business_id)
        return await self.import_state(export, business_id)

    # -- how -----------------------------------------------------------------------------------

    async def _active(self, business_id: str) -> Session:
        session = await self._sessions.get_active_session(parse_business_id(business_id))
        if session is None:
            raise SessionNotFound(f"{business_id} has no active session")
        return session

    async def _version(self, session: Session, version: int | None) -> Checkpoint:
        """Return a version, all of whose parts were read; the newest when None."""
        checkpoints = self._sessions.checkpoints
        known = version is None or (type(version) is int and version > 0)
        found = await checkpoints.load(session.id, version) if known else None
        if found is None:
            kept = [info.version for info in await checkpoints.list(session.id)]
            raise not_kept(session, version, kept)
        return found


def _is_doubtful(sign_in: SignIn, session: Session) -> bool:
    """Tell whether somebody has to look at a state before it may be a good one."""
    return sign_in is SignIn.UNKNOWN and session.spec.probe is not None


def _export(session: Session, found: Checkpoint) -> Export:
    """Return a version with what another fleet needs to go on with it."""
    about = ExportHead(
        business_id=session.business_id,
        email=session.email,
        spec=session.spec,
        version=found.info.version,
        created_at=found.info.created_at,
        exported_at=datetime.now(UTC),
        sign_in=_VERDICTS[found.info.signed_in],
        warnings=found.info.warnings,
    )
    return Export(about, found.parts)


def _wishes(spec: SessionSpec) -> dict[str, Any]:
    """Return an exported spec as arguments; the labels name nodes of the fleet that it came from."""
    fields = spec.model_dump(exclude={"context", "labels"})
    return {**{k: v for k, v in fields.items() if v is not None}, **spec.context}


def _taken(session: Session) -> RaypoolError:
    return SessionLocked(
        f"somebody else took {session.business_id} meanwhile: nothing was written",
        context={"business_id": session.business_id},
    )

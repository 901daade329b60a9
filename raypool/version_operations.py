"""What people and scripts ask of a pool about versions: to look, to go back, to carry one elsewhere."""

from pathlib import Path

from raypool.logs import traced
from raypool.model import CheckpointInfo
from raypool.versions import Versions


class VersionOperations:
    """The part of a pool that is about versions of states.

    Attributes:
        versions: The same with more to ask for, such as the difference of two.
    """

    def __init__(self, versions: Versions) -> None:
        self.versions = versions

    async def checkpoints(self, business_id: str) -> list[CheckpointInfo]:
        """Return the kept versions of a business's state, newest first."""
        return await self.versions.list(business_id)

    async def rollback(self, business_id: str, version: int) -> CheckpointInfo:
        """Go back to a version of :meth:`checkpoints`; returns the new one that repeats it.

        A live business is stopped, its state saved, and comes up again with the old state. See
        :meth:`raypool.versions.Versions.rollback`.
        """
        with traced(business_id):
            return await self.versions.rollback(business_id, version)

    async def export_session(
        self,
        business_id: str,
        file: str | Path,
        *,
        passphrase: str | None = None,
        playwright: bool = False,
        version: int | None = None,
        force: bool = False,
    ) -> CheckpointInfo:
        """Write a version of a business's state into one file, whole or not at all, mode 0600.

        Args:
            business_id: Whose state.
            file: Refused when it is there, unless *force*.
            passphrase: Opens the file again; nothing else does.
            playwright: Write Playwright's ``storage_state`` instead, readable by anybody.
            version: The newest when None.
            force: Replace a file that is there.

        Returns:
            The version that was written.
        """
        return await self.versions.export_file(
            business_id,
            Path(file),
            passphrase=passphrase,
            playwright=playwright,
            version=version,
            force=force,
        )

    async def import_session(
        self,
        file: str | Path,
        *,
        passphrase: str | None = None,
        business_id: str | None = None,
    ) -> CheckpointInfo:
        """Make the state in a file the newest version of a business; returns that version.

        The file is what :meth:`export_session` wrote, or any ``storage_state`` of Playwright. A
        live business is stopped and comes up again with it; one without a session gets one.
        """
        return await self.versions.import_file(
            Path(file), passphrase=passphrase, business_id=business_id
        )

"""Keep what is known of the origin private file systems up to date. No event tells of them."""

import time
from collections.abc import Collection

from raypool.browser.documents import Document, Documents
from raypool.browser.failures import first_line
from raypool.browser.files import files_mark, read_files
from raypool.browser.mirror import Mirror
from raypool.browser.reading import Notes, bounded
from raypool.state import Area, Kind

ASK_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 30.0
LOOK_EVERY_S = 1.0
REST = 50
"""Files that took a second to look at are not looked at again, unasked, for so many seconds."""


class FileReader:
    """Reads files into a mirror.

    Args:
        documents: Those that are open; of a storage key that has none the files stay as they were.
        mirror: What is known.
        notes: Takes what could not be read.
        failed: What the browser has not, or not whole, because it could not be put back.
    """

    def __init__(
        self, documents: Documents, mirror: Mirror, notes: Notes, failed: Collection[Area]
    ) -> None:
        self._documents, self._mirror, self._notes = documents, mirror, notes
        self._failed = failed
        self._marks: dict[str, str] = {}
        self._not_before: dict[str, float] = {}

    async def read(self, but: set[str], *, everything: bool) -> None:
        """Read what changed; without *everything* at most once a second.

        Args:
            but: Storage keys that have not got their files back yet.
            everything: Whether to look now, however long that takes.
        """
        for key in sorted({document.key for document in self._documents} - but):
            if everything or self._not_before.get(key, 0.0) <= time.monotonic():
                await self._look(key)

    async def _look(self, key: str) -> None:
        began, what = time.monotonic(), f"files of {key}"
        try:
            document = self._documents.answering(key)
            if document and await self._uses_files(key):
                await bounded(self._take(document), READ_TIMEOUT_S, what)
                self._notes.say(what, None)
        except Exception as error:  # noqa: BLE001 -- what cannot be read stays as it was
            self._notes.say(what, f"{what} are kept as they were: {first_line(error)}")
        rest = max(LOOK_EVERY_S, REST * (time.monotonic() - began))
        self._not_before[key] = time.monotonic() + rest

    async def _uses_files(self, key: str) -> bool:
        """Tell whether a storage key has files, without making a file system for it."""
        if self._mirror.items(Area(Kind.FILES, key)):
            return True
        return await self._documents.usage(Area(Kind.LOCAL, key).origin, "file_systems") != 0

    async def _take(self, document: Document) -> None:
        key = document.key
        mark = await bounded(files_mark(document), ASK_TIMEOUT_S, "looking at files")
        if self._marks.get(key) == mark:
            return
        found, area = await read_files(document), Area(Kind.FILES, key)
        before = self._mirror.items(area)
        missing = before.keys() if area in self._failed else found.lost.keys() & before.keys()
        kept = {path: before[path] for path in missing}
        self._mirror.replace(area, {**kept, **found.contents})
        for path, why in found.lost.items():
            self._notes.say(f"{key} {path}", f"file {path!r} of {key} is kept as it was: {why}")
        self._marks[key] = mark

"""What a writer knows of the states that it saved last, so that it need not read them again."""

from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import datetime

from raypool.store.codec import Codec
from raypool.store.listing import Listing
from raypool.store.manifests import Manifest, PartRef
from raypool.store.records import Record
from raypool.store.references import References

SESSIONS_REMEMBERED = 16

Parts = dict[str, tuple[bytes, PartRef]]


@dataclass
class Stored:
    """What the server has of one session's state, as of one base."""

    record: Record
    codec: Codec
    manifests: dict[int, Manifest]
    created: dict[int, datetime]
    broken: tuple[int, ...]
    """Versions whose manifest cannot be read."""
    fields: int
    """Of the hash of manifests."""
    listing: Listing
    """Of the newest version."""
    references: References
    there: set[str]
    """Digests of all that is stored, also of what no version names."""
    parts: Parts = field(default_factory=dict)
    """The parts that were saved last, with what names them."""

    @property
    def newest(self) -> Manifest | None:
        """The newest version."""
        return self.manifests.get(self.record.session.checkpoint_version)

    def unnamed(self) -> set[str]:
        """Return what no version names: of old versions, or of a writer that did not commit."""
        return self.there - self.references.named


class Remembered:
    """The sessions that were saved last. Whoever takes one out puts it back only if all went well.

    So after an error, a refusal or a lost reply nothing is known, and the next save reads. The
    contents themselves are held for the last session only: an actor has one, and holds them anyway.
    """

    def __init__(self) -> None:
        self._sessions: OrderedDict[str, Stored] = OrderedDict()

    def take(self, session_id: str) -> Stored | None:
        """Return what is known of a session, and forget it: two saves at once do not share it."""
        return self._sessions.pop(session_id, None)

    def put(self, session_id: str, stored: Stored) -> None:
        """Remember a session."""
        for other in list(self._sessions.values()):
            other.parts = {}
        self._sessions[session_id] = stored
        while len(self._sessions) > SESSIONS_REMEMBERED:
            self._sessions.popitem(last=False)

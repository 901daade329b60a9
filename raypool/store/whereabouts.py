"""Was a record that is missing deleted on purpose, or lost with all the others? Pure."""

from typing import Protocol


class Identified(Protocol):
    """Data that have an identity."""

    @property
    def first_identity(self) -> str:
        """Identity of the data that were there at the start."""
        ...


class Whereabouts:
    """Remembers in which data each session was last known to be.

    A record that is missing from the data that it was in was deleted on purpose; one that is missing
    because the data themselves are others was lost. Only sessions that were written again need an
    entry: all others were there at the start.

    Where the data are lost in the same moment, be on the side of the owner: note what was there
    before the record was seen, ask about what is there after it was missed.
    """

    def __init__(self, data: Identified) -> None:
        self._data = data
        self._moved: dict[str, str] = {}

    def note(self, session_id: str, identity: str) -> None:
        """Note that a session is in the data of this identity."""
        if identity != self._data.first_identity or session_id in self._moved:
            self._moved[session_id] = identity

    def lost(self, session_id: str, identity: str) -> bool:
        """Tell whether a session that is missing in the data of this identity was lost."""
        return self._moved.get(session_id, self._data.first_identity) != identity

"""The history of a run: what was asked, what was answered, what was broken, in order.

It is written as it happens, one JSON object a line, so that a run that is cut off can be read too.
"""

import json
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Any, Self


class Kind(StrEnum):
    """What an event tells."""

    INVOKE = "invoke"
    OK = "ok"
    FAIL = "fail"
    """It raised; whether it had an effect is not known."""
    LOST = "lost"
    """Nobody answered; whether it had an effect is not known."""
    FAULT = "fault"
    """Value: whether it fired."""
    MISSED = "missed"
    """A fault that did not fire, or not to its end; it may have broken something all the same."""
    BLOW = "blow"
    """The moment at which a fault broke something, where it takes long to tell whether it fired."""
    HEALED = "healed"
    RECOVERED = "recovered"
    """Value: ``seconds`` from the fault on, and whose browsers are not the ones from before
    (``changed``)."""


EVERYWHERE = "*"
"""Business of a fault that disturbs the whole fleet."""


@dataclass(frozen=True)
class Event:
    """One line of the history."""

    kind: Kind
    f: str
    """What was asked (``publish``), or the fault's name."""
    business: str
    """:data:`EVERYWHERE` for a fault that is nobody's in particular."""
    op: int
    """The same for an invocation and its end."""
    value: Any = None
    at: float = 0.0
    """Monotonic seconds."""
    wall: str = ""
    """UTC, ISO 8601."""


class History:
    """Append-only; *events* are those so far.

    Args:
        path: Where the lines go.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.events: list[Event] = []
        self._file = path.open("a", encoding="utf-8")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()

    def add(
        self, kind: Kind, f: str, business: str, op: int | None = None, value: Any = None
    ) -> int:
        """Append an event and return its operation: a new one when *op* is None."""
        number = len(self.events) if op is None else op
        wall = datetime.now(UTC).isoformat()
        event = Event(kind, f, business, number, value, time.monotonic(), wall)
        self.events.append(event)
        self._file.write(json.dumps(asdict(event)) + "\n")
        self._file.flush()
        return number


def read(path: Path) -> list[Event]:
    """Return the events of a history that was written before."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [Event(**{**data, "kind": Kind(data["kind"])}) for data in map(json.loads, lines)]

"""The stream of changes: hints for supervisors and dashboards, never the truth."""

from dataclasses import dataclass

from raypool.store.client import build_client, close_client, translated
from raypool.store.connection import Connection


@dataclass(frozen=True)
class Event:
    """One change."""

    id: str
    session_id: str
    business_id: str
    kind: str
    version: str


class Events:
    """Reads the stream. One reader follows one partition."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def tail(
        self, after: str = "$", *, block_s: float = 2.0, partition: int = 0
    ) -> list[Event]:
        """Return the events after *after*, waiting up to *block_s* seconds for the first.

        Args:
            after: Id of the last event seen; ``$`` for what comes from now on.
            block_s: Seconds; keep it under the socket's timeout of 5.
            partition: Whose stream.
        """
        key = self._connection.keys.events(partition)
        with translated(self._connection.url):
            client = build_client(self._connection.url, "raypool-events", connections=1)
            try:
                found = await client.xread({key: after}, block=int(block_s * 1000), count=500)
            finally:
                await close_client(client)
        entries = found.values() if isinstance(found, dict) else [e for _, e in found or []]
        return [_event(i, f) for batch in entries for i, f in _flat(batch)]


def _flat(batch: list) -> list:  # type: ignore[type-arg]
    """Return (id, fields) pairs: RESP3 nests them one level deeper than RESP2."""
    return batch[0] if batch and isinstance(batch[0], list) else batch


def _event(event_id: bytes, fields: dict[bytes, bytes]) -> Event:
    text = {k.decode(): v.decode() for k, v in fields.items()}
    return Event(event_id.decode(), text["sid"], text["business"], text["kind"], text["version"])

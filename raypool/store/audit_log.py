"""What people did to businesses, and why: a bounded stream, written by the script that does it."""

import json
import unicodedata
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from raypool.errors import ErrorCodes, create_error
from raypool.model import AuditEntry, Holder
from raypool.store.connection import Connection

LONGEST_NOTE = 500
_MOST_ENTRIES = 10_000


class AuditLog:
    """Reads the audit streams of all partitions."""

    def __init__(self, connection: Connection) -> None:
        self._connection, self._keys = connection, connection.keys

    async def newest(self, limit: int) -> list[AuditEntry]:
        """Return at most *limit* entries, newest first.

        Raises:
            ConfigurationError: *limit* does not fit.
        """
        count, found = parse_limit(limit), []
        for partition in self._keys.all_partitions():
            stream = self._keys.audit(partition)
            found += await self._connection.command("XREVRANGE", stream, "+", "-", "COUNT", count)
        entries = [_entry(entry_id, fields) for entry_id, fields in found]
        return sorted(entries, key=lambda entry: entry.at, reverse=True)[:count]


def parse_limit(limit: object) -> int:
    """Return *limit* if it is a number of entries.

    Raises:
        ConfigurationError: It is not.
    """
    if isinstance(limit, int) and not isinstance(limit, bool) and 0 < limit <= _MOST_ENTRIES:
        return limit
    raise create_error(
        ErrorCodes.CONFIG_INVALID_ARGUMENT,
        f"limit={str(limit)[:140]!r} does not fit: it must be from 1 to {_MOST_ENTRIES}",
    )


def parse_note(value: object, name: str) -> str:
    """Return *value* as one line of text fit for an audit: nothing in it moves a cursor.

    Args:
        value: What a person typed. Control and format characters become spaces, line ends too.
        name: For the error.

    Raises:
        ConfigurationError: It is not text, says nothing, or is longer than :data:`LONGEST_NOTE`.
    """
    text = value if isinstance(value, str) else ""
    # Categories C: control, format (they can turn the writing direction), lone surrogates; Z: blanks.
    plain = "".join(" " if unicodedata.category(c)[0] in "CZ" else c for c in text)
    note = " ".join(plain.split())
    if 0 < len(note) <= LONGEST_NOTE:
        return note
    raise create_error(
        ErrorCodes.CONFIG_INVALID_ARGUMENT,
        f"{name}={str(value)[:140]!r} does not fit: it must be 1 to {LONGEST_NOTE} characters of text",
    )


def whom(holder: Holder, token: int, since: datetime) -> dict[str, Any]:
    """Return what an audit says of an owner whose lease was broken."""
    return {**holder.model_dump(), "token": token, "since": since.isoformat()}


def _entry(entry_id: bytes, fields: Any) -> AuditEntry:
    text = _text(fields)
    ms = int(entry_id.partition(b"-")[0])
    return AuditEntry(
        at=datetime.fromtimestamp(ms / 1000, UTC),
        action=text["action"],
        business_id=text["business"],
        by=text["by"],
        reason=text["reason"],
        detail=_detail(text),
    )


def _detail(text: Mapping[str, str]) -> dict[str, Any]:
    if not text["holder"]:
        return {}
    holder = Holder.model_validate(json.loads(text["holder"]))
    return whom(holder, int(text["token"]), datetime.fromtimestamp(int(text["since"]) / 1000, UTC))


def _text(fields: Any) -> dict[str, str]:
    """Return an entry's fields, which redis-py gives as a mapping or as a flat list."""
    pairs = (
        fields if isinstance(fields, Mapping) else dict(zip(fields[::2], fields[1::2], strict=True))
    )
    return {name.decode(): value.decode() for name, value in pairs.items()}

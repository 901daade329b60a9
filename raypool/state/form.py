"""Bytes of a part: canonical JSON. Pure."""

import json
from typing import Any

from raypool.errors import ErrorCodes, create_error


def encode(payload: object) -> bytes:
    """Return the canonical bytes of a part: equal payloads give equal bytes, always valid UTF-8."""
    try:
        return _json(payload, ascii_only=False).encode()
    except UnicodeEncodeError:  # JavaScript's text may hold half a surrogate pair, UTF-8 may not
        return _json(payload, ascii_only=True).encode()


def _json(payload: object, *, ascii_only: bool) -> str:
    return json.dumps(payload, sort_keys=True, separators=(",", ":"), ensure_ascii=ascii_only)


def decode(part: str, data: bytes) -> Any:
    """Return the payload of a part.

    Raises:
        CheckpointCorrupt: It is not JSON.
    """
    try:
        return json.loads(data)
    except ValueError as error:
        raise create_error(ErrorCodes.STORAGE_CORRUPT, f"part {part!r} is not JSON") from error

"""Bytes of a part: canonical JSON. Pure."""

import json
from collections.abc import Mapping
from typing import Any

from raypool.errors import ErrorCodes, create_error


def encode(payload: object) -> bytes:
    """Return the canonical bytes of a part: equal payloads give equal bytes, always valid UTF-8."""
    return _bytes(payload, sort_keys=True)


def encode_items(items: Mapping[str, Any]) -> bytes:
    """Return the canonical bytes of items: in the order of their names, each as it is.

    Fields of an object in IndexedDB have an order, which the numbers of shared objects depend on.
    """
    return _bytes(dict(sorted(items.items())), sort_keys=False)


def _bytes(payload: object, *, sort_keys: bool) -> bytes:
    try:
        return _json(payload, sort_keys=sort_keys, ensure_ascii=False).encode()
    except UnicodeEncodeError:  # JavaScript's text may hold half a surrogate pair, UTF-8 may not
        return _json(payload, sort_keys=sort_keys, ensure_ascii=True).encode()


def _json(payload: object, **how: bool) -> str:
    return json.dumps(payload, separators=(",", ":"), **how)  # type: ignore[arg-type]


def decode(part: str, data: bytes) -> Any:
    """Return the payload of a part.

    Raises:
        CheckpointCorrupt: It is not JSON.
    """
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise create_error(ErrorCodes.STORAGE_CORRUPT, f"part {part!r} is not JSON") from error

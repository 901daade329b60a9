"""A session's hash in Redis, and the :class:`Session` that it stands for."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from raypool.errors import ErrorCodes, create_error
from raypool.model import Desired, Observed, Session, SessionStatus
from raypool.spec import SessionSpec


@dataclass(frozen=True)
class Record:
    """A session with what only the store knows of it."""

    session: Session
    data_key: str
    """Wrapped."""


def parse(fields: Mapping[bytes, bytes]) -> Record | None:
    """Return the record in a hash; None when the hash is empty or not a record.

    Raises:
        CheckpointCorrupt: A field does not fit; names the session.
    """
    text = {k.decode(): v.decode(errors="replace") for k, v in fields.items()}
    if "id" not in text:
        return None
    try:
        return Record(_session(text), text.get("data_key", ""))
    except (ValidationError, ValueError, KeyError) as error:
        raise create_error(
            ErrorCodes.STORAGE_CORRUPT,
            f"the record of session {text['id']} cannot be read: {type(error).__name__}",
            {"session_id": text["id"]},
        ) from error


def _session(text: Mapping[str, str]) -> Session:
    return Session(
        id=text["id"],
        business_id=text["business_id"],
        email=text.get("email") or None,
        status=SessionStatus(text["status"]),
        desired=Desired(text["desired"]),
        spec=SessionSpec.model_validate_json(text["spec"]),
        version=int(text["version"]),
        fencing_token=int(text.get("token", 0)),
        checkpoint_version=int(text.get("checkpoint_version", 0)),
        last_good_version=int(text.get("last_good_version", 0)),
        created_at=when(text["created_at"]),
        updated_at=when(text["updated_at"]),
        last_activity=when(text["last_activity"]),
        expires_at=when(text["expires_at"]),
        ttl=int(text["ttl_ms"]) / 1000,
        observed=Observed.model_validate_json(text.get("observed", "{}")),
    )


def fields_of(session: Session) -> list[Any]:
    """Return the fields that a write of *session* sets, flat; the script sets times, counters."""
    return [
        "id", session.id,
        "business_id", session.business_id,
        "email", session.email or "",
        "status", str(session.status),
        "desired", str(session.desired),
        "spec", session.spec.model_dump_json(),
    ]  # fmt: skip


def when(ms: str | bytes) -> datetime:
    """Return the time that milliseconds since 1970 stand for."""
    return datetime.fromtimestamp(int(ms) / 1000, UTC)

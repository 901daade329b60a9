"""A session's hash in Redis, and the :class:`Session` that it stands for."""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from raypool.errors import CheckpointCorrupt, ErrorCodes, create_error
from raypool.model import Desired, Observed, Session, SessionStatus, Supervision
from raypool.spec import SECRET_OPTIONS, SessionSpec
from raypool.store.crypto import DataKey, Keyring

_BASE = (
    "version", "checkpoint_version", "checkpoint_op", "last_good_version", "data_key", "parts_op",
)  # fmt: skip


@dataclass(frozen=True)
class Record:
    """A session with what only the store knows of it."""

    session: Session
    data_key: str
    """Wrapped."""
    base: str
    """What a checkpoint builds on, as the server has it: see ``base`` in ``lua/shared.lua``."""


class Records:
    """Turns hashes into records and back. What may hold a password is sealed with the data key.

    Args:
        keyring: Opens the data keys.
        prefix: Key prefix, which every seal is bound to.
    """

    def __init__(self, keyring: Keyring, prefix: str) -> None:
        self._keyring, self._prefix = keyring, prefix

    def parse(self, fields: Mapping[bytes, bytes]) -> Record | None:
        """Return the record in a hash; None when the hash is empty or not a record.

        Raises:
            CheckpointCorrupt: A field does not fit; names the session.
            StorageError: It was sealed with a key that is not configured.
        """
        text = {k.decode(): v.decode(errors="replace") for k, v in fields.items()}
        if "id" not in text:
            return None
        try:
            session = _session(text, self._sealed(text))
            base = "|".join(text.get(name, "") for name in _BASE)
            return Record(session, text.get("data_key", ""), base)
        except (CheckpointCorrupt, ValidationError, ValueError, KeyError) as error:
            raise create_error(
                ErrorCodes.STORAGE_CORRUPT,
                f"the record of session {text['id']} cannot be read: {type(error).__name__}",
                {"session_id": text["id"]},
            ) from error

    def fields_of(self, session: Session, data_key: str) -> list[Any]:
        """Return the fields that a write sets, flat; the script sets times and counters.

        Args:
            session: What shall be there.
            data_key: The session's, wrapped.
        """
        spec = session.spec
        secret = {k: v for k, v in spec.context.items() if k in SECRET_OPTIONS}
        plain = {k: v for k, v in spec.context.items() if k not in SECRET_OPTIONS}
        return [
            "id", session.id,
            "business_id", session.business_id,
            "email", session.email or "",
            "status", str(session.status),
            "desired", str(session.desired),
            "assigned_cluster", session.assigned_cluster or "",
            "spec", spec.model_copy(update={"context": plain}).model_dump_json(),
            "spec_sealed", self._seal(session.id, data_key, secret) if secret else "",
        ]  # fmt: skip

    def data_key(self, session_id: str, wrapped: str) -> DataKey:
        """Return a session's data key."""
        return self._keyring.unwrap(wrapped, self._about(session_id, "key"))

    def new_data_key(self, session_id: str) -> str:
        """Return a fresh data key for a session, wrapped."""
        return self._keyring.wrap(DataKey.new(), self._about(session_id, "key"))

    def rewrap(self, session_id: str, wrapped: str) -> str | None:
        """Return a session's data key wrapped with the first master key; None when it is already."""
        return self._keyring.rewrap(wrapped, self._about(session_id, "key"))

    def _seal(self, session_id: str, wrapped: str, secret: Mapping[str, Any]) -> str:
        key = self.data_key(session_id, wrapped)
        sealed = key.seal(json.dumps(secret).encode(), self._about(session_id, "spec"))
        return base64.b64encode(sealed).decode()

    def _sealed(self, text: Mapping[str, str]) -> dict[str, Any]:
        if not text.get("spec_sealed"):
            return {}
        key = self.data_key(text["id"], text["data_key"])
        sealed = base64.b64decode(text["spec_sealed"], validate=True)
        opened: dict[str, Any] = json.loads(key.open(sealed, self._about(text["id"], "spec")))
        return opened

    def _about(self, session_id: str, what: str) -> bytes:
        return f"{self._prefix}\x00{session_id}\x00{what}".encode()


def _session(text: Mapping[str, str], secret: Mapping[str, Any]) -> Session:
    spec = SessionSpec.model_validate_json(text["spec"])
    return Session(
        id=text["id"],
        business_id=text["business_id"],
        email=text.get("email") or None,
        status=SessionStatus(text["status"]),
        desired=Desired(text["desired"]),
        assigned_cluster=text.get("assigned_cluster") or None,
        spec=spec.model_copy(update={"context": {**spec.context, **secret}}),
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
        supervision=Supervision.model_validate_json(text.get("supervision", "{}")),
    )


def when(ms: str | bytes) -> datetime:
    """Return the time that milliseconds since 1970 stand for."""
    return datetime.fromtimestamp(int(ms) / 1000, UTC)

"""What a call asks of a record, checked and laid over it. Shared by Redis and the twin. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from raypool.errors import ErrorCodes, create_error
from raypool.ids import parse_duration, parse_email
from raypool.model import Desired, Session, SessionStatus
from raypool.spec import SpecChanges, parse_spec
from raypool.state import parts_from_json

_STATE = ("cookies_json", "storage_json")
_FIELDS = ("email", "status", "desired", "ttl", "assigned_cluster")
_LONGEST_CLUSTER = 64


@dataclass(frozen=True)
class Changes:
    """Checked changes of one session."""

    fields: Mapping[str, Any] = field(default_factory=dict)
    spec: SpecChanges = field(default_factory=SpecChanges)
    parts: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def record(self) -> bool:
        """Whether the record itself changes, not only its state."""
        return bool(self.fields or self.spec.fields or self.spec.context or not self.parts)

    def over(self, session: Session) -> Session:
        """Return *session* with the changes laid over it."""
        merged = session.model_copy(update={**self.fields, "spec": session.spec.merged(self.spec)})
        stopped = merged.status is not SessionStatus.ACTIVE
        return merged.model_copy(update={"desired": Desired.STOPPED}) if stopped else merged


def parse_changes(changes: Mapping[str, Any]) -> Changes:
    """Check what a caller passed.

    Raises:
        ConfigurationError: An unknown name, or a value that does not fit.
    """
    spec = parse_spec({k: v for k, v in changes.items() if k not in {*_STATE, *_FIELDS}})
    fields: dict[str, Any] = {}
    if "email" in changes:
        email = changes["email"]
        fields["email"] = None if email is None else parse_email(email)
    if "status" in changes:
        fields["status"] = _member(SessionStatus, changes["status"], "status")
    if "desired" in changes:
        fields["desired"] = _member(Desired, changes["desired"], "desired")
    if "assigned_cluster" in changes:
        fields["assigned_cluster"] = _cluster(changes["assigned_cluster"])
    if changes.get("ttl") is not None:
        fields["ttl"] = parse_duration(changes["ttl"], name="ttl")
    parts = parts_from_json(changes.get("cookies_json"), changes.get("storage_json"))
    return Changes(fields, spec, parts)


def parse_wishes(changes: Mapping[str, Any]) -> Changes:
    """Check what a caller passed to a call that takes no state.

    Raises:
        ConfigurationError: As :func:`parse_changes`, or there is state.
    """
    if state := [name for name in _STATE if name in changes]:
        raise create_error(
            ErrorCodes.CONFIG_INVALID_ARGUMENT,
            f"{', '.join(state)}: a session is made without state",
            recovery="Make the session first, then pass it to update_session.",
        )
    return parse_changes(changes)


def _cluster(value: Any) -> str | None:
    fits = isinstance(value, str) and 0 < len(value) <= _LONGEST_CLUSTER and value.isprintable()
    if value is None or fits:
        return None if value is None else str(value)
    raise create_error(
        ErrorCodes.CONFIG_INVALID_ARGUMENT,
        f"assigned_cluster={str(value)[:140]!r} does not fit: it must be the name of a cluster, "
        f"1 to {_LONGEST_CLUSTER} printable characters, or None for any",
    )


def _member(kind: Any, value: Any, name: str) -> Any:
    try:
        return kind(value)
    except ValueError as error:
        raise create_error(
            ErrorCodes.CONFIG_INVALID_ARGUMENT,
            f"{name}={value!r} does not fit: it must be one of {', '.join(kind)}",
        ) from error

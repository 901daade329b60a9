"""What became of the parts between two versions, for people: names and sizes. Pure."""

from collections.abc import Iterable

from raypool.errors import ErrorCodes, RaypoolError, create_error
from raypool.model import PartChange, Session, VersionDiff
from raypool.store.manifests import PartRef, Refs


def compare(before: int, old: Refs, after: int, new: Refs) -> VersionDiff:
    """Return how the parts *new* of version *after* differ from the parts *old* of *before*.

    Digests are keyed with the session's own key, so within it they are equal exactly when the
    contents are.
    """
    pairs = [(name, old.get(name), new.get(name)) for name in sorted(old.keys() | new.keys())]
    return VersionDiff(
        before=before,
        after=after,
        changes=tuple(
            PartChange(name=name, before=_size(was), after=_size(is_now))
            for name, was, is_now in pairs
            if was != is_now
        ),
        unchanged=sum(was == is_now for _, was, is_now in pairs),
    )


def _size(part: PartRef | None) -> int | None:
    return part.size if part else None


def kept_or_refused(session: Session, version: int, kept: Iterable[int]) -> None:
    """Refuse a version that is not among those that are kept.

    Raises:
        ConfigurationError: It is not; names those that are.
    """
    known = list(kept)
    if version not in known:
        raise not_kept(session, version, known)


def not_kept(session: Session, version: int | None, kept: Iterable[int]) -> RaypoolError:
    """Return the error for a version that there is not."""
    known = sorted(kept, reverse=True)
    names = f"kept are {', '.join(map(str, known))}" if known else "none was saved yet"
    wanted = "version" if version is None else f"version {version!r}"
    return create_error(
        ErrorCodes.CONFIG_INVALID_ARGUMENT,
        f"{session.business_id} has no {wanted}: {names}",
        {"business_id": session.business_id, "session_id": session.id},
        recovery=f"Choose one of `raypool checkpoints {session.business_id}`.",
    )

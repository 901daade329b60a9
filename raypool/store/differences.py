"""What became of the state between two versions, for people: names and numbers. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any

from raypool import state
from raypool.errors import ErrorCodes, RaypoolError, create_error
from raypool.model import ItemChanges, PartChange, Session, VersionDiff
from raypool.state import Area, Buckets, Kind
from raypool.store.manifests import Refs

Parts = Mapping[str, bytes]


def compare(before: int, old: Refs, after: int, new: Refs) -> VersionDiff:
    """Return how the parts *new* of version *after* differ from the parts *old* of *before*.

    Parts over which one storage is spread are told as one. Digests are keyed with the session's own
    key, so within it they are equal exactly when the contents are.
    """
    was_there, is_there = _grouped(old), _grouped(new)
    names = sorted(was_there.keys() | is_there.keys())
    pairs = [(name, was_there.get(name), is_there.get(name)) for name in names]
    return VersionDiff(
        before=before,
        after=after,
        changes=tuple(
            PartChange(name=name, title=_title(name), before=_size(was), after=_size(is_now))
            for name, was, is_now in pairs
            if was != is_now
        ),
        unchanged=sum(was == is_now for _, was, is_now in pairs),
    )


def _grouped(parts: Refs) -> dict[str, Refs]:
    found: dict[str, Refs] = {}
    for name, part in parts.items():
        found.setdefault(_storage(name), {})[name] = part
    return found


def _storage(part: str) -> str:
    area = Area.of(part)
    return area.name if area else part


def _title(storage: str) -> str:
    area = Area.of(storage) or Area.of(f"{storage}#0/1")
    return area.title if area else storage


def _size(parts: Refs | None) -> int | None:
    return None if parts is None else sum(part.size for part in parts.values())


def count_items(diff: VersionDiff, before: Parts, after: Parts) -> VersionDiff:
    """Return *diff* with what became of the items of each storage that differs.

    One whose items are the same, only spread in another way, does not differ.

    Raises:
        CheckpointCorrupt: A part is not what raypool writes.
    """
    was_there, is_there = _items(diff, before), _items(diff, after)
    changes = []
    for change in diff.changes:
        old, new = was_there.get(change.name), is_there.get(change.name)
        if old != new:
            changes.append(change.model_copy(update={"items": _between(old or {}, new or {})}))
        elif old is None:
            changes.append(change)
    same = len(diff.changes) - len(changes)
    return diff.model_copy(update={"changes": tuple(changes), "unchanged": diff.unchanged + same})


def _items(diff: VersionDiff, parts: Parts) -> dict[str, dict[Any, Any]]:
    wanted = {change.name for change in diff.changes}
    found: dict[str, dict[Any, Any]] = {}
    for area, of in state.by_area(parts).items():
        if area.name in wanted and area.kind is not Kind.DATABASE:
            found[area.name] = dict(Buckets.load(area.name, of).items())
    if state.COOKIES in wanted & parts.keys():
        found |= _cookies(state.decode(state.COOKIES, parts[state.COOKIES]))
    return found


def _cookies(cookies: Any) -> dict[str, dict[Any, Any]]:
    if not (isinstance(cookies, list) and all(isinstance(cookie, dict) for cookie in cookies)):
        return {}
    return {state.COOKIES: {_identity(cookie): cookie for cookie in cookies}}


def _identity(cookie: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(str(cookie.get(k)) for k in ("name", "domain", "path", "url", "partitionKey"))


def _between(old: Mapping[Any, Any], new: Mapping[Any, Any]) -> ItemChanges:
    both = old.keys() & new.keys()
    return ItemChanges(
        added=len(new.keys() - old.keys()),
        changed=sum(old[name] != new[name] for name in both),
        removed=len(old.keys() - new.keys()),
    )


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

"""What a version consists of: which part is which, and what is known about it. Pure."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import NamedTuple

from pydantic import Field

from raypool.model import CheckpointInfo, CheckpointMeta, SignIn
from raypool.spec import Frozen
from raypool.store.base import VERSIONS_KEPT

_SIGNED_OUT = frozenset({SignIn.SIGNED_OUT, SignIn.NEEDS_HUMAN})


class PartRef(NamedTuple):
    """A part by its content."""

    size: int
    pieces: tuple[str, ...]
    """Digests of what it was cut into; one unless it is large."""


Refs = dict[str, PartRef]


class Manifest(Frozen):
    """One version, without its contents."""

    version: int
    token: int
    meta: CheckpointMeta
    size: int
    """Bytes of state, before compression."""
    parts: Refs = Field(default_factory=dict)
    """The parts of a small state."""
    lists: tuple[str, ...] = ()
    """Digests of the lists that the parts of a large state stand in."""

    def info(self, created_at: datetime) -> CheckpointInfo:
        """Return what people are told of this version."""
        verdict = {SignIn.UNKNOWN: None, SignIn.SIGNED_IN: True}
        return CheckpointInfo(
            version=self.version,
            created_at=created_at,
            size=self.size,
            signed_in=verdict.get(self.meta.sign_in, False),
            warnings=self.meta.warnings,
            reasons=self.meta.reasons,
            fencing_token=self.token,
            node_id=self.meta.node_id,
            chosen=self.meta.chosen,
        )


def says_nothing_new(before: Manifest, after: Manifest) -> bool:
    """Tell whether *after* repeats *before*: same contents, same verdict, asked for by nobody."""
    same = (before.parts, before.lists) == (after.parts, after.lists)
    same = same and before.meta.sign_in is after.meta.sign_in
    stays = after.meta.passing or not before.meta.passing
    doubtful = after.meta.unverified or not before.meta.unverified
    return same and stays and doubtful and not after.meta.chosen


def is_passed_over(meta: CheckpointMeta) -> bool:
    """Tell whether no browser starts from a version: it was seen signed out, and nobody chose it."""
    return meta.sign_in in _SIGNED_OUT and not meta.chosen


def may_be_last_good(meta: CheckpointMeta) -> bool:
    """Tell whether a version may become ``last_good``: not one that may be signed out."""
    return meta.sign_in not in _SIGNED_OUT and not meta.unverified


def to_drop(kept: Mapping[int, Manifest], newest: int, last_good: int) -> list[int]:
    """Return the versions that go when *newest* joins *kept*.

    The last :data:`VERSIONS_KEPT` stay, and ``last_good`` always; of those that were saved in passing
    only the newest.
    """
    lasting = [version for version, manifest in kept.items() if not manifest.meta.passing]
    staying = {newest, last_good, *sorted(lasting, reverse=True)[: VERSIONS_KEPT - 1]}
    return sorted(kept.keys() - staying)


def digests(refs: Iterable[PartRef]) -> set[str]:
    """Return the digests of all that these parts consist of."""
    return {piece for ref in refs for piece in ref.pieces}

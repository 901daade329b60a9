"""What a version consists of: which part is which, and what is known about it. Pure."""

from collections.abc import Iterable, Mapping
from datetime import datetime

from raypool.model import CheckpointInfo, CheckpointMeta, SignIn
from raypool.spec import Frozen
from raypool.store.base import VERSIONS_KEPT

_SIGNED_OUT = frozenset({SignIn.SIGNED_OUT, SignIn.NEEDS_HUMAN})


class PartRef(Frozen):
    """A part by its content."""

    digest: str
    size: int


class Manifest(Frozen):
    """One version, without its contents."""

    version: int
    token: int
    meta: CheckpointMeta
    parts: dict[str, PartRef]

    def info(self, created_at: datetime) -> CheckpointInfo:
        """Return what people are told of this version."""
        verdict = {SignIn.UNKNOWN: None, SignIn.SIGNED_IN: True}
        return CheckpointInfo(
            version=self.version,
            created_at=created_at,
            size=sum(part.size for part in self.parts.values()),
            signed_in=verdict.get(self.meta.sign_in, False),
            warnings=self.meta.warnings,
            reasons=self.meta.reasons,
            fencing_token=self.token,
            node_id=self.meta.node_id,
        )


def says_nothing_new(before: Manifest, after: Manifest) -> bool:
    """Tell whether *after* repeats *before*: same contents, same verdict, asked for by nobody."""
    same = before.parts == after.parts and before.meta.sign_in is after.meta.sign_in
    return same and not after.meta.chosen


def is_passed_over(meta: CheckpointMeta) -> bool:
    """Tell whether no browser starts from a version: it was seen signed out, and nobody chose it."""
    return meta.sign_in in _SIGNED_OUT and not meta.chosen


def may_be_last_good(meta: CheckpointMeta) -> bool:
    """Tell whether a version may become ``last_good``: not one that looks signed out."""
    return meta.sign_in not in _SIGNED_OUT


def to_drop(
    kept: Mapping[int, Manifest], newest: Manifest, last_good: int
) -> tuple[list[int], set[str]]:
    """Return the versions and the part digests that go when *newest* joins *kept*.

    The last :data:`VERSIONS_KEPT` stay, and ``last_good`` always.
    """
    every = {**kept, newest.version: newest}
    staying = set(sorted(every, reverse=True)[:VERSIONS_KEPT]) | {last_good}
    going = sorted(v for v in every if v not in staying)
    used = digests(every[v] for v in staying if v in every)
    return going, digests(every[v] for v in going) - used


def digests(manifests: Iterable[Manifest]) -> set[str]:
    """Return the digests that these versions name."""
    return {part.digest for manifest in manifests for part in manifest.parts.values()}

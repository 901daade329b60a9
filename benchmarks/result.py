"""One row of the table."""

from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Result:
    """A figure of ours beside a peer's from the same run; both are medians."""

    name: str
    value: float
    unit: str
    peer: str
    peer_value: float
    ratio: float
    goal: str
    runs: int


def compare(name: str, ours: list[float], peer: str, theirs: list[float], goal: str = "") -> Result:
    """Return the row for two series of milliseconds; the ratio is ours by theirs.

    Args:
        name: What is measured.
        ours: Milliseconds of each run of raypool.
        peer: What it is compared with.
        theirs: Milliseconds of each run of the peer.
        goal: The bar that the ratio has to reach, when there is one.
    """
    value, peer_value = median(ours), median(theirs)
    return Result(
        name, round(value, 2), "ms", peer, round(peer_value, 2), round(value / peer_value, 2), goal,
        len(ours),
    )  # fmt: skip

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


def compare(
    name: str,
    ours: list[float],
    peer: str,
    theirs: list[float],
    goal: str = "",
    unit: str = "ms",
) -> Result:
    """Return the row for two series of figures; the ratio is ours by theirs.

    Args:
        name: What is measured.
        ours: What each run of raypool took.
        peer: What it is compared with.
        theirs: What each run of the peer took.
        goal: The bar, when there is one; without a unit it is one for the ratio.
        unit: Of the figures.
    """
    value, peer_value = median(ours), median(theirs)
    return Result(
        name, round(value, 2), unit, peer, round(peer_value, 2), round(value / peer_value, 4), goal,
        len(ours),
    )  # fmt: skip

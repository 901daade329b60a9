"""What the doctor says: the data, and how people and programs read it."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table
from rich.text import Text


class Level(StrEnum):
    """How bad it is. A *warn* works but may cost something; with a *fail* raypool cannot work."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    ``saw`` says what is there, never a secret; ``do`` what a person can do, empty when all is well.
    """

    name: str
    level: Level
    saw: str
    do: str = ""


class Finding(NamedTuple):
    """One thing that is wrong with what a check looked at."""

    level: Level
    saw: str
    do: str


_SEVERITY = {Level.OK: 0, Level.WARN: 1, Level.FAIL: 2}
_MARKS = {
    Level.OK: ("ok", "green"),
    Level.WARN: ("warn", "yellow"),
    Level.FAIL: ("FAIL", "bold red"),
}


def conclude(name: str, saw: str, findings: Iterable[Finding | None] = ()) -> Check:
    """Return one check out of what was seen and all that is wrong with it, worst first."""
    known = sorted(filter(None, findings), key=lambda f: _SEVERITY[f.level], reverse=True)
    return Check(
        name,
        known[0].level if known else Level.OK,
        ". ".join(text.rstrip(".") for text in (saw, *(f.saw for f in known)) if text),
        " ".join(f.do for f in known),
    )


def exit_code(checks: Iterable[Check]) -> int:
    """Return 1 when any check failed, else 0: a warning is no failure."""
    return int(any(check.level is Level.FAIL for check in checks))


def to_json(checks: Iterable[Check]) -> dict[str, Any]:
    """Return ``{"ok": …, "checks": [{"name", "level", "saw", "do"}, …]}``, JSON-ready."""
    found = list(checks)
    return {
        "ok": exit_code(found) == 0,
        "checks": [asdict(c) | {"level": str(c.level)} for c in found],
    }


def render(checks: Sequence[Check], console: Console) -> None:
    """Print the checks as a table and a line that sums them up. Readable without colour too."""
    table = Table(pad_edge=False)
    for heading in ("", "check", "saw", "what to do"):
        table.add_column(heading, overflow="fold")
    for check in checks:
        # Text, not str: what was seen may hold brackets, which rich would take for markup.
        table.add_row(Text(*_MARKS[check.level]), *map(Text, (check.name, check.saw, check.do)))
    console.print(table)
    console.print(Text(_summary(checks)))


def _summary(checks: Iterable[Check]) -> str:
    levels = [check.level for check in checks]
    parts = [
        f"{levels.count(level)} {word}"
        for level, word in ((Level.FAIL, "failed"), (Level.WARN, "to look at"), (Level.OK, "ok"))
        if level in levels
    ]
    return ", ".join(parts) or "nothing was checked"

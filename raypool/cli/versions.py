"""Commands about the versions of a business's state: list, compare, go back."""

import asyncio
from typing import Any

import typer
from rich.table import Table

from raypool.cli.app import Json, app, out, print_json, print_line
from raypool.model import CheckpointInfo, PartChange, VersionDiff

Business = typer.Argument(..., metavar="BUSINESS", help="The business's id.")


@app.command()
def checkpoints(
    business: str = Business,
    diff: tuple[int, int] = typer.Option(
        None,
        "--diff",
        metavar="A B",
        help="How version B differs from A: names, sizes and numbers of items.",
    ),
    as_json: bool = Json,
) -> None:
    """List the kept versions of a business's state, newest first, or compare two of them.

    Example:  raypool checkpoints business-1 --diff 41 42
    """
    from raypool import fleets
    from raypool.config import Settings

    if diff:
        found = asyncio.run(fleets.look(Settings(), lambda v: v.diff(business, *diff)))
        _show_diff(found, as_json=as_json)
        return
    infos = asyncio.run(fleets.look(Settings(), lambda v: v.list(business)))
    if as_json:
        print_json([info.model_dump(mode="json") for info in infos])
    else:
        out.print(table_of(infos) if infos else f"{business} has no version yet.")


@app.command()
def rollback(
    business: str = Business,
    version: int = typer.Argument(
        ..., metavar="VERSION", help="One of those that `raypool checkpoints BUSINESS` lists."
    ),
    as_json: bool = Json,
) -> None:
    """Go back to an older version: it becomes the newest one, and the next browser starts from it.

    No history is lost. A business that is live is saved, stopped, and comes up again.

    Example:  raypool rollback business-1 41
    """
    from raypool import fleets
    from raypool.config import Settings

    info = asyncio.run(fleets.change(Settings(), business, lambda v: v.rollback(business, version)))
    if as_json:
        print_json({"business_id": business, **info.model_dump(mode="json")})
    else:
        print_line(f"{business} is at version {info.version}, with the contents of {version}.")


def table_of(infos: list[CheckpointInfo]) -> Table:
    """Return a table of versions."""
    table = Table("version", "created", "bytes", "signed in", "reasons", "warnings")
    for info in infos:
        signed_in = "—" if info.signed_in is None else str(info.signed_in)
        created = info.created_at.strftime("%Y-%m-%d %H:%M:%S UTC")
        reasons, warnings = ", ".join(info.reasons), "; ".join(info.warnings)
        cells = [str(info.version), created, str(info.size), signed_in, reasons, warnings]
        table.add_row(*map(legible, cells))
    return table


def _show_diff(diff: VersionDiff, *, as_json: bool) -> None:
    if as_json:
        print_json(_as_data(diff))
        return
    if diff.changes:
        table = Table("what", "", f"bytes in {diff.before}", f"bytes in {diff.after}", "items")
        for change in diff.changes:
            table.add_row(legible(change.title), change.kind, *_sizes(change), _items(change))
        out.print(table)
    print_line(f"{len(diff.changes)} differ, {diff.unchanged} are the same in both.")


def _as_data(diff: VersionDiff) -> dict[str, Any]:
    data = diff.model_dump(mode="json")
    changes = [{**change.model_dump(), "kind": change.kind} for change in diff.changes]
    return {**data, "changes": changes}


def _sizes(change: PartChange) -> list[str]:
    return ["—" if size is None else f"{size:,}" for size in (change.before, change.after)]


def _items(change: PartChange) -> str:
    counted = change.items.model_dump() if change.items else {}
    return ", ".join(f"{count} {what}" for what, count in counted.items() if count) or "—"


def legible(text: str) -> str:
    """Return text of a site or a file with nothing in it that would control the terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)

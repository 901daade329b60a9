"""Commands about the fleet as a whole and what runs in it."""

import asyncio
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.table import Table

from raypool.cli.app import FAILED, Json, app, err, out, plain, print_json, print_line, say
from raypool.errors import ErrorCodes, create_error

if TYPE_CHECKING:  # pydantic takes a while, and most commands show no status
    from raypool.model import InstanceStatus


@app.command()
def up(
    foreground: bool = typer.Option(
        False, "--foreground", "-f", help="Stay until Ctrl-C or SIGTERM, then take the fleet down."
    ),
    as_json: bool = Json,
) -> None:
    """Start the fleet and bring back every business that is desired.

    Example:  raypool up            (in the background; `raypool down` ends it)
    """
    from raypool import fleets
    from raypool.config import Settings

    fleet = fleets.up(Settings(), say)
    if as_json:
        print_json(fleet)
    else:
        _tell_up(fleet)
    if foreground:
        _ended(fleets.stay(Settings()), as_json=as_json)


def _tell_up(fleet: dict[str, Any]) -> None:
    print_line(f"The fleet is up: {fleet['wanted']} businesses are desired, Ray at {fleet['ray']}.")
    if fleet["dashboard"]:
        print_line(f"Ray's dashboard: {fleet['dashboard']} (token in {fleet['token_file']})")


@app.command()
def down(as_json: bool = Json) -> None:
    """Take the fleet down: every session saved and acknowledged, every browser gone.

    The records stay: the next `raypool up` brings back what was desired.
    """
    from raypool import fleets
    from raypool.config import Settings

    _ended(fleets.down(Settings()), as_json=as_json)


def _ended(unsaved: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        print_json({"down": True, "unsaved": unsaved})
    elif not unsaved:
        out.print("The fleet is down; everything was saved.")
    for stop in unsaved:
        print_line(f"[red]not saved:[/] {plain(stop['business_id'])}: {plain(stop['why'])}", err)
    if unsaved:
        raise typer.Exit(FAILED)


@app.command()
def status(
    business: str = typer.Argument(None, help="One business; all when left out."),
    as_json: bool = Json,
) -> None:
    """Show what every business is doing, or all that is known of one."""
    from raypool import fleets
    from raypool.config import Settings

    found = asyncio.run(fleets.status(Settings(), business))
    if as_json:
        print_json([s.model_dump(mode="json") for s in found])
        return
    if business:
        _show_one(found[0])
        return
    table = Table(
        "business", "phase", "signed in", "checkpoint", "restarts", "memory", "conditions"
    )
    for s in found:
        memory = f"{s.memory_bytes / 2**20:.0f} MB" if s.memory_bytes else "—"
        notes = "; ".join(c.message for c in s.conditions)
        table.add_row(
            s.business_id,
            s.phase,
            s.sign_in,
            str(s.checkpoint_version),
            str(s.restarts),
            memory,
            notes,
        )
    out.print(table)


def _show_one(status: "InstanceStatus") -> None:
    for name, value in status.model_dump(mode="json", exclude={"conditions"}).items():
        out.print(f"{name:20} {'—' if value is None else value}")
    for condition in status.conditions:
        print_line(plain(f"{condition.type:20} {condition.reason}: {condition.message}"))


@app.command()
def run(
    function: str = typer.Argument(..., metavar="FILE:FUNCTION", help="`async def f(page, …)`."),
    businesses: list[str] = typer.Argument(..., metavar="BUSINESS…"),
    concurrency: int = typer.Option(4, min=1, help="How many at once."),
    timeout: float = typer.Option(None, help="Seconds for each."),
    as_json: bool = Json,
) -> None:
    """Run a function in the browsers of businesses; one failure never stops the rest.

    Example:  raypool run post.py:publish business-1 business-2
    """
    from raypool.wiring import connect

    fn, failed = load_function(function), 0
    with connect(say=say) as pool:
        for outcome in pool.map(
            fn, businesses, concurrency=concurrency, timeout=timeout, progress=not as_json
        ):
            failed += not outcome.ok
            if as_json:
                print_json({"business_id": outcome.business_id, "ok": outcome.ok,
                            "value": outcome.value, "error": _error(outcome.error),
                            "seconds": round(outcome.seconds, 3)})  # fmt: skip
            else:
                what = outcome.value if outcome.ok else _error(outcome.error)
                out.print(f"{outcome.business_id}: {what}", style=None if outcome.ok else "red")
    if failed:
        raise typer.Exit(FAILED)


def _error(error: Exception | None) -> str | None:
    return None if error is None else str(error)


def load_function(reference: str) -> Callable[..., Any]:
    """Return the function that ``FILE:FUNCTION`` names.

    Raises:
        ConfigurationError: There is no such file, or no such function in it.
    """
    path_text, _, name = reference.rpartition(":")
    path = Path(path_text)
    if not path_text or not path.is_file():
        raise create_error(
            ErrorCodes.CONFIG_INVALID_ARGUMENT,
            f"{reference!r} is not FILE:FUNCTION with a file that exists",
            recovery="For example: raypool run post.py:publish business-1",
        )
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None  # noqa: S101 -- a path that is a file always gives one
    assert spec.loader is not None  # noqa: S101
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.parent.absolute()))
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    found = getattr(module, name, None)
    if not callable(found):
        raise create_error(ErrorCodes.CONFIG_INVALID_ARGUMENT, f"{path} has no function {name!r}")
    return found  # type: ignore[no-any-return]

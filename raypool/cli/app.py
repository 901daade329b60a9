"""The application, and what every command shares: output, errors, exit codes."""

import json
import sys
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape

from raypool.errors import ErrorCategory, ErrorCodes, RaypoolError

FAILED, WRONG_USE, NOT_REACHABLE = 1, 2, 3
_UNREACHABLE = {ErrorCodes.NETWORK_RAY_UNREACHABLE, ErrorCodes.STORAGE_UNAVAILABLE}

app = typer.Typer(
    name="raypool",
    help="A fleet of real, signed-in browsers that never lose their sign-in.",
    epilog="Example:  raypool up && raypool run post.py:publish business-1 business-2",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
out = Console(markup=False, highlight=False)  # what sites and errors say is no markup
err = Console(stderr=True)

Json = typer.Option(False, "--json", help="Print JSON on standard output.")


def say(line: str) -> None:
    """Tell a person what is being done; never on standard output, which belongs to results."""
    print_line(f"• {line}", err)


def print_line(line: str, console: Console = out) -> None:
    """Print one line of text, never broken: a terminal wraps it, a program may search it."""
    console.print(line, highlight=False, soft_wrap=True)


def print_json(data: Any) -> None:
    """Print one JSON document."""
    print(json.dumps(data, default=str, ensure_ascii=False))  # noqa: T201 -- this is the output


def main() -> None:
    """Run the command line."""
    from raypool.cli import (  # noqa: F401 -- they register commands
        carrying,
        fleet,
        keys,
        operations,
        sessions,
        tools,
        versions,
    )

    debug = "--debug" in sys.argv
    arguments = [a for a in sys.argv[1:] if a != "--debug"]
    try:
        app(arguments)  # ends the process itself: 0, or 2 for wrong use
    except RaypoolError as error:
        if debug:
            raise
        sys.exit(show_error(error, as_json="--json" in arguments))


def show_error(error: RaypoolError, *, as_json: bool) -> int:
    """Show an error as one sentence, its hint and its trace id; return the exit code."""
    if as_json:
        print_json({"error": error.to_dict()})
    print_line(f"[red]error:[/] {plain(error.message)}", err)
    print_line(f"  {plain(error.recovery)}", err)
    if error.trace_id:
        print_line(f"  trace id {error.trace_id}", err)
    if error.code in _UNREACHABLE:
        return NOT_REACHABLE
    return WRONG_USE if error.category is ErrorCategory.CONFIGURATION else FAILED


def plain(text: str) -> str:
    """Return *text* for a console that reads markup, as it stands."""
    return escape(text)

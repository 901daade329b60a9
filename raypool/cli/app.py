"""The application, and what every command shares: output, errors, exit codes."""

import json
import os
import sys
from typing import Any

import click
import typer
from rich.console import Console

from raypool.errors import ErrorCategory, ErrorCodes, RaypoolError

OK, FAILED, WRONG_USE, NOT_REACHABLE = 0, 1, 2, 3
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
out = Console()
err = Console(stderr=True)

Json = typer.Option(False, "--json", help="Print JSON on standard output.")


def say(line: str) -> None:
    """Tell a person what is being done; never on standard output, which belongs to results."""
    err.print(f"• {line}", highlight=False)


def print_json(data: Any) -> None:
    """Print one JSON document."""
    print(json.dumps(data, default=str, ensure_ascii=False))  # noqa: T201 -- this is the output


def main() -> None:
    """Run the command line."""
    from raypool.cli import fleet, sessions, tools  # noqa: F401 -- they register commands

    debug = "--debug" in sys.argv
    arguments = [a for a in sys.argv[1:] if a != "--debug"]
    try:
        code = app(arguments, standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = WRONG_USE
    except (click.exceptions.Abort, KeyboardInterrupt):
        err.print("interrupted")
        code = 130
    except RaypoolError as error:
        if debug:
            raise
        code = show_error(error, as_json="--json" in arguments)
    sys.stdout.flush()
    sys.exit(code or OK)


def show_error(error: RaypoolError, *, as_json: bool) -> int:
    """Show an error as one sentence, its hint and its trace id; return the exit code."""
    if as_json:
        print_json({"error": error.to_dict()})
    err.print(f"[red]error:[/] {_plain(error.message)}", highlight=False)
    err.print(f"  {_plain(error.recovery)}", highlight=False)
    if error.trace_id:
        err.print(f"  trace id {error.trace_id}", highlight=False)
    if error.code in _UNREACHABLE:
        return NOT_REACHABLE
    return WRONG_USE if error.category is ErrorCategory.CONFIGURATION else FAILED


def _plain(text: str) -> str:
    """Escape what rich would take for markup."""
    return text.replace("[", r"\[")


def leave_quietly() -> None:
    """End a process whose standard output was closed by its reader (`raypool … | head`)."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

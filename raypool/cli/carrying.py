"""Commands that carry a session elsewhere: one file out, one file in."""

import asyncio
import sys
from pathlib import Path
from typing import Any

import typer
from rich.markup import escape

from raypool.cli.app import Json, err, print_json, print_line
from raypool.cli.sessions import sessions
from raypool.cli.versions import legible
from raypool.errors import ErrorCodes, create_error
from raypool.model import CheckpointInfo

LONGEST_PASSPHRASE_FILE = 4096

PassphraseFile = typer.Option(
    None,
    "--passphrase-file",
    help="File whose first line is the passphrase; without it, it is asked for.",
)


@sessions.command("export")
def export(
    business: str = typer.Argument(..., metavar="BUSINESS", help="The business's id."),
    file: Path = typer.Argument(..., metavar="FILE", help="Where to; readable by you alone."),
    version: int = typer.Option(None, help="Which version; the newest when not given."),
    playwright: bool = typer.Option(
        False, "--playwright", help="Write Playwright's storage_state: readable by anybody."
    ),
    force: bool = typer.Option(False, "--force", help="Replace a file that is there."),
    passphrase_file: Path = PassphraseFile,
    as_json: bool = Json,
) -> None:
    """Write a business's state into one file, encrypted with a passphrase.

    Example:  raypool sessions export business-1 business-1.raypool
    """
    from raypool import exportfile, fleets
    from raypool.config import Settings

    if playwright and passphrase_file:
        raise typer.BadParameter("a storage_state is not encrypted", param_hint="--passphrase-file")
    if not force:
        exportfile.refuse_existing(file)
    passphrase = None if playwright else _passphrase(passphrase_file, confirm=True)

    def write(versions: Any) -> Any:
        return versions.export_file(
            business,
            file,
            passphrase=passphrase,
            playwright=playwright,
            version=version,
            force=force,
        )

    info = asyncio.run(fleets.look(Settings(), write))
    _say(business, info, as_json, f"version {info.version} of {business} is in {file}.")
    if playwright:
        warning = "whoever can read this file is signed in as the business."
        print_line(f"[yellow]warning:[/] {warning}", err)
        for one in info.warnings:
            print_line(f"[yellow]warning:[/] {escape(legible(one))}", err)


@sessions.command("import")
def import_(
    file: Path = typer.Argument(
        ..., metavar="FILE", help="An export of raypool, or Playwright's storage_state."
    ),
    business: str = typer.Option(
        None, "--business", help="Whose state it becomes; the exported business's when not given."
    ),
    passphrase_file: Path = PassphraseFile,
    as_json: bool = Json,
) -> None:
    """Make the state in a file the newest version of a business.

    A business without a session gets one; one that is live is saved, stopped, and comes up with it.

    Example:  raypool sessions import business-1.raypool --business business-2
    """
    from raypool import exportfile, exports, fleets
    from raypool.config import Settings

    data = exportfile.read(file)
    passphrase = _passphrase(passphrase_file) if exports.is_export(data) else None
    found = exportfile.parse(data, passphrase, business)
    whose = found.about.business_id if business is None else business
    info = asyncio.run(fleets.change(Settings(), whose, lambda v: v.import_state(found, whose)))
    _say(whose, info, as_json, f"{whose} is at version {info.version}, with the state of {file}.")


def _passphrase(file: Path | None, *, confirm: bool = False) -> str:
    if file is None:
        if not sys.stdin.isatty():
            raise typer.BadParameter(
                "there is no terminal to ask for the passphrase on", param_hint="--passphrase-file"
            )
        return str(
            typer.prompt("Passphrase", hide_input=True, confirmation_prompt=confirm, err=True)
        )
    try:
        with file.open(encoding="utf-8-sig") as lines:
            return lines.readline(LONGEST_PASSPHRASE_FILE).rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise create_error(
            ErrorCodes.CONFIG_INVALID_ARGUMENT, f"{file} cannot be read: {why}"
        ) from error


def _say(business: str, info: CheckpointInfo, as_json: bool, line: str) -> None:
    if as_json:
        print_json({"business_id": business, **info.model_dump(mode="json")})
    else:
        print_line(line)

"""Commands about the encryption keys: make one, rotate them."""

import asyncio
from contextlib import nullcontext
from typing import Any

import typer

from raypool.cli.app import FAILED, Json, app, err, plain, print_json, print_line

keys = typer.Typer(help="Make and rotate encryption keys.", no_args_is_help=True)
app.add_typer(keys, name="keys")


@keys.command()
def generate(as_json: bool = Json) -> None:
    """Print a new encryption key, for RAYPOOL_ENCRYPTION_KEYS.

    Example:  export RAYPOOL_ENCRYPTION_KEYS=$(raypool keys generate)
    """
    from raypool.store.crypto import Keyring

    key = Keyring.generate()
    if as_json:
        print_json({"key": key})
    else:
        print(key)  # noqa: T201 -- nothing else may stand on the line


@keys.command()
def rotate(as_json: bool = Json) -> None:
    """Wrap every session's key anew with the first key of RAYPOOL_ENCRYPTION_KEYS.

    Safe beside a fleet whose processes all have that key, and may be broken off and run again.

    Example:  RAYPOOL_ENCRYPTION_KEYS=$NEW,$OLD raypool keys rotate
    """
    from raypool import fleets
    from raypool.config import Settings

    done = asyncio.run(fleets.with_records(Settings(), lambda m: _rotated(m, show=not as_json)))
    if as_json:
        print_json(done.model_dump(mode="json"))
    else:
        _show(done)
    if done.failures:
        raise typer.Exit(FAILED)


async def _rotated(manager: Any, *, show: bool) -> Any:
    from raypool.progress import bar

    sessions = await manager.key_rotation.sessions()
    with bar("sessions", len(sessions)) if show else nullcontext(lambda: None) as advance:
        return await manager.key_rotation.rotate(sessions, advance)


def _show(done: Any) -> None:
    print_line(f"{done.rotated} keys are wrapped with {done.key_id} now, {done.skipped} were.")
    for failure in done.failures:
        held = f" (wrapped with key {failure.key_id})" if failure.key_id else ""
        print_line(f"[red]failed:[/] {plain(failure.what)}{held}: {plain(failure.why)}", err)
    if done.retired:
        print_line(
            f"Nothing needs {', '.join(done.retired)} any more: take it out of "
            f"RAYPOOL_ENCRYPTION_KEYS as soon as every process was started with {done.key_id} first."
        )
    elif done.failures:
        print_line("Keep every old key in RAYPOOL_ENCRYPTION_KEYS until nothing fails.")

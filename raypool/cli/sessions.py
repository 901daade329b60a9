"""Commands about session records. They need Redis, not Ray."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import typer
from rich.table import Table

from raypool.cli.app import Json, app, out, print_json
from raypool.cli.versions import table_of
from raypool.errors import SessionNotFound
from raypool.model import Session
from raypool.redaction import HIDDEN
from raypool.spec import SECRET_OPTIONS

T = TypeVar("T")
sessions = typer.Typer(help="List, show, delete, export and import sessions.", no_args_is_help=True)
app.add_typer(sessions, name="sessions")


def _with_records(work: Callable[[Any], Awaitable[T]]) -> T:
    from raypool import fleets
    from raypool.config import Settings

    return asyncio.run(fleets.with_records(Settings(), work))


@sessions.command("list")
def list_(
    business: str = typer.Option(None, help="Only those of this business."), as_json: bool = Json
) -> None:
    """List the sessions: who, status, what is desired, newest checkpoint, expiry."""

    async def read(manager: Any) -> Any:
        if business:
            return await manager.get_sessions_by_business(business)
        return await manager.list_sessions()

    found = _with_records(read)
    if as_json:
        print_json([shown(s) for s in found])
        return
    table = Table("session", "business", "status", "desired", "checkpoint", "expires")
    for s in found:
        expires = s.expires_at.strftime("%Y-%m-%d %H:%M:%S UTC")
        table.add_row(s.id, s.business_id, s.status, s.desired, str(s.checkpoint_version), expires)
    out.print(table)


def shown(session: Session) -> dict[str, Any]:
    """Return a session as people may see it: what may hold a password is hidden."""
    data = session.model_dump(mode="json")
    options = data["spec"]["context"]
    data["spec"]["context"] = {k: HIDDEN if k in SECRET_OPTIONS else v for k, v in options.items()}
    return data


@sessions.command()
def show(session: str = typer.Argument(..., help="Session id."), as_json: bool = Json) -> None:
    """Show one session and its checkpoints (names and sizes, never contents)."""

    async def read(manager: Any) -> Any:
        found = await manager.get_session(session)
        if found is None:
            raise SessionNotFound(f"there is no session {session!r}")
        return found, await manager.checkpoints.list(session)

    found, versions = _with_records(read)
    data = shown(found)
    if as_json:
        print_json({**data, "checkpoints": [v.model_dump(mode="json") for v in versions]})
        return
    for name, value in data.items():
        out.print(f"{name:20} {value}")
    out.print(table_of(versions))


@sessions.command()
def delete(session: str = typer.Argument(..., help="Session id."), as_json: bool = Json) -> None:
    """Delete a session with all its checkpoints, at once and for good."""
    _with_records(lambda manager: manager.delete_session(session))
    if as_json:
        print_json({"deleted": session})
    else:
        out.print(f"{session} is gone.")

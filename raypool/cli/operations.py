"""Commands that look after a fleet: rest, wake, move, unlock."""

import asyncio
from typing import Any

import typer
from rich.table import Table

from raypool.cli.app import FAILED, Json, app, err, out, plain, print_json, print_line

Business = typer.Argument(..., metavar="BUSINESS", help="The business's id.")
_SHOWN = 12
"""Characters of a node's id; Ray's ids are random, so as many tell any two apart."""
_ENOUGH = 4
"""Characters that name a node: an empty shell variable must not name the only one there is."""
Timeout = typer.Option(120.0, help="Seconds to wait.")


@app.command()
def hibernate(business: str = Business, as_json: bool = Json) -> None:
    """Save a business and close its browser. The next call wakes it.

    Example:  raypool hibernate business-1
    """
    from raypool import fleets
    from raypool.config import Settings

    asyncio.run(fleets.operate(Settings(), lambda pool: pool.hibernate(business)))
    _say(as_json, {"business_id": business, "hibernated": True}, f"{business} is hibernated.")


@app.command()
def wake(business: str = Business, as_json: bool = Json) -> None:
    """Bring a hibernated or stopped business up, restored, and wait until it is ready.

    Example:  raypool wake business-1
    """
    from raypool import fleets
    from raypool.config import Settings

    asyncio.run(fleets.operate(Settings(), lambda pool: pool.wake(business)))
    _say(as_json, {"business_id": business, "ready": True}, f"{business} is ready.")


@app.command()
def release(business: str = Business, as_json: bool = Json) -> None:
    """Let a business out of quarantine; it is started again when it is desired.

    Example:  raypool release business-1
    """
    from raypool import fleets
    from raypool.config import Settings

    asyncio.run(fleets.release(Settings(), business))
    _say(as_json, {"business_id": business, "released": True}, f"{business} is out of quarantine.")


@app.command()
def unlock(
    business: str = Business,
    reason: str = typer.Option(..., help="Why, for the audit log."),
    yes: bool = typer.Option(False, "--yes", "-y", help="Do not ask."),
    as_json: bool = Json,
) -> None:
    """Break the lease of a business whose holder is known to be gone.

    The holder can write nothing any more, but a browser that still runs somewhere may act until it
    next renews. Who did it and why is in the audit log.

    Example:  raypool unlock business-1 --reason "node-3 burnt down"
    """
    from raypool import fleets
    from raypool.config import Settings

    if not yes:
        typer.confirm(f"Break the lease of {business}, whoever holds it?", abort=True, err=True)
    lease = asyncio.run(fleets.unlock(Settings(), business, reason))
    taken = lease.holder.model_dump() if lease else None
    held = f"it was held by {_holder(taken)}" if taken else "nobody held it"
    _say(as_json, {"business_id": business, "taken_from": taken}, f"{business} is free: {held}.")


@app.command("hand-over")
def hand_over(
    business: str = Business,
    to: str = typer.Option(..., "--to", help="The other cluster's name (its RAYPOOL_CLUSTER)."),
    timeout: float = Timeout,
    as_json: bool = Json,
) -> None:
    """Move a business to another cluster on the same Redis: saved, released, adopted there.

    Example:  raypool hand-over business-1 --to frankfurt
    """
    from raypool import fleets
    from raypool.config import Settings

    asyncio.run(fleets.operate(Settings(), lambda pool: pool.hand_over(business, to, timeout)))
    _say(as_json, {"business_id": business, "cluster": to}, f"{business} belongs to {to} now.")


@app.command()
def drain(
    node: str = typer.Argument(
        ..., metavar="NODE", help="Its id as `raypool nodes` shows it, or how it begins."
    ),
    timeout: float = typer.Option(60.0, help="Seconds that running functions get to end."),
    as_json: bool = Json,
) -> None:
    """Empty a node for good: each business is saved, then comes up on another node.

    Example:  raypool drain 5f3c && ssh node-3 sudo reboot
    """
    from raypool import fleets
    from raypool.config import Settings

    async def emptied(pool: Any) -> tuple[str, list[dict[str, Any]]]:
        node_id = _whole([n["node_id"] for n in await pool.nodes()], node)
        return node_id, await pool.drain(node_id, timeout)

    node_id, unsaved = asyncio.run(fleets.operate(Settings(), emptied))
    _say(as_json, {"node_id": node_id, "unsaved": unsaved}, f"{node_id[:_SHOWN]} is empty.")
    for stop in unsaved:
        print_line(f"[red]not saved:[/] {plain(stop['business_id'])}: {plain(stop['why'])}", err)
    if unsaved:
        raise typer.Exit(FAILED)


@app.command()
def nodes(as_json: bool = Json) -> None:
    """Show the nodes: their places, memory, whether they are draining, and orphan browsers."""
    from raypool import fleets
    from raypool.config import Settings

    found = asyncio.run(fleets.operate(Settings(), lambda pool: pool.nodes()))
    if as_json:
        print_json(found)
        return
    table = Table("node", "address", "state", "places", "browsers", "orphans", "free memory")
    for node in found:
        table.add_row(*_cells(node))
    out.print(table)


@app.command()
def sites(as_json: bool = Json) -> None:
    """Show the sites that failed lately: `open` keeps every business away until the time shown."""
    from raypool import fleets
    from raypool.config import Settings

    found = asyncio.run(fleets.sites(Settings()))
    if as_json:
        print_json([breaker.model_dump(mode="json") for breaker in found])
        return
    table = Table("site", "breaker", "failures", "next try (UTC)")
    for breaker in found:
        at = f"{breaker.retry_at:%H:%M:%S}" if breaker.retry_at else "—"
        table.add_row(breaker.site, breaker.state, str(breaker.failures), at)
    out.print(table if found else "No site has failed lately.")


def _whole(node_ids: list[str], beginning: str) -> str:
    """Return the one id that begins so; what is too short or fits none or several, as it stands."""
    found = [node_id for node_id in node_ids if node_id.startswith(beginning)]
    return found[0] if len(found) == 1 and len(beginning) >= _ENOUGH else beginning


def _cells(node: dict[str, Any]) -> list[str]:
    said = node["janitor"] or {}
    draining = node["draining_deadline"] is not None
    state = "dead" if not node["alive"] else "draining" if draining else "up"
    memory = f"{said['memory_available'] / 2**30:.1f} GB" if said else "—"
    return [
        node["node_id"][:_SHOWN], node["address"], state, str(node["slots"]),
        str(said.get("browsers", "—")), str(said.get("orphans", "—")), memory,
    ]  # fmt: skip


def _holder(holder: dict[str, Any]) -> str:
    return f"{holder['kind']} {holder['id'][:8]} of cluster {holder['cluster'] or '?'}"


def _say(as_json: bool, data: dict[str, Any], line: str) -> None:
    if as_json:
        print_json(data)
    else:
        print_line(plain(line))

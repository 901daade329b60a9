"""How people and programs read an audit."""

from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from raypool.audit import Action, Finding
from raypool.doctor.fleet_audit import Audited

_REPAIRS = {
    Action.KILL: "kill the browser",
    Action.REMOVE: "remove the directory",
    Action.RELEASE: "release the lease",
}
_BY_PERSON = "look at it: nothing is done without you"


def to_json(audited: Audited) -> dict[str, Any]:
    """Return ``{"ok", "findings", "repaired", "notes"}``, JSON-ready."""
    return {
        "ok": not audited.findings and audited.complete,
        "findings": [_data(finding) for finding in audited.findings],
        "repaired": [_data(finding) for finding in audited.repaired],
        "notes": list(audited.notes),
    }


def render(audited: Audited, console: Console) -> None:
    """Print what disagrees as a table, what was done about it, and a line that sums it up."""
    if audited.findings:
        table = Table(pad_edge=False)
        for heading in ("business", "disagreement", "what", "repair"):
            table.add_column(heading, overflow="fold")
        for found in audited.findings:
            # Text, not str: an id or a path may hold brackets, which rich would take for markup.
            row = (found.business_id or "—", found.kind, found.what, _repair(found))
            table.add_row(*map(Text, row))
        console.print(table)
    for done in audited.repaired:
        what = f"repaired ({_repair(done)}): {done.business_id}: {done.what}"
        console.print(Text(what), soft_wrap=True)
    for note in audited.notes:
        console.print(Text(f"note: {note}"), soft_wrap=True)
    console.print(Text(_summary(audited)), soft_wrap=True)


def _summary(audited: Audited) -> str:
    looked_at = "what was looked at" if audited.notes else "records, leases, actors and processes"
    if not audited.findings:
        return f"Everything agrees: {looked_at}."
    mendable = sum(finding.repair is not None for finding in audited.findings)
    advice = f"; `raypool doctor --audit --repair` mends {mendable}" if mendable else ""
    return f"{len(audited.findings)} disagreements{advice}."


def _repair(finding: Finding) -> str:
    return _REPAIRS[finding.repair.action] if finding.repair else _BY_PERSON


def _data(finding: Finding) -> dict[str, Any]:
    return asdict(finding)

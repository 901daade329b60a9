"""Commands that need no fleet: demo, doctor, browser."""

import asyncio

import typer

from raypool.cli.app import FAILED, NOT_REACHABLE, Json, app, err, out, print_json, say


@app.command()
def demo(as_json: bool = Json) -> None:
    """Three businesses sign in, two are killed, all go on without signing in again."""
    from raypool import logs
    from raypool.demo.run import run

    logs.configure(level="ERROR")
    result = run(err if as_json else out)
    print_json(result.as_dict())
    if not result.ok:
        raise typer.Exit(FAILED)


@app.command()
def doctor(
    audit: bool = typer.Option(
        False, "--audit", help="Compare records, leases, actors, processes and directories instead."
    ),
    repair: bool = typer.Option(
        False, "--repair", help="With --audit: mend what can be mended without harm."
    ),
    as_json: bool = Json,
) -> None:
    """Check Redis, Ray, Chromium (and Postgres, if DATABASE_URL is set): what it saw, what to do.

    Example:  raypool doctor --audit --repair   (orphans killed, remains removed, dead leases released)
    """
    from raypool import doctor as checks
    from raypool.config import Settings

    if repair and not audit:
        raise typer.BadParameter("it belongs to --audit", param_hint="--repair")
    if audit:
        raise typer.Exit(_audit(repair=repair, as_json=as_json))
    found = asyncio.run(checks.examine(Settings()))
    if as_json:
        print_json(checks.to_json(found))
    else:
        checks.render(found, out)
    raise typer.Exit(checks.exit_code(found))


def _audit(*, repair: bool, as_json: bool) -> int:
    from raypool.config import Settings
    from raypool.doctor import findings
    from raypool.doctor.fleet_audit import audit_fleet

    audited = asyncio.run(audit_fleet(Settings(), repair=repair))
    if as_json:
        print_json(findings.to_json(audited))
    else:
        findings.render(audited, out)
    if audited.findings:
        return FAILED
    return 0 if audited.complete else NOT_REACHABLE


@app.command("install-browser")
def install_browser(
    full: bool = typer.Option(False, "--full", help="The full Chromium, not the headless shell."),
    as_json: bool = Json,
) -> None:
    """Find a Chromium, or install one (Playwright's download, then the system's package)."""
    from raypool.browser.executable import install_chromium
    from raypool.config import Settings

    found = install_chromium("chromium" if full else "headless_shell", Settings().chromium, say)
    if as_json:
        print_json({"path": str(found.path), "source": found.source})
    else:
        out.print(f"Chromium: {found.path} ({found.source})")

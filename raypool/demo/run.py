"""The demo: three businesses sign in, two are killed, all three go on without signing in again."""

import contextlib
import os
import signal
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from raypool.browser.processes import living_browsers
from raypool.config import Settings
from raypool.demo.flows import publish, sign_in
from raypool.demo.site import DemoSite
from raypool.spec import Probe
from raypool.sync_pool import Pool
from raypool.wiring import connect

BUSINESSES = ("bakery", "bookshop", "florist")
ORPHAN_PATIENCE_S = 10.0


@dataclass
class Result:
    """What the demo proves; the contract's JSON line."""

    businesses: int = len(BUSINESSES)
    signed_in: int = 0
    killed: int = 0
    signed_in_after_kill: int = 0
    recovery_s: list[float] = field(default_factory=list)
    orphans: int = 0

    @property
    def ok(self) -> bool:
        """Whether everything held."""
        all_in = self.signed_in == self.signed_in_after_kill == self.businesses
        return all_in and self.orphans == 0

    def as_dict(self) -> dict[str, Any]:
        """Return the contract's JSON object."""
        return asdict(self)


@dataclass
class Row:
    """One business in the table at the end."""

    signed_in: str = ""
    killed: str = "—"
    recovery: str = "—"
    after: str = ""
    posts: int = 0


def run(console: Console) -> Result:
    """Do the whole job, telling *console* each step; leaves no process and no file behind."""
    result, rows = Result(), {business: Row() for business in BUSINESSES}
    with DemoSite() as site, _own_fleet() as settings:
        with connect(settings, say=lambda line: console.print(f"• {line}")) as pool:
            _sign_in_all(pool, site, result, rows, console)
            _kill_and_recover(pool, site, result, rows, console)
            _go_on(pool, site, result, rows, console)
            console.print("• everything is saved and taken down …")
        result.orphans = _orphans()
    console.print(_table(rows, site))
    return result


def _sign_in_all(
    pool: Pool, site: DemoSite, result: Result, rows: dict[str, Row], console: Console
) -> None:
    console.print(f"• {len(BUSINESSES)} businesses sign in at {site.url} …")
    for business in BUSINESSES:
        email = f"owner@{business}.example"
        password = site.add_account(email)
        pool.get_or_create_instance(business, email=email, probe=Probe(cookie="session"))
        rows[business].signed_in = pool.run(business, sign_in, site.url, {email: password})
        result.signed_in += rows[business].signed_in == email
    for outcome in pool.map(publish, BUSINESSES, site.url, "We are open", concurrency=3):
        rows[outcome.business_id].posts = outcome.value or 0


def _kill_and_recover(
    pool: Pool, site: DemoSite, result: Result, rows: dict[str, Row], console: Console
) -> None:
    victims = (("bakery", "actor", "pid"), ("bookshop", "Chromium", "browser_pid"))
    for business, what, attribute in victims:
        pid = getattr(pool.status(business), attribute)
        console.print(f"• SIGKILL for the {what} of {business} (pid {pid}) …")
        os.kill(pid, signal.SIGKILL)
        killed_at = time.monotonic()
        result.killed += 1
        rows[business].posts = pool.run(
            business, publish, site.url, "Still here", timeout=30, idempotent=True
        )
        seconds = round(time.monotonic() - killed_at, 2)
        result.recovery_s.append(seconds)
        rows[business].killed, rows[business].recovery = what, f"{seconds:.2f} s"


def _go_on(
    pool: Pool, site: DemoSite, result: Result, rows: dict[str, Row], console: Console
) -> None:
    console.print("• all of them publish again …")
    for outcome in pool.map(publish, BUSINESSES, site.url, "Good night", concurrency=3):
        # Signed in still, and never signed in again: the site counts.
        still = outcome.ok and site.sign_ins == len(BUSINESSES)
        result.signed_in_after_kill += still
        rows[outcome.business_id].after = "yes" if still else f"no: {outcome.error}"
        rows[outcome.business_id].posts = outcome.value or 0


@contextlib.contextmanager
def _own_fleet() -> Iterator[Settings]:
    """A fleet of the demo's own, so that it can neither use nor disturb another one."""
    with tempfile.TemporaryDirectory(prefix="raypool-demo-") as directory:
        yield Settings(
            redis_url=None,
            ray_address=None,
            redis_prefix="demo:",
            encryption_keys=None,
            data_dir=Path(directory),
            dashboard=False,
            log_level="ERROR",
        )


def _orphans() -> int:
    deadline = time.monotonic() + ORPHAN_PATIENCE_S
    while True:
        left = [b for b in living_browsers() if b.business_id in BUSINESSES]
        if not left or time.monotonic() > deadline:
            return len(left)
        time.sleep(0.1)


def _table(rows: dict[str, Row], site: DemoSite) -> Table:
    table = Table(title=f"{site.sign_ins} sign-ins in all")
    for heading in ("business", "signed in as", "killed", "back after", "still signed in", "posts"):
        table.add_column(heading)
    for business, row in rows.items():
        table.add_row(business, row.signed_in, row.killed, row.recovery, row.after, str(row.posts))
    return table

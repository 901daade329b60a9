"""What the site knows, in a file: accounts, families of cookies, actions, and who pinged when."""

from __future__ import annotations

import hmac
import secrets
import sqlite3
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tests.sites.rotating.rotation import Family, Verdict, show

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_SCHEMA = """
CREATE TABLE IF NOT EXISTS accounts (
    email TEXT PRIMARY KEY, password TEXT, sign_ins INT DEFAULT 0, replays INT DEFAULT 0,
    sign_outs INT DEFAULT 0, repeats INT DEFAULT 0);
CREATE TABLE IF NOT EXISTS families (
    id TEXT PRIMARY KEY, email TEXT, newest INT, shown INT, forgiven INT, alive INT);
CREATE TABLE IF NOT EXISTS actions (
    email TEXT, key TEXT, by TEXT, at REAL, PRIMARY KEY (email, key));
CREATE TABLE IF NOT EXISTS pings (email TEXT, document TEXT, at REAL);
CREATE TABLE IF NOT EXISTS secret (value TEXT);
"""


class Book:
    """The site's memory. Each method is one transaction; a killed process loses none that ended.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._base = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        # What was written outlives the process; the machine itself is not what dies here.
        self._base.executescript(f"PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF; {_SCHEMA}")
        with self._written() as base:
            if base.execute("SELECT 1 FROM secret").fetchone() is None:
                base.execute("INSERT INTO secret VALUES (?)", (secrets.token_hex(16),))
        (self._secret,) = self._base.execute("SELECT value FROM secret").fetchone()

    def close(self) -> None:
        """Close the file."""
        self._base.close()

    def ensure_accounts(self, count: int) -> list[dict[str, str]]:
        """Return *count* accounts, made when missing."""
        with self._written() as base:
            for number in range(1, count + 1):
                base.execute(
                    "INSERT OR IGNORE INTO accounts (email, password) VALUES (?, ?)",
                    (f"owner@rotating-{number}.example", secrets.token_urlsafe(9)),
                )
            found = base.execute("SELECT email, password FROM accounts ORDER BY rowid").fetchall()
        return [{"email": email, "password": password} for email, password in found]

    def sign_in(self, email: str, password: str) -> str | None:
        """Begin a family and return its first cookie; None for a wrong password."""
        with self._written() as base:
            row = base.execute("SELECT password FROM accounts WHERE email=?", (email,)).fetchone()
            if row is None or not hmac.compare_digest(row[0].encode(), password.encode()):
                return None
            base.execute("UPDATE accounts SET sign_ins = sign_ins + 1 WHERE email=?", (email,))
            name = secrets.token_hex(6)
            self._keep(base, name, email, Family())
            return self._cookie(name, 0)

    def show(self, cookie: str) -> tuple[str, str] | None:
        """Take note of a cookie that was shown; return e-mail and next cookie, None: signed out."""
        name, number = self._read(cookie)
        with self._written() as base:
            row = base.execute("SELECT * FROM families WHERE id=?", (name,)).fetchone()
            if row is None:
                return None
            before = Family(row[2], row[3], bool(row[4]), bool(row[5]))
            after, verdict = show(before, number)
            self._keep(base, name, row[1], after)
            self._count(base, row[1], verdict, ended=before.alive and not after.alive)
        return None if verdict is Verdict.REPLAYED else (row[1], self._cookie(name, after.newest))

    def act(self, email: str, key: str, by: str) -> None:
        """Do what *key* stands for, once."""
        with self._written() as base:
            done = base.execute(
                "INSERT OR IGNORE INTO actions VALUES (?, ?, ?, ?)",
                (email, key, by, time.monotonic()),
            )
            if not done.rowcount:
                base.execute("UPDATE accounts SET repeats = repeats + 1 WHERE email=?", (email,))

    def ping(self, email: str, document: str) -> None:
        """Take note that a page of *email* is alive."""
        with self._written() as base:
            base.execute("INSERT INTO pings VALUES (?, ?, ?)", (email, document, time.monotonic()))

    def actions(self, email: str) -> int:
        """Return how many different actions were done."""
        with self._lock:
            found = self._base.execute("SELECT COUNT(*) FROM actions WHERE email=?", (email,))
            (count,) = found.fetchone()
        return int(count)

    def log(self, email: str) -> dict[str, Any]:
        """Return all that the account did: counters, actions in order, pings of each document."""
        with self._lock:
            execute = self._base.execute
            names = ("sign_ins", "replays", "sign_outs", "repeats")
            counted = execute(f"SELECT {','.join(names)} FROM accounts WHERE email=?", (email,))
            counters = dict(zip(names, counted.fetchone(), strict=True))
            done = execute("SELECT key, by, at FROM actions WHERE email=? ORDER BY at", (email,))
            actions = done.fetchall()
            heard = execute("SELECT document, at FROM pings WHERE email=? ORDER BY at", (email,))
            pings: dict[str, list[float]] = {}
            for document, at in heard:
                pings.setdefault(document, []).append(at)
        return {**counters, "actions": actions, "pings": pings}

    def _count(self, base: Any, email: str, verdict: Verdict, *, ended: bool) -> None:
        if verdict is not Verdict.RIGHT:
            base.execute("UPDATE accounts SET replays = replays + 1 WHERE email=?", (email,))
        if ended:
            base.execute("UPDATE accounts SET sign_outs = sign_outs + 1 WHERE email=?", (email,))

    def _keep(self, base: Any, name: str, email: str, family: Family) -> None:
        base.execute(
            "INSERT OR REPLACE INTO families VALUES (?, ?, ?, ?, ?, ?)",
            (name, email, family.newest, family.shown, family.forgiven, family.alive),
        )

    def _cookie(self, name: str, number: int) -> str:
        return f"{name}.{number}.{self._sign(name, number)}"

    def _read(self, cookie: str) -> tuple[str, int]:
        name, _, rest = cookie.partition(".")
        number, _, signature = rest.partition(".")
        if not number.isdigit() or signature != self._sign(name, int(number)):
            return "", 0
        return name, int(number)

    def _sign(self, name: str, number: int) -> str:
        return hmac.digest(self._secret.encode(), f"{name}.{number}".encode(), "sha256").hex()[:24]

    @contextmanager
    def _written(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._base.execute("BEGIN IMMEDIATE")
            try:
                yield self._base
            except BaseException:
                self._base.execute("ROLLBACK")
                raise
            self._base.execute("COMMIT")

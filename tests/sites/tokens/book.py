"""What a site knows of its sign-ins."""

from __future__ import annotations

import secrets
import threading
from dataclasses import replace

from tests.sites.rotating.rotation import Family, Verdict, show


class Book:
    """Tokens that were given out, ``<sign-in>.<number>``; kept in memory only."""

    def __init__(self) -> None:
        self.sign_ins = 0
        self.renewals = 0
        self._families: dict[str, Family] = {}
        self._lock = threading.Lock()

    def sign_in(self) -> str:
        """Return the first token of a new sign-in."""
        name = secrets.token_hex(8)
        with self._lock:
            self.sign_ins += 1
            self._families[name] = Family()
        return f"{name}.0"

    def knows(self, token: str) -> bool:
        """Tell whether *token* is the newest of a sign-in that lasts."""
        name, number = _read(token)
        family = self._families.get(name)
        return family is not None and family.alive and family.newest == number

    def renew(self, token: str) -> str | None:
        """Return the token after *token*; None, and the sign-in is over, when an older one is shown."""
        name, number = _read(token)
        with self._lock:
            if name not in self._families:
                return None
            family, verdict = show(self._families[name], number)
            self._families[name] = family
            if verdict is Verdict.REPLAYED:
                return None
            self.renewals += 1
        return f"{name}.{family.newest}"

    def sign_out(self, name: str) -> None:
        """End a sign-in; no matter when there is none."""
        with self._lock:
            if name in self._families:
                self._families[name] = replace(self._families[name], alive=False)


def _read(token: str) -> tuple[str, int]:
    name, _, number = token.partition(".")
    return name, int(number) if number.isdigit() else -1

"""What is read out of saved cookies. Pure."""

from collections.abc import Mapping

from raypool.state.areas import COOKIES
from raypool.state.form import decode


def cookie_names(parts: Mapping[str, bytes]) -> frozenset[tuple[str, str]]:
    """Return domain and name of each cookie: what changes when somebody signs in or out."""
    cookies = decode(COOKIES, parts[COOKIES]) if COOKIES in parts else []
    return frozenset((str(c.get("domain", "")), str(c.get("name", ""))) for c in cookies)

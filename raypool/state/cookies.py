"""What is read out of saved cookies. Pure."""

from collections.abc import Mapping

from raypool.state.areas import COOKIES
from raypool.state.form import decode


def session_cookies(parts: Mapping[str, bytes]) -> frozenset[tuple[str, str, str]]:
    """Return what changes when somebody signs in or out: domain and name of each cookie.

    Of those that no script can read the value as well. Sessions are kept in such cookies; what counts
    visitors writes cookies that scripts read, and changes them all the time.
    """
    cookies = decode(COOKIES, parts[COOKIES]) if COOKIES in parts else []
    return frozenset(
        (
            str(cookie.get("domain", "")),
            str(cookie.get("name", "")),
            str(cookie.get("value", "")) if cookie.get("httpOnly") else "",
        )
        for cookie in cookies
    )

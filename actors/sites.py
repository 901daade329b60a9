"""Stay away from a site that is down, all businesses together, until one of them finds it up again."""

import re
from urllib.parse import urlsplit

from actors.ports import Breakers
from raypool.errors import ErrorCodes, RaypoolError, create_error
from raypool.logs import get_logger

log = get_logger(__name__)

_UNREACHABLE = re.compile(
    r"net::ERR_(?:CONNECTION_[A-Z_]+|NAME_NOT_RESOLVED|ADDRESS_UNREACHABLE|TIMED_OUT|EMPTY_RESPONSE"
    r"|INTERNET_DISCONNECTED|NETWORK_CHANGED|SSL_[A-Z_]+|TUNNEL_CONNECTION_FAILED"
    r"|PROXY_CONNECTION_FAILED) at (\S+)"
)
_TIMED_OUT = re.compile(r'Timeout [\d.]+ms exceeded.*?navigating to "([^"]+)"', re.DOTALL)
"""Playwright's words for a page that did not come (``Page.goto``)."""


def site_of(url: str) -> str:
    """Return the site that breakers know an address by, ``host[:port]``; empty for none."""
    split = urlsplit(url)
    return split.netloc.rpartition("@")[2].lower() if split.scheme in {"http", "https"} else ""


def unreachable(error: BaseException) -> str:
    """Return the site that an error says could not be reached; empty when it says nothing of that."""
    found = _UNREACHABLE.search(str(error)) or _TIMED_OUT.search(str(error))
    return site_of(found.group(1)) if found else ""


class SiteGate:
    """What one instance knows of its site, and asks of the breaker that all share.

    Args:
        breakers: Shared through Redis.
    """

    def __init__(self, breakers: Breakers) -> None:
        self._breakers = breakers
        self._troubled = ""
        """The site that failed here last and has not worked since."""

    async def enter(self, url: str) -> None:
        """Return when a command may begin.

        Args:
            url: Where the page is.

        Raises:
            NetworkError: The business's site is down for everybody; ``retry_after`` says how long.
        """
        site = self._troubled or site_of(url)
        if not site:
            return
        breaker = await self._ask(site)
        if breaker is not None and not breaker.lets_through:
            raise create_error(
                ErrorCodes.NETWORK_SITE_UNREACHABLE,
                f"{site} does not answer anybody: {breaker.failures} tries failed; the command was "
                "not begun",
                {"site": site},
                retry_after=breaker.retry_after,
            )

    async def left(self, url: str, error: BaseException | None) -> None:
        """Tell how a command fared."""
        failed = unreachable(error) if error is not None else ""
        if failed:
            self._troubled = failed
            await self._report(failed, ok=False)
        elif error is None and self._troubled and site_of(url) == self._troubled:
            await self._report(self._troubled, ok=True)
            self._troubled = ""

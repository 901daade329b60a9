"""Stay away from a site that is down, all businesses together, until one of them finds it up again."""

import re
from datetime import UTC, datetime
from urllib.parse import urlsplit

from actors.keeper import now
from raypool.errors import ErrorCodes, RaypoolError, create_error
from raypool.logs import get_logger
from raypool.store.base import BreakerStore
from raypool.store.circuit import Breaker, BreakerState

log = get_logger(__name__)

TRUST_S = 5.0
"""A site that was well this long ago is taken to be well: not every command asks."""
_UNREACHABLE = re.compile(
    r"net::ERR_(?:CONNECTION_[A-Z_]+|NAME_NOT_RESOLVED|ADDRESS_UNREACHABLE|TIMED_OUT|EMPTY_RESPONSE"
    r"|SSL_[A-Z_]+) at (\S+)"
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

    Redis being away opens every gate: the breaker protects sites, it must not stop the work.

    Args:
        breakers: Shared through Redis.
    """

    def __init__(self, breakers: BreakerStore) -> None:
        self._breakers = breakers
        self._failed = ""
        """The site that failed here last and has not worked since."""
        self._doubtful = ""
        """The site whose next success is worth a report."""
        self._well_until = 0.0

    async def enter(self, url: str) -> None:
        """Return when a command may begin.

        Args:
            url: Where the page is.

        Raises:
            NetworkError: The business's site is down for everybody; ``retry_after`` says how long.
        """
        site = self._failed or site_of(url)
        if not site or (not self._doubtful and now() < self._well_until):
            return
        breaker = await self._asked(site)
        if breaker is None:
            return
        self._doubtful = site if breaker.failures else ""
        self._well_until = now() + TRUST_S
        if breaker.state is BreakerState.OPEN:
            raise _down(breaker)

    async def left(self, url: str, error: BaseException | None) -> None:
        """Tell how a command fared.

        Args:
            url: Where the page is now.
            error: What the command raised, if it did.
        """
        failed = unreachable(error) if error is not None else ""
        if failed:
            self._failed = self._doubtful = failed
            await self._report(failed, ok=False)
        elif error is None and self._doubtful and site_of(url) == self._doubtful:
            await self._report(self._doubtful, ok=True)
            self._failed = self._doubtful = ""

    async def _asked(self, site: str) -> Breaker | None:
        try:
            return await self._breakers.ask(site)
        except RaypoolError as error:
            log.debug("breaker not asked", site=site, error=error.message)
            return None

    async def _report(self, site: str, *, ok: bool) -> None:
        try:
            breaker = await self._breakers.report(site, ok)
        except RaypoolError as error:
            log.debug("breaker not told", site=site, error=error.message)
            return
        if breaker.state is BreakerState.OPEN:
            log.warning("a site is down for everybody", site=site, failures=breaker.failures)


def _down(breaker: Breaker) -> RaypoolError:
    left = (breaker.retry_at - datetime.now(UTC)).total_seconds() if breaker.retry_at else 0.0
    return create_error(
        ErrorCodes.NETWORK_SITE_UNREACHABLE,
        f"{breaker.site} is down: {breaker.failures} businesses could not reach it; nothing has begun",
        {"site": breaker.site},
        retry_after=max(left, 1.0),
    )

"""What cannot be carried to another browser, found so that people are told."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from raypool.browser.scripts import CanEvaluate, Script

_MOST = 20
_SCRIPT = Script("limits.js")


class CanListen(Protocol):
    """A DevTools session with a page."""

    async def send(self, method: str, params: Mapping[str, Any] | None = None) -> Any:
        """Return what a command answers."""

    def on(self, event: str, handler: Callable[[Mapping[str, Any]], None]) -> None:
        """Call *handler* with the parameters of each such event."""


async def find_limits(document: CanEvaluate, origin: str) -> list[str]:
    """Return a warning for what a document's origin has that is not kept.

    Sites make both anew: a service worker is registered again when its site is visited, and fills its
    caches again.

    Args:
        document: One of the origin.
        origin: Its name for people.

    Raises:
        Exception: The document is gone.
    """
    found = await _SCRIPT.call(document, "findLimits", _MOST)
    warnings = []
    if found["workers"]:
        warnings.append(f"{origin}: service workers are not kept: {', '.join(found['workers'])}")
    if found["caches"]:
        warnings.append(f"{origin}: CacheStorage is not kept: {', '.join(found['caches'])}")
    return warnings


class BoundSessions:
    """Sign-ins that their sites have bound to a key which does not leave this browser (DBSC).

    Such a site asks for a signature by that key whenever its short-lived cookie runs out: in another
    browser the sign-in ends then. Chromium tells of them since version 144
    (https://chromedevtools.github.io/devtools-protocol/tot/Network/#method-enableDeviceBoundSessions).
    Its headless shell takes the command, but has no such sessions: sites cannot begin one there.
    """

    def __init__(self) -> None:
        self._open: set[tuple[str, str]] = set()

    @property
    def warnings(self) -> list[str]:
        """A warning for each site that has one now."""
        sites = sorted({site for site, _ in self._open})
        return [f"{site}: the sign-in is bound to this browser and is not kept" for site in sites]

    async def follow(self, page: CanListen) -> None:
        """Hear of the sessions of a page's context, those that are there already and later ones.

        Raises:
            Exception: The page is gone, or Chromium is too old to tell.
        """
        page.on("Network.deviceBoundSessionsAdded", self._added)
        page.on("Network.deviceBoundSessionEventOccurred", self._occurred)
        await page.send("Network.enableDeviceBoundSessions", {"enable": True})

    def _added(self, event: Mapping[str, Any]) -> None:
        self._open.update((s["key"]["site"], s["key"]["id"]) for s in event["sessions"])

    def _occurred(self, event: Mapping[str, Any]) -> None:
        session = (event["site"], event.get("sessionId", ""))
        if "terminationEventDetails" in event:
            self._open.discard(session)
        elif "creationEventDetails" in event and event["succeeded"]:
            self._open.add(session)

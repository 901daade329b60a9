"""What cannot be carried to another browser, found so that people are told."""

from collections.abc import Mapping
from typing import Any

from raypool.browser.channels import Channel
from raypool.browser.databases import Answers

_MOST = 20


async def find_limits(document: Answers, origin: str) -> list[str]:
    """Return a warning for what a document's origin has that is not kept.

    Sites make both anew: a service worker is registered again when its site is visited, and fills its
    caches again.

    Args:
        document: One of the origin.
        origin: Its name for people.

    Raises:
        Exception: The document is gone.
    """
    found = await document.call("findLimits", _MOST)
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

    async def follow(self, page: Channel) -> None:
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

"""The tabs of a context: what they show, their scroll and their sessionStorage."""

from collections.abc import Iterable, Mapping
from typing import Any

from playwright.async_api import Page

from raypool import state


class Tabs:
    """What is known of each tab."""

    def __init__(self) -> None:
        self.pending: Mapping[Page, str] = {}
        """Pages that could not be brought back to their address, with that address."""
        self._sessions: dict[Page, dict[str, dict[str, str]]] = {}
        self._scrolls: dict[Page, list[int]] = {}

    def restored(self, page: Page, saved: Mapping[str, Any]) -> None:
        """Take over what a tab had when it was saved."""
        sessions = saved.get("sessionStorage") or {}
        self._sessions[page] = {key: dict(items) for key, items in sessions.items()}
        self._scrolls[page] = list(saved.get("scroll") or [0, 0])

    def session(self, page: Page, key: str) -> dict[str, str]:
        """Return a tab's sessionStorage of a storage key, to be changed."""
        return self._sessions.setdefault(page, {}).setdefault(key, {})

    def scrolled(self, page: Page, to: list[int]) -> None:
        """Take note of a tab's scroll, in CSS pixels."""
        self._scrolls[page] = to

    def closed(self, page: Page) -> None:
        """Forget a tab."""
        self._sessions.pop(page, None)
        self._scrolls.pop(page, None)

    def part(self, pages: Iterable[Page], active: Page | None) -> bytes:
        """Return all of it as a part."""
        shown = list(pages)
        index = shown.index(active) if active in shown else 0
        return state.encode({"active": index, "tabs": [self._tab(page) for page in shown]})

    def _tab(self, page: Page) -> dict[str, Any]:
        pending = self.pending.get(page)
        sessions = {key: items for key, items in self._sessions.get(page, {}).items() if items}
        return {
            "url": pending if pending and not page.url.startswith("http") else page.url,
            "scroll": self._scrolls.get(page, [0, 0]),
            "sessionStorage": sessions,
        }

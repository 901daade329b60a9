"""Know a page again through another connection. The one place that looks inside Playwright.

Every connection to a browser calls an object by the same id (``guid``, made by the side that has the
browser). Playwright does not show it in public, and what it shows, like a page's place in the list,
may change between two looks.
"""

from typing import Any


def identify(page: Any) -> str:
    """Return the id under which every connection knows *page*."""
    return str(page._impl_obj._guid)  # noqa: SLF001 -- see above; a test fails when it moves

"""Why a browser did not come up: the machine, or what it was asked for."""

from collections.abc import Mapping
from typing import Any

from playwright.async_api import Browser
from playwright.async_api import Error as PlaywrightError

from raypool.errors import ErrorCodes, create_error


async def takes(browser: Browser, options: Mapping[str, Any]) -> bool:
    """Tell whether *browser* takes these options: if not, they are to blame, and not the state."""
    try:
        await browser.new_context(**dict(options))
    except PlaywrightError:
        return not browser.is_connected()
    return True


def start_failed(error: Exception) -> Exception:
    """Return the error for a Chromium that did not come up."""
    return create_error(
        ErrorCodes.BROWSER_START_FAILED, f"Chromium did not start: {first_line(error)}"
    )


def unfit(error: Exception) -> Exception:
    """Return the error for an option that only Chromium can judge, and that it refused."""
    return create_error(
        ErrorCodes.CONFIG_INVALID_ARGUMENT,
        f"the browser does not take an option of its instance: {first_line(error)}",
        recovery="Call get_or_create_instance with a value that fits, as Playwright's new_context "
        "takes it.",
    )


def first_line(error: BaseException) -> str:
    """Return what *error* says in one line, bounded."""
    lines = (line for line in str(error).splitlines() if line.strip())
    return next(lines, type(error).__name__)[:300]

"""What a person does on these sites; the same on each of them.

Each function is sent by value to the process that owns the browser, so it carries its own imports
and uses no name of this module.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.async_api import Frame, Page


async def sign_in(page: Page, url: str) -> None:
    """Open the site and sign in with its button; returns when a page says that somebody is."""
    await page.goto(url)
    await page.locator("#sign-in").click()
    await page.locator("#who").wait_for()


async def is_signed_in(page: Page | Frame) -> bool:
    """Tell what the page that is open shows, waiting until it knows."""
    who = page.locator("#who")
    await who.or_(page.locator("#sign-in")).filter(visible=True).first.wait_for()
    return await who.is_visible()

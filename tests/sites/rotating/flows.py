"""What a person does on the rotating site, through its real pages.

Each function is sent by value to the process that owns the browser, so it carries its own imports
and uses no name of this module.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.async_api import Page


async def sign_in(page: Page, url: str, email: str, password: str) -> str:
    """Sign in, unless somebody is signed in already; return who is.

    Raises:
        PermissionError: The site refused the credentials.
    """
    await page.goto(f"{url}/app/")
    if page.url.endswith("/sign-in"):
        await page.get_by_label("E-mail").fill(email)
        await page.get_by_label("Password").fill(password)
        async with page.expect_navigation():
            await page.get_by_role("button", name="Sign in").click()
    if page.url.endswith("/sign-in"):
        raise PermissionError(f"the site refused {email}")
    return await page.locator("#who").inner_text()


async def who(page: Page, url: str) -> str | None:
    """Return the e-mail address that is signed in, None if the site asks to sign in."""
    await page.goto(f"{url}/app/")
    return None if page.url.endswith("/sign-in") else await page.locator("#who").inner_text()


async def act(page: Page, url: str, key: str) -> int | None:
    """Do what *key* stands for and return how much was done so far; None: nobody is signed in.

    The site does it once, however often it is asked for. It is told which process asks.
    """
    import os

    await page.goto(f"{url}/app/")
    if page.url.endswith("/sign-in"):
        return None
    await page.get_by_label("Key").fill(key)
    await page.get_by_label("By").fill(str(os.getpid()))
    async with page.expect_navigation():
        await page.get_by_role("button", name="Act").click()
    if page.url.endswith("/sign-in"):
        return None
    return int(await page.locator("#done").inner_text())

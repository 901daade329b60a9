"""What a person does on the test site, through its real pages.

Each function is sent by value to the process that owns the browser, so it carries its own imports
and uses no name of this module.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.async_api import Page


async def sign_in(page: Page, url: str, email: str, password: str, totp_secret: str) -> str:
    """Sign in with password and one-time code; a sign-in that stopped at the code is continued.

    The site refuses a code that was used before and accepts one step of 30 s either way, so the
    neighbours of a refused code are tried: three sign-ins of one user in a row succeed at once.

    Args:
        page: The page to use.
        url: The site's address, without a path.
        email: The user's address.
        password: The user's password.
        totp_secret: The user's secret for one-time codes, in base 32.

    Returns:
        What the page says about who is signed in.

    Raises:
        PermissionError: The site refused the credentials; the message is the site's own.
    """
    import time

    import pyotp

    await page.goto(f"{url}/accounts/login/?next=/posts/")
    code_field = page.get_by_label("Code")
    submit = page.get_by_role("button", name="Sign In")
    refusal = page.locator(".errorlist").first
    if not await code_field.is_visible():
        await page.get_by_label("Email").fill(email)
        await page.get_by_label("Password").fill(password)
        await submit.click()
        await code_field.or_(refusal).wait_for()
        if await refusal.is_visible():
            raise PermissionError(await refusal.inner_text())
    for offset in (0, 1, -1):
        await code_field.fill(pyotp.TOTP(totp_secret).at(time.time(), counter_offset=offset))
        async with page.expect_navigation():
            await submit.click()
        if not await refusal.is_visible():
            return await page.locator("#who").inner_text()
    raise PermissionError(await refusal.inner_text())


async def who(page: Page, url: str) -> str | None:
    """Return the e-mail address that is signed in, None if the site asks to sign in.

    A sign-in that stopped at the one-time code is none: the site asks for the code.
    """
    from urllib.parse import urlsplit

    await page.goto(f"{url}/posts/")
    if urlsplit(page.url).path in {"/accounts/login/", "/accounts/2fa/authenticate/"}:
        return None
    text = await page.locator("#who").inner_text()
    return text.removeprefix("Signed in as ")


async def publish(page: Page, url: str, text: str) -> int:
    """Publish a post through the form and return how many posts the page shows then.

    Raises:
        PermissionError: Nobody is signed in, so nothing was published.
    """
    from urllib.parse import urlsplit

    await page.goto(f"{url}/posts/")
    if urlsplit(page.url).path == "/posts/":
        await page.get_by_label("Text", exact=True).fill(text)
        async with page.expect_navigation():
            await page.get_by_role("button", name="Publish").click()
    if urlsplit(page.url).path != "/posts/":
        raise PermissionError(f"nobody is signed in: publishing led to {page.url}")
    return await page.locator("li.post").count()

"""What the demo's businesses do on the demo's site."""

from typing import Any


async def sign_in(page: Any, url: str, accounts: dict[str, str]) -> str:
    """Sign in with the account of the business whose browser this is; return who is signed in."""
    email, password = accounts.popitem()
    await page.goto(url)
    await page.get_by_label("E-mail").fill(email)
    await page.get_by_label("Password").fill(password)
    await page.get_by_role("button", name="Sign in").click()
    return str(await page.locator("#who").inner_text())


async def publish(page: Any, url: str, text: str) -> int:
    """Publish a post; return how many there are. Fails when the business is not signed in."""
    await page.goto(f"{url}/posts")
    await page.get_by_label("Text").fill(text, timeout=5000)
    await page.get_by_role("button", name="Publish").click()
    return int(await page.locator("#posts").inner_text())

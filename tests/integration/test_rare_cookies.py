"""Cookies that few sites set, from one live browser to the next."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from raypool import state
from tests.integration.browsers import Owner, owned
from tests.integration.pages import Pages


@pytest.fixture(scope="module")
def pages() -> Iterator[Pages]:
    """The site."""
    with Pages() as pages:
        yield pages


@pytest.fixture(params=["headless_shell", "chromium"])
def kind(request: pytest.FixtureRequest) -> str:
    """Both browsers."""
    return str(request.param)


async def _cookies(owner: Owner) -> tuple[Mapping[str, bytes], dict[str, Any]]:
    parts = (await owner.live.collect(everything=True)).parts
    return parts, {c["name"]: c for c in state.decode(state.COOKIES, parts[state.COOKIES])}


async def test_cookies_of_a_frame_without_credentials_end_with_their_page(
    kind: str, pages: Pages
) -> None:
    """Their partition has no name: put back they would be cookies of the whole site."""
    async with owned(kind) as owner:
        page = await owner.live.page()
        await page.goto(f"http://www.shop.localhost:{pages.port}/anonymous")
        await owner.live.context.add_cookies([{"name": "own", "value": "1", "url": pages.url}])
        held = await owner.live.context.cookies()
        assert "secure" in {cookie["name"] for cookie in held}
        saved, cookies = await _cookies(owner)
    assert cookies.keys() == {"own"}
    async with owned(kind, saved) as owner:
        assert (await _cookies(owner))[1].keys() == {"own"}


async def test_a_cookie_of_an_encrypted_site_comes_back_as_it_was(kind: str, pages: Pages) -> None:
    """Chromium keeps by which scheme and port a cookie came, and binds it to them more and more."""
    async with owned(kind) as owner:
        context, page = owner.live.context, await owner.live.page()

        async def answer(route: Any) -> None:
            await route.fulfill(headers={"Set-Cookie": "safe=1; Secure"}, body="answered")

        await context.route("https://shop.example:8443/**", answer)
        await page.goto("https://shop.example:8443/")
        saved, cookies = await _cookies(owner)
    assert (cookies["safe"]["sourceScheme"], cookies["safe"]["sourcePort"]) == ("Secure", 8443)
    async with owned(kind, saved) as owner:
        assert (await _cookies(owner))[0][state.COOKIES] == saved[state.COOKIES]

"""Permissions that were granted at run time, read and restored. Real Chromium, both kinds."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from raypool.browser.permissions import read_permissions, restore_permissions
from tests.integration.worlds import KINDS, ORIGIN, World, chromium, fresh, visit, world

pytestmark = pytest.mark.asyncio(loop_scope="module")

ALL = (
    "geolocation", "midi", "notifications", "camera", "microphone", "background-sync",
    "clipboard-read", "clipboard-write", "payment-handler", "storage-access", "local-fonts",
    "local-network-access", "screen-wake-lock",
)  # fmt: skip
SENSORS = ["accelerometer", "gyroscope", "magnetometer"]
STATES = """async (names) => {
  const states = {};
  for (const name of names) states[name] = (await navigator.permissions.query({ name })).state;
  return states;
}"""
ASKED = [*ALL, *SENSORS]


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=KINDS)
async def browser(request: pytest.FixtureRequest) -> AsyncIterator[Browser]:
    """A Chromium of each kind."""
    async with chromium(request.param) as browser:
        yield browser


async def states(site: World) -> dict[str, str]:
    found: dict[str, str] = await site.page.evaluate(STATES, ASKED)
    return found


async def test_each_permission_that_playwright_grants_comes_back(browser: Browser) -> None:
    """Alone, with everything else denied, as it was; sensors come together."""
    sensors = [([name], SENSORS) for name in (*SENSORS, "ambient-light-sensor")]
    sysex = ["midi", "midi-sysex"]  # the second is nothing without the first
    site, other = await fresh(browser), await fresh(browser)
    for names, expected in (*(([name], [name]) for name in ALL), *sensors, (sysex, sysex)):
        await site.page.context.grant_permissions(names, origin=ORIGIN)
        found = await read_permissions(site, ())
        assert found == expected
        assert await restore_permissions(other.page.context, {ORIGIN: found}) == []
        assert await states(other) == await states(site)
        assert await read_permissions(other, ()) == found
        for one in (site, other):
            await one.page.context.clear_permissions()
    for one in (site, other):
        await one.page.context.close()


async def test_what_nobody_granted_is_not_kept(browser: Browser) -> None:
    """Not what this browser grants or denies by itself, and not what was taken back."""
    site = await fresh(browser)
    assert await read_permissions(site, ()) is None
    await site.page.context.grant_permissions(["camera"], origin=ORIGIN)
    elsewhere = await world(await visit(site.page.context, "https://other.example"))
    assert await read_permissions(elsewhere, ()) is None
    await site.page.context.clear_permissions()
    assert await read_permissions(site, ()) is None
    await site.page.context.close()


@pytest.mark.parametrize(
    "given", [["geolocation"], ["geolocation", "accelerometer"], ["ambient-light-sensor"]]
)
async def test_what_the_context_was_made_with_is_not_doubled(
    browser: Browser, given: list[str]
) -> None:
    """It is in the options already; what was granted to an origin instead is kept, less or more."""
    site = await fresh(browser, permissions=given)
    assert await read_permissions(site, given) is None
    for names in ([], ["camera", "midi"]):
        await site.page.context.grant_permissions(names, origin=ORIGIN)
        assert await read_permissions(site, given) == names
        other = await fresh(browser, permissions=given)
        await restore_permissions(other.page.context, {ORIGIN: names})
        assert await states(other) == await states(site)
        await other.page.context.close()
    await site.page.context.close()


async def test_a_grant_for_all_sites_is_kept_for_those_that_are_open(browser: Browser) -> None:
    """Without an origin it holds everywhere; an open document shows it as its own."""
    site = await fresh(browser)
    await site.page.context.grant_permissions(["notifications"])
    assert await read_permissions(site, ()) == ["notifications"]
    await site.page.context.close()


async def test_grants_add_up_after_a_restore_as_before(browser: Browser) -> None:
    """A script that grants one more permission does not lose those that were restored."""
    site = await fresh(browser)
    await restore_permissions(site.page.context, {ORIGIN: ["camera"]})
    await site.page.context.grant_permissions(["midi"], origin=ORIGIN)
    assert await read_permissions(site, ()) == ["camera", "midi"]
    await site.page.context.close()


async def test_frames_and_insecure_sites_have_no_say(browser: Browser) -> None:
    """What is denied to them has other reasons."""
    insecure = await fresh(browser, "http://site.example")
    await insecure.page.context.grant_permissions(["camera"])
    assert await read_permissions(insecure, ()) is None
    site = await fresh(browser)
    await site.page.evaluate(
        "() => new Promise(r => { const f = document.createElement('iframe');"
        " f.onload = r; f.src = '/frame'; document.body.append(f) })"
    )
    await site.page.context.grant_permissions(["camera"], origin=ORIGIN)
    assert await read_permissions(await world(site.page, framed=True), ()) is None
    assert await read_permissions(site, ()) == ["camera"]
    for one in (site, insecure):
        await one.page.context.close()


async def test_what_does_not_fit_is_named_and_costs_no_other(browser: Browser) -> None:
    """An unknown name, and an origin that is none."""
    site = await fresh(browser)
    kept = {"no origin": ["midi"], ORIGIN: ["camera", "teleport"]}
    lost = await restore_permissions(site.page.context, kept)
    assert len(lost) == 2
    assert any("teleport" in line for line in lost)
    assert any("no origin" in line for line in lost)
    assert await read_permissions(site, ()) == ["camera"]
    await site.page.context.grant_permissions(["midi"], origin=ORIGIN)
    await site.page.context.close()

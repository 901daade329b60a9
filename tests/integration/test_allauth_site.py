"""The test site behaves like a real one, so that what other tests prove with it means something."""

from __future__ import annotations

import builtins
import os
import shutil
import signal
import subprocess
import sys
import time
import types
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from playwright.async_api import Browser, BrowserContext, Error, Playwright, async_playwright

from tests.sites import flows
from tests.sites.server import Account, AllauthSite, Counters

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

REPOSITORY = Path(__file__).resolve().parents[2]
SESSION_COOKIE = "sessionid"


async def launch_chromium(playwright: Playwright) -> Browser:
    with suppress(Error):  # Playwright has no Chromium of its own here
        return await playwright.chromium.launch()
    found = (shutil.which(name) for name in ("chromium-headless-shell", "chromium"))
    executable = next((path for path in found if path), None)
    if executable is None:
        pytest.skip("no Chromium on this machine")
    return await playwright.chromium.launch(executable_path=executable)


@pytest.fixture(scope="module")
def site() -> Iterator[AllauthSite]:
    with AllauthSite(users=8) as running:
        yield running


@pytest.fixture(scope="module")
def unused_accounts(site: AllauthSite) -> list[Account]:
    return list(site.users)


@pytest.fixture
def account(unused_accounts: list[Account]) -> Account:
    """A user that no other test has signed in."""
    return unused_accounts.pop()


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await launch_chromium(playwright)
        yield browser
        await browser.close()


async def signed_in(browser: Browser, url: str, account: Account) -> BrowserContext:
    context = await browser.new_context()
    page = await context.new_page()
    await flows.sign_in(page, url, account.email, account.password, account.totp_secret)
    return context


async def restored(browser: Browser, context: BrowserContext) -> BrowserContext:
    return await browser.new_context(storage_state=await context.storage_state())


async def session_key(context: BrowserContext) -> str:
    cookies = {cookie["name"]: cookie["value"] for cookie in await context.cookies()}
    return cookies[SESSION_COOKIE]


async def test_sign_in_counts_once(site: AllauthSite, account: Account, browser: Browser) -> None:
    """Password and code make one sign-in from one new device, which sends one notice."""
    page = await browser.new_page()
    said = await flows.sign_in(page, site.url, account.email, account.password, account.totp_secret)
    assert said == f"Signed in as {account.email}"
    assert site.counters(account.email) == Counters(sign_ins=1, notices=1, devices=1, posts=0)


async def test_password_alone_does_not_sign_in(
    site: AllauthSite, account: Account, browser: Browser
) -> None:
    """After the password the user is still a stranger, and the next session key is another one."""
    context = await browser.new_context()
    page = await context.new_page()
    await page.goto(f"{site.url}/accounts/login/")
    await page.get_by_label("Email").fill(account.email)
    await page.get_by_label("Password").fill(account.password)
    await page.get_by_role("button", name="Sign In").click()
    await page.get_by_label("Code").wait_for()
    half_way = await session_key(context)
    assert await flows.who(page, site.url) is None
    assert site.counters(account.email).sign_ins == 0

    await flows.sign_in(page, site.url, account.email, account.password, account.totp_secret)
    assert await session_key(context) != half_way


async def test_restored_context_is_not_a_sign_in(
    site: AllauthSite, account: Account, browser: Browser
) -> None:
    """A browser with the saved state of another is signed in, and the site noticed nothing."""
    first = await signed_in(browser, site.url, account)
    second = await restored(browser, first)
    page = await second.new_page()
    assert await flows.who(page, site.url) == account.email
    assert await page.evaluate("localStorage.getItem('last_seen')")
    assert site.counters(account.email) == Counters(sign_ins=1, notices=1, devices=1, posts=0)


async def test_fresh_context_is_a_new_device(
    site: AllauthSite, account: Account, browser: Browser
) -> None:
    """Signing in from a browser that the site has never seen sends another notice."""
    await signed_in(browser, site.url, account)
    await signed_in(browser, site.url, account)
    assert site.counters(account.email) == Counters(sign_ins=2, notices=2, devices=2, posts=0)


async def test_sign_out_everywhere(site: AllauthSite, account: Account, browser: Browser) -> None:
    """All sessions end; who signs in again on a known device gets no second notice."""
    context = await signed_in(browser, site.url, account)
    site.sign_out_everywhere(account.email)
    page = await context.new_page()
    assert await flows.who(page, site.url) is None
    with pytest.raises(PermissionError, match="nobody is signed in"):
        await flows.publish(page, site.url, "never seen")

    await flows.sign_in(page, site.url, account.email, account.password, account.totp_secret)
    assert site.counters(account.email) == Counters(sign_ins=2, notices=1, devices=1, posts=0)


async def test_user_sees_devices_and_ends_sessions(
    site: AllauthSite, account: Account, browser: Browser
) -> None:
    """The page of sessions lists both browsers; the button signs out the other one too."""
    first = await signed_in(browser, site.url, account)
    second = await signed_in(browser, site.url, account)
    page = second.pages[0]
    await page.goto(f"{site.url}/accounts/sessions/")
    assert await page.locator("tbody tr").count() == 2

    await page.goto(f"{site.url}/posts/")
    await page.get_by_role("button", name="Sign out everywhere").click()
    await page.wait_for_url("**/accounts/login/")
    assert await flows.who(page, site.url) is None
    assert await flows.who(first.pages[0], site.url) is None


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"password": "wrong"}, "not correct"),
        ({"totp_secret": "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"}, "Incorrect code"),
    ],
)
async def test_wrong_credentials_are_refused(
    site: AllauthSite, browser: Browser, wrong: dict[str, str], message: str
) -> None:
    """The site says what is wrong, and counts no sign-in and sends no notice."""
    account = site.users[0]
    before = site.counters(account.email)
    credentials = vars(account) | wrong
    page = await browser.new_page()
    with pytest.raises(PermissionError, match=message):
        await flows.sign_in(page, site.url, **credentials)
    assert site.counters(account.email) == before


async def test_publish_adds_one_post(site: AllauthSite, account: Account, browser: Browser) -> None:
    """Each text that is published becomes one post of this user."""
    context = await signed_in(browser, site.url, account)
    page = context.pages[0]
    assert await flows.publish(page, site.url, "Open until nine") == 1
    assert await flows.publish(page, site.url, "We moved") == 2
    assert await page.locator("li.post").all_inner_texts() == ["We moved", "Open until nine"]
    assert site.counters(account.email).posts == 2


async def test_flows_carry_all_they_need(
    site: AllauthSite, account: Account, browser: Browser
) -> None:
    """A flow without its module's names works: it can be sent to another process by value."""

    def alone(flow: Callable[..., Any]) -> Callable[..., Any]:
        assert isinstance(flow, types.FunctionType)
        return types.FunctionType(flow.__code__, {"__builtins__": builtins})

    page = await browser.new_page()
    await alone(flows.sign_in)(page, site.url, **vars(account))
    assert await alone(flows.who)(page, site.url) == account.email
    assert await alone(flows.publish)(page, site.url, "sent by value") == 1


async def test_restart_keeps_sessions(tmp_path: Path, browser: Browser) -> None:
    """Started again in its directory, the site has the same users and knows who is signed in."""
    with AllauthSite(tmp_path, users=1) as first_run:
        users = first_run.users
        context = await signed_in(browser, first_run.url, users[0])
    with AllauthSite(tmp_path, users=1) as second_run:
        assert second_run.users == users
        assert await flows.who(context.pages[0], second_run.url) == users[0].email
        assert second_run.counters(users[0].email).sign_ins == 1


def test_failed_start_says_why(tmp_path: Path) -> None:
    """A site that cannot start raises at once with what it wrote, and leaves no process."""
    (tmp_path / "site.sqlite3").mkdir()
    failing = AllauthSite(tmp_path)
    with pytest.raises(RuntimeError, match="unable to open database file"), failing:
        pass
    assert not psutil.pid_exists(failing.pid)


@pytest.mark.skipif(sys.platform != "linux", reason="needs the kernel to watch the parent")
def test_site_dies_with_its_parent(tmp_path: Path) -> None:
    """When the process that started the site is killed, the site is gone too."""
    program = (
        "import pathlib, signal, sys\n"
        "from tests.sites.server import AllauthSite\n"
        "with AllauthSite(pathlib.Path(sys.argv[1])) as site:\n"
        "    print(site.pid, flush=True)\n"
        "    signal.pause()\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        server = psutil.Process(int(parent.stdout.readline()))
        assert server.is_running()
        os.kill(parent.pid, signal.SIGKILL)
    deadline = time.monotonic() + 5
    while server.is_running() and server.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "the site outlived its parent"
        time.sleep(0.02)

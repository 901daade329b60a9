"""The door to a live browser: where it listens, whom it lets in, what it leaves. Real Chromium."""

import asyncio
import os
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from raypool.browser import remote
from raypool.browser.remote import connect_remote
from raypool.errors import BrowserError, InstanceNotReady
from tests.integration.browsers import owned, stopped, within

LOOPBACK = "127.0.0.1"


async def test_the_endpoint_listens_at_its_host_only() -> None:
    """One socket, at the address that was asked for; none before and none after."""
    async with owned() as owner:
        driver = psutil.Process(owner.live.driver_pid)

        def listening() -> list[str]:
            return [c.laddr.ip for c in driver.net_connections() if c.status == psutil.CONN_LISTEN]

        assert listening() == []
        endpoint = await owner.live.bind("127.0.0.2")
        assert urlsplit(endpoint).hostname == "127.0.0.2"
        assert listening() == ["127.0.0.2"]
        await owner.live.unbind()
        await within(5, lambda: not listening())


async def test_another_path_is_refused_and_no_message_tells_the_right_one() -> None:
    """128 random bits, new each time: the path is the only key."""
    async with owned() as owner:
        endpoint = await owner.live.bind(LOOPBACK)
        key = urlsplit(endpoint).path.strip("/")
        assert len(key) == 32
        for path in ("", "/", "/json", "/" + key[:-1], "/" + "0" * 32):
            wrong = f"ws://{urlsplit(endpoint).netloc}{path}"
            with pytest.raises(InstanceNotReady) as caught:
                async with connect_remote(wrong):
                    pass
            assert caught.value.retryable
            assert caught.value.__cause__ is None
            assert key not in str(caught.value)
        await owner.live.unbind()
        assert urlsplit(await owner.live.bind(LOOPBACK)).path.strip("/") != key


async def test_binding_again_gives_the_same_endpoint_and_leaves_nothing() -> None:
    """Playwright notes each endpoint in a file: in the private directory, and only while it is."""
    async with owned() as owner:

        def notes() -> list[Path]:
            home = Path(os.environ["HOME"])
            return [p for p in home.rglob("browser@*") if p.is_file()]

        endpoints = await asyncio.gather(*(owner.live.bind(LOOPBACK) for _ in range(3)))
        assert len(set(endpoints)) == 1
        (note,) = notes()
        assert note.is_relative_to(owner.directory)
        assert endpoints[0] in note.read_text()
        await owner.live.unbind()
        await owner.live.unbind()
        assert notes() == []


async def test_a_host_that_is_not_ours_is_refused_and_another_still_works() -> None:
    """192.0.2.1 is nobody's (RFC 5737)."""
    async with owned() as owner:
        with pytest.raises(BrowserError, match="EADDRNOTAVAIL"):
            await owner.live.bind("192.0.2.1")
        async with connect_remote(await owner.live.bind(LOOPBACK)) as attached:
            assert attached.page.url == "about:blank"


async def test_a_stopped_owner_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its kernel takes the connection and nobody answers: a driver is told to try again."""
    async with owned() as owner:
        endpoint = await owner.live.bind(LOOPBACK)
        with monkeypatch.context() as hasty, stopped(owner.live.driver_pid):
            hasty.setattr(remote, "CONNECT_TIMEOUT_MS", 1000)
            with pytest.raises(InstanceNotReady, match="Timeout 1000ms"):
                async with connect_remote(endpoint):
                    pass
        async with connect_remote(endpoint) as attached:
            assert attached.page.url == "about:blank"

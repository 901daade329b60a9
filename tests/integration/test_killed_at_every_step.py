"""Chromium is killed before each single thing that a restore or a save asks of it."""

import itertools
import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.async_api import CDPSession

from actors.session import InstanceSession
from raypool.browser.live import Launcher
from raypool.errors import InstanceLost, RaypoolError
from tests.integration.browsers import private_directory
from tests.integration.instance_stage import Stage, make_stage
from tests.integration.pages import Pages

MOST = 90
SHARES = 4
"""Each test takes every fourth step: all of them one after the other take minutes."""
WRITE = """(value) => new Promise((resolve) => {
  localStorage.setItem('kept', value);
  sessionStorage.setItem('kept', value);
  document.cookie = `kept=${value}; Max-Age=9999`;
  const request = indexedDB.open('db', 1);
  request.onupgradeneeded = () => request.result.createObjectStore('s');
  request.onsuccess = () => {
    const transaction = request.result.transaction('s', 'readwrite');
    transaction.objectStore('s').put(value, 'kept');
    transaction.oncomplete = () => { request.result.close(); resolve(); };
  };
})"""
READ = """() => new Promise((resolve) => {
  const cookie = /kept=(\\w+)/.exec(document.cookie)?.[1];
  const found = [localStorage.getItem('kept'), sessionStorage.getItem('kept'), cookie];
  const request = indexedDB.open('db');
  request.onupgradeneeded = () => request.transaction.abort();
  request.onerror = () => resolve([...found, null]);
  request.onsuccess = () => {
    const get = request.result.transaction('s').objectStore('s').get('kept');
    get.onsuccess = () => { request.result.close(); resolve([...found, get.result]); };
  };
})"""


class Killer:
    """Kills the browser of a life before its nth call over CDP, once."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.life: InstanceSession | None = None
        self.left, self.fired = 0, False
        send = CDPSession.send

        async def counted(session: CDPSession, *args: Any) -> Any:
            self._count()
            return await send(session, *args)

        monkeypatch.setattr(CDPSession, "send", counted)

    def arm(self, life: InstanceSession, step: int) -> None:
        """Kill before the *step*-th call from now on; 0 for never."""
        self.life, self.left, self.fired = life, step, False

    def _count(self) -> None:
        self.left -= 1
        pid = self.life.describe().get("browser_pid") if self.life else None
        if self.left <= 0 and not self.fired and pid and self.life and self.life.incarnation:
            self.fired = True
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def killer(monkeypatch: pytest.MonkeyPatch) -> Killer:
    """Armed by the test."""
    return Killer(monkeypatch)


@pytest.fixture
async def stage() -> Stage:
    """A store, and a launcher of real browsers."""
    stage = await make_stage(lease_ttl=10)
    stage.launcher = Launcher()  # type: ignore[assignment]
    return stage


@pytest.fixture
def pages() -> Iterator[Pages]:
    """The site."""
    with private_directory(), Pages() as pages:
        yield pages


def writes(url: str, value: str) -> Any:
    """Return a function that has a site keep *value* in every way there is."""

    async def work(page: Any) -> None:
        if not page.url.startswith(url):
            await page.goto(url)
        await page.evaluate(WRITE, value)

    return work


async def reads(page: Any) -> Any:
    """Return what the site kept."""
    return await page.evaluate(READ)


async def _read(life: InstanceSession) -> Any:
    try:
        return await life.run(reads, 30)
    except InstanceLost:  # the news of the kill came while it ran: callers come again
        return await life.run(reads, 30)


@pytest.mark.parametrize("first", range(1, SHARES + 1))
async def test_at_every_step_of_a_restore(
    stage: Stage, killer: Killer, pages: Pages, first: int
) -> None:
    """Whatever the kill met, the next browser has all; nothing of it is saved as less."""
    life = await stage.started()
    await life.run(writes(pages.url, "v1"), 30)
    await life.stop(10)
    for step in itertools.count(first, SHARES):
        assert step < MOST
        life = stage.life(f"h{step}")
        killer.arm(life, step)
        try:
            await life.start()
        except RaypoolError:
            assert killer.fired
            life = stage.life(f"h{step}-again")
            killer.arm(life, 0)
            killer.fired = True
            await life.start()
        done = not killer.fired
        killer.fired = True
        assert await _read(life) == ["v1"] * 4
        assert (await life.stop(10)).saved
        if done:
            break
    assert step > 5


@pytest.mark.parametrize("first", range(1, SHARES + 1))
async def test_at_every_step_of_a_save(
    stage: Stage, killer: Killer, pages: Pages, first: int
) -> None:
    """What was acknowledged is there; what was not is there whole or as it was, part by part."""
    life = await stage.started()
    await life.run(writes(pages.url, "v0"), 30)
    known = ["v0"] * 4
    for step in itertools.count(first, SHARES):
        assert step < MOST
        value = f"v{step}"
        killer.arm(life, step)
        try:
            await life.run(writes(pages.url, value), 30)
        except InstanceLost:
            assert killer.fired
            acknowledged = known
        else:
            acknowledged = [value] * 4
        done = not killer.fired
        killer.fired = True
        found = await _read(life)
        assert all(f in {a, value} for f, a in zip(found, acknowledged, strict=True)), found
        known = found
        if done:
            break
    assert step > 2
    await life.stop(10)

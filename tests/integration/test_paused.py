"""Processes that are stopped, not dead: found, replaced, and harmless when they go on."""

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import psutil
import pytest

from actors.keeper import now
from raypool.errors import LeaseLost
from raypool.model import CheckpointMeta
from tests.integration import flows
from tests.integration.conftest import Account, forget, new_id
from tests.integration.own import Fleet
from tests.integration.scripts import kill, running, until
from tests.integration.test_janitor import Owner

pytestmark = pytest.mark.timeout(240)  # a fleet of its own has to come up, too


def _stop(pid: int) -> None:
    """Stop a process, and see that it stands still: the fault has fired."""
    os.kill(pid, signal.SIGSTOP)
    until(lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED, f"{pid} stands still")


def _go_on(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


def test_a_paused_owner_is_replaced_and_can_do_nothing_any_more(
    quick: Fleet, quick_account: Account
) -> None:
    """Nobody calls: within seconds there is another one, and nothing is left of the first."""
    pool, business = quick.pool, quick_account.business_id
    left = pool.run(business, flows.leave_traces, quick_account.site.url, "kept")
    before = pool.status(business)
    _stop(before.pid)
    try:
        until(lambda: pool.status(business).fencing_token > before.fencing_token, "it is replaced")
        until(lambda: not running(before.browser_pid), "its browser is dead")
    finally:
        _go_on(before.pid)
    until(lambda: not running(before.pid), "the old one is gone")
    session = pool.sessions.get_active_session(business)
    with pytest.raises(LeaseLost):
        pool.sessions.checkpoints.save(
            session.id, before.fencing_token, {"cookies": b"[]"}, CheckpointMeta()
        )
    assert pool.run(business, flows.traces) == left
    assert pool.run(business, flows.who, quick_account.site.url) == quick_account.email
    assert (pool.status(business).restarts, quick_account.signed_in_again) == (1, 0)


def test_a_call_to_a_paused_owner_ends(quick: Fleet, quick_account: Account) -> None:
    """One that may be run again is: its caller waits some seconds and sees no error."""
    pool, business = quick.pool, quick_account.business_id
    before = pool.status(business)
    _stop(before.pid)
    try:
        who = pool.run(business, flows.who, quick_account.site.url, idempotent=True)
    finally:
        _go_on(before.pid)
    assert who == quick_account.email
    assert pool.status(business).fencing_token > before.fencing_token


async def _hang(page: object) -> None:
    """Leave the page in a loop without end, three seconds from now."""
    await page.evaluate("setTimeout(() => { while (true); }, 3000)")  # type: ignore[attr-defined]


@pytest.mark.parametrize("what", ["browser", "driver", "page"])
def test_what_answers_nothing_is_rebuilt(what: str, quick: Fleet, quick_account: Account) -> None:
    """A stopped Chromium or driver, a page whose script never ends: same actor, another browser."""
    pool, business = quick.pool, quick_account.business_id
    left = pool.run(business, flows.leave_traces, quick_account.site.url, "kept")
    before = pool.status(business)
    ((_, ledger),) = quick.ledgers(business)
    assert ledger.driver is not None
    if what == "page":
        pool.run(business, _hang)
    else:
        _stop({"browser": before.browser_pid, "driver": ledger.driver.pid}[what])
    until(lambda: not running(before.browser_pid), f"the {what} was found", 60)
    assert pool.run(business, flows.traces) == left
    assert pool.run(business, flows.who, quick_account.site.url) == quick_account.email
    after = pool.status(business)
    assert (after.pid, after.fencing_token) == (before.pid, before.fencing_token)
    assert quick_account.signed_in_again == 0


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_calls_go_on_without_a_supervisor(
    number: signal.Signals, quick: Fleet, quick_account: Account
) -> None:
    """Killed or stopped: no call fails, no browser notices, and a new one takes over."""
    pool, business = quick.pool, quick_account.business_id
    before, old = pool.status(business), quick.supervisor

    def call(times: int) -> set[str | None]:
        return {pool.run(business, flows.who, quick_account.site.url) for _ in range(times)}

    with ThreadPoolExecutor() as threads:
        calls = threads.submit(call, 40)
        time.sleep(0.2)
        assert not calls.done()
        kill(old) if number is signal.SIGKILL else _stop(old)
        try:
            assert calls.result(timeout=100) == {quick_account.email}
        finally:
            _go_on(old)
    until(lambda: not running(old), "the old one is gone")
    after = pool.status(business)
    assert (after.pid, after.browser_pid, after.fencing_token, after.restarts) == (
        before.pid, before.browser_pid, before.fencing_token, 0,
    )  # fmt: skip
    assert quick.supervisor != old


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_an_orphan_dies_though_the_janitor_was_out(number: signal.Signals, quick: Fleet) -> None:
    """Killed or stopped, there is another one soon: it finds what was orphaned meanwhile."""
    owner, old = Owner(now() + 3600, **quick.env), quick.janitor
    try:
        _stop(old)  # at first in both cases: or it might be quicker than we are
        owner.process.kill()
        owner.process.wait()
        assert owner.browser.alive()
        if number is signal.SIGKILL:
            kill(old)
        until(lambda: not owner.browser.alive(), "the orphan is dead", 60)
        until(lambda: not running(old), "the old janitor is gone", 60)
    finally:
        _go_on(old)
        owner.clear()

    def report() -> bool:
        (node,) = quick.pool.nodes()
        said = node["janitor"]
        return bool(said) and said["pid"] != old and said["orphans"] == 0

    until(report, "the new one says that there is no orphan", 60)
    assert quick.janitor != old


def test_nothing_is_left_running(quick: Fleet) -> None:
    """After all that: each business of this fleet has at most the browser that it shall have."""
    business = new_id()
    quick.pool.run(business, flows.nothing)
    assert {browser.owner_alive for browser in quick.browsers(business)} == {True}
    forget(quick.pool, business)
    assert not quick.browsers(business)

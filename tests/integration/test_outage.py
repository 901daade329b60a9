"""Redis is away for longer than a lease, or comes back empty: nobody's browser is lost for it."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from raypool.demo.site import DemoSite
from raypool.errors import SessionNotFound
from raypool.model import InstanceStatus
from raypool.phase import Phase
from tests.integration import flows
from tests.integration.conftest import Account, Valkey, forget, new_id, signed_in
from tests.integration.own import Fleet
from tests.integration.scripts import kill, running, until

pytestmark = pytest.mark.timeout(240)  # a fleet of its own has to come up, too

LONG_S = 6.0
"""Longer than a lease of these fleets lives."""


@contextmanager
def _stopped_server(own: Fleet) -> Iterator[None]:
    """The server stands still."""
    server = own.server
    os.kill(server, signal.SIGSTOP)
    yield
    os.kill(server, signal.SIGCONT)
    assert own.server == server


@contextmanager
def _killed_server(own: Fleet) -> Iterator[None]:
    """The server is dead, and so is, for a while, whoever would start it again."""
    server, host = own.server, own.host
    os.kill(host, signal.SIGSTOP)
    kill(server)
    yield
    os.kill(host, signal.SIGCONT)
    until(lambda: own.server != server, "it is started again")


OUTAGES: dict[str, Callable[[Fleet], object]] = {
    "stopped": _stopped_server,
    "killed": _killed_server,
}


def _frozen(pid: int) -> bool:
    return psutil.Process(pid).status() == psutil.STATUS_STOPPED


def _same(before: InstanceStatus, after: InstanceStatus) -> None:
    """See that it is the very same life with the very same browser."""
    assert (after.pid, after.browser_pid, after.fencing_token, after.incarnation) == (
        before.pid, before.browser_pid, before.fencing_token, before.incarnation,
    )  # fmt: skip
    assert (after.phase, after.restarts) == (Phase.READY, 0)


@pytest.mark.parametrize("outage", OUTAGES)
def test_browsers_outlive_an_outage(
    outage: str, quick: Fleet, quick_account: Account, tmp_path: Path
) -> None:
    """Off line by the deadline, then on again with the same process; what ran meanwhile is saved."""
    pool, business, gate = quick.pool, quick_account.business_id, tmp_path / "gate"
    left = pool.run(business, flows.leave_traces, quick_account.site.url, "kept")
    before = pool.status(business)
    gate.touch()
    with ThreadPoolExecutor() as threads:
        call = threads.submit(pool.run, business, flows.set_when_gone, str(gate), "late")
        until(Path(f"{gate}.ran").exists, "the command runs")
        with OUTAGES[outage](quick):  # type: ignore[attr-defined]
            until(lambda: _frozen(before.browser_pid), "it is off line", LONG_S)
            time.sleep(LONG_S)
            gate.unlink()
            time.sleep(0.5)
            assert _frozen(before.browser_pid)
            assert not call.done()
        assert call.result(timeout=60) == "late"
    _same(before, pool.status(business))
    session = pool.sessions.get_active_session(business)
    saved = pool.sessions.checkpoints.load(session.id)
    assert b"late" in saved.parts[f"local:{quick_account.site.url}/#0/1"]
    assert pool.run(business, flows.traces) == {**left, "local": "late"}
    assert pool.run(business, flows.who, quick_account.site.url) == quick_account.email
    assert quick_account.signed_in_again == 0


def test_a_call_during_an_outage_waits_for_its_end(quick: Fleet, quick_account: Account) -> None:
    """Or is told that it may be repeated; it never does its work twice."""
    pool, business = quick.pool, quick_account.business_id
    before = pool.status(business)
    with ThreadPoolExecutor() as threads:
        with _stopped_server(quick):
            call = threads.submit(pool.run, business, flows.who, quick_account.site.url)
            time.sleep(LONG_S)
        error = call.exception(timeout=60)
        assert error is None or error.retryable, repr(error)  # type: ignore[attr-defined]
    assert pool.run(business, flows.who, quick_account.site.url) == quick_account.email
    _same(before, pool.status(business))


# -- it comes back empty ---------------------------------------------------------------------------


@pytest.fixture
def flushed(east: Fleet, site: DemoSite) -> Iterator[list[Account]]:
    """Three businesses on a server that is not the fleet's own, signed in."""
    accounts = [signed_in(east.pool, new_id(), site) for _ in range(3)]
    yield accounts
    for account in accounts:
        forget(east.pool, account.business_id)


def test_live_browsers_write_what_the_server_lost(
    east: Fleet, valkey: Valkey, flushed: list[Account]
) -> None:
    """Everything is gone, and the supervisor is new: nothing is stopped, every session is back."""
    pool, ids = east.pool, [account.business_id for account in flushed]
    site = flushed[0].site
    sign_ins = site.sign_ins
    before = {b: pool.status(b) for b in ids}
    saved = {b: pool.sessions.checkpoints.load(before[b].session_id).parts for b in ids}
    valkey.flush()
    kill(east.supervisor)
    # One is called before it has had time to write itself again.
    who = pool.run(ids[0], flows.who, site.url, idempotent=True)
    assert who == flushed[0].email

    def back(business: str) -> bool:
        session = pool.sessions.get_active_session(business)
        return session is not None and session.checkpoint_version > 0

    for business in ids:
        until(lambda b=business: back(b), f"{business} is written again", 60)
        after = pool.status(business)
        _same(before[business], after)
        assert after.session_id == before[business].session_id
        found = pool.sessions.checkpoints.load(after.session_id)
        assert found.parts["cookies"] == saved[business]["cookies"]
    for account in flushed:
        kill(pool.status(account.business_id).pid)
        who = pool.run(account.business_id, flows.who, site.url, idempotent=True)
        assert (who, site.sign_ins) == (account.email, sign_ins)


def test_a_deleted_session_ends_its_browser(quick: Fleet, quick_account: Account) -> None:
    """That is no loss: it is not written again, and the browser goes."""
    pool, business = quick.pool, quick_account.business_id
    before = pool.status(business)
    pool.sessions.delete_session(before.session_id)
    until(lambda: not running(before.browser_pid), "its browser is gone", 45)
    until(lambda: not quick.browsers(business) and not quick.lease(business), "all is gone", 45)
    with pytest.raises(SessionNotFound):
        pool.status(business)
    assert pool.sessions.get_sessions_by_business(business) == []

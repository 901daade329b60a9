"""Two clusters on one Redis: a business has one holder, and moves when it is told to or must."""

import json
import signal
from collections.abc import Iterator
from datetime import UTC, datetime

import psutil
import pytest

from raypool.demo.site import DemoSite
from raypool.errors import ErrorCodes, InstanceNotReady, SessionLocked
from raypool.model import Holder
from raypool.phase import Phase
from tests.integration import flows
from tests.integration.conftest import Account, Valkey, forget, new_id, signed_in
from tests.integration.own import Fleet, fleet
from tests.integration.scripts import command, running, until

pytestmark = pytest.mark.timeout(240)  # a fleet of its own has to come up, too

PATIENCE_S = 6.0


@pytest.fixture(scope="module")
def west(valkey: Valkey) -> Iterator[Fleet]:
    """Another cluster on the server that *east* uses."""
    with fleet(cluster="west", lease_ttl=4.0, **valkey.settings) as west:
        yield west


@pytest.fixture
def account(east: Fleet, site: DemoSite) -> Iterator[Account]:
    """A business that *east* runs, signed in."""
    account = _signed_in_at("east", east, site)
    yield account
    forget(east.pool, account.business_id)


def _signed_in_at(cluster: str, own: Fleet, site: DemoSite) -> Account:
    """Sign a business in, at this cluster however slow it is; any may run it afterwards."""
    business_id = new_id()
    session = own.pool.sessions.ensure_active(business_id)
    own.pool.sessions.update_session(session.id, assigned_cluster=cluster)
    account = signed_in(own.pool, business_id, site)
    own.pool.sessions.update_session(session.id, assigned_cluster=None)
    return account


def _holder(own: Fleet, business: str) -> str | None:
    lease = own.lease(business)
    return lease.holder.cluster if lease else None


def test_one_has_it_and_the_other_is_told_who(east: Fleet, west: Fleet, account: Account) -> None:
    """Cluster, node, process and since when; the holder does not notice that it was asked for."""
    business, before = account.business_id, east.pool.status(account.business_id)
    hasty = west.join(PATIENCE_S)
    began = datetime.now(UTC)
    with pytest.raises(SessionLocked) as caught:
        hasty.run(business, flows.nothing)
    error = caught.value
    assert (error.code, error.retryable) == (ErrorCodes.SESSION_LOCKED, True)
    assert f"{business} is held by instance" in error.message
    assert f"of cluster east (node {before.node_id[:8]}, pid {before.pid}) since" in error.message
    assert error.context["cluster"] == "east"
    assert (error.context["node_id"], error.context["pid"]) == (before.node_id, before.pid)
    assert datetime.fromisoformat(error.context["since"]) < began
    seen = west.pool.status(business)
    assert not west.browsers(business)
    assert [c.reason for c in seen.conditions if c.type == "NotRunning"] == ["Locked"]
    assert east.pool.run(business, flows.who, account.site.url) == account.email
    after = east.pool.status(business)
    assert (after.pid, after.browser_pid) == (before.pid, before.browser_pid)


def test_whoever_is_asked_first_has_it(east: Fleet, west: Fleet) -> None:
    """Both hear that a business is wanted; the one that has the caller takes it, without a race."""
    for own, cluster in ((east, "east"), (west, "west")):
        business = new_id()
        assert own.pool.run(business, flows.nothing) == "about:blank"
        assert _holder(own, business) == cluster
        forget(own.pool, business)


def test_it_is_handed_over(east: Fleet, west: Fleet, account: Account) -> None:
    """Saved, released, adopted: with everything, and the old cluster leaves it alone from then on."""
    business, pool = account.business_id, east.pool
    left = pool.run(business, flows.leave_traces, account.site.url, "kept")
    done = command(east.env, "hand-over", business, "--to", "west")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{business} belongs to west now.\n"
    assert _holder(west, business) == "west"
    assert not east.browsers(business)
    assert west.pool.run(business, flows.traces) == left
    assert west.pool.run(business, flows.who, account.site.url) == account.email
    hasty = east.join(PATIENCE_S)
    with pytest.raises((SessionLocked, InstanceNotReady), match="west"):
        hasty.run(business, flows.nothing)
    assert (_holder(west, business), account.signed_in_again) == ("west", 0)


def test_nobody_takes_what_is_handed_to_a_cluster_that_is_not_there(
    east: Fleet, account: Account
) -> None:
    """It says so, and the business can be taken back."""
    business = account.business_id
    done = command(east.env, "hand-over", business, "--to", "atlantis", "--timeout", "4", "--json")
    assert done.returncode == 1
    error = json.loads(done.stdout)["error"]
    assert error["code"] == "BROWSER_INSTANCE_NOT_READY"
    assert "nobody of cluster 'atlantis' took" in error["message"]
    until(lambda: not east.browsers(business), "it was released")
    assert command(east.env, "hand-over", business, "--to", "east").returncode == 0
    assert east.pool.run(business, flows.who, account.site.url) == account.email


def test_a_broken_lease_is_in_the_audit_log(east: Fleet) -> None:
    """A holder that will never come back: a person takes the business from it, and says why."""
    business, pool = new_id(), east.pool
    gone = Holder(id="gone", cluster="atlantis", node_id="n" * 12, pid=4711)
    lease = pool.sessions.leases.acquire(business, gone, 300.0)
    args = ("unlock", business, "--reason", "it went under", "--yes")
    done = command(east.env, *args)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{business} is free: it was held by instance gone of cluster atlantis.\n"
    assert pool.run(business, flows.nothing) == "about:blank"
    assert east.lease(business).token > lease.token
    entry = next(e for e in pool.sessions.audit_log() if e.business_id == business)
    assert (entry.action, entry.reason) == ("unlock", "it went under")
    assert "@" in entry.by
    forget(pool, business)


def test_a_cluster_that_dies_is_followed_by_the_other(
    east: Fleet, west: Fleet, site: DemoSite
) -> None:
    """All of it at once, as when its machine burns down: the other goes on once the lease is over."""
    account = _signed_in_at("west", west, site)
    business = account.business_id
    left = west.pool.run(business, flows.leave_traces, site.url, "kept")
    browser = west.pool.status(business).browser_pid
    tree = [psutil.Process(west.host), *psutil.Process(west.host).children(recursive=True)]
    for process in tree:
        process.send_signal(signal.SIGKILL)
    until(lambda: not running(browser), "its browser is dead")
    until(lambda: _holder(east, business) == "east", "the other took it over")
    until(lambda: east.pool.status(business).phase is Phase.READY, "it is up")
    assert east.pool.run(business, flows.traces) == left
    assert east.pool.run(business, flows.who, site.url) == account.email
    assert account.signed_in_again == 0
    forget(east.pool, business)

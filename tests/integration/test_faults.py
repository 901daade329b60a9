"""Kill what you like: the next call finds the business signed in. Each fault is seen to have fired."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

import raypool
from raypool.config import Settings
from raypool.errors import ErrorCodes, InstanceLost
from tests.integration import flows
from tests.integration.conftest import Account, ledger_of
from tests.integration.scripts import descendants, hosts, kill, running, until
from tests.sites import flows as allauth_flows
from tests.sites.server import AllauthSite, Counters


def _pid_of(pool: raypool.Pool, business_id: str, victim: str) -> int:
    seen, ledger = pool.status(business_id), ledger_of(business_id)
    assert ledger.driver is not None
    pids = {"actor": seen.pid, "browser": seen.browser_pid, "driver": ledger.driver.pid}
    return pids[victim] or 0


def test_a_killed_actor_comes_back_signed_in(pool: raypool.Pool, account: Account) -> None:
    """Another process with a larger fencing token, all state back, one restart counted."""
    business = account.business_id
    left = pool.run(business, flows.leave_traces, account.site.url, "kept")
    before = pool.status(business)
    kill(before.pid or 0)
    assert pool.run(business, flows.traces, idempotent=True) == left
    assert pool.run(business, flows.who, account.site.url) == account.email
    after = pool.status(business)
    assert after.pid != before.pid
    assert after.fencing_token > before.fencing_token
    assert (after.restarts, after.incarnation) == (1, 2)
    assert not running(before.browser_pid or 0)
    assert account.signed_in_again == 0


@pytest.mark.parametrize("victim", ["browser", "driver"])
def test_a_killed_browser_comes_back_in_the_same_actor(
    victim: str, pool: raypool.Pool, account: Account
) -> None:
    """Tabs, their sessionStorage, localStorage, IndexedDB and session cookies are as they were."""
    business = account.business_id
    left = pool.run(business, flows.leave_traces, account.site.url, "kept")
    assert left["tabs"] == [["first", "kept"], ["second", "second"]]
    assert (left["date"], left["map"]) == (86_400_000, "kept")
    before = pool.status(business)
    kill(_pid_of(pool, business, victim))
    assert pool.run(business, flows.traces, idempotent=True) == left
    assert pool.run(business, flows.who, account.site.url) == account.email
    after = pool.status(business)
    assert (after.pid, after.fencing_token, after.restarts) == (
        before.pid,
        before.fencing_token,
        0,
    )
    assert after.browser_pid != before.browser_pid
    until(lambda: not running(before.browser_pid or 0), "the old browser is gone")
    assert account.signed_in_again == 0


@pytest.mark.parametrize("victim", ["actor", "browser"])
def test_a_command_in_flight_is_lost_with_its_instance(
    victim: str, pool: raypool.Pool, account: Account, tmp_path: Path
) -> None:
    """The caller is told at once, may try again, and it was not run a second time by itself."""
    file = tmp_path / "attempts"
    with ThreadPoolExecutor() as threads:
        call = threads.submit(
            pool.run, account.business_id, flows.wait_the_first_time, str(file), timeout=60
        )
        until(file.exists, "the command runs")
        kill(_pid_of(pool, account.business_id, victim))
        with pytest.raises(InstanceLost, match="died") as caught:
            call.result(timeout=15)
    assert caught.value.code is ErrorCodes.BROWSER_INSTANCE_LOST
    assert caught.value.retryable
    assert "Try again" in caught.value.recovery
    who = pool.run(account.business_id, flows.who, account.site.url, idempotent=True)
    assert who == account.email
    assert len(file.read_text().splitlines()) == 1


@pytest.mark.parametrize("victim", ["actor", "browser"])
def test_an_idempotent_command_is_run_again(
    victim: str, pool: raypool.Pool, account: Account, tmp_path: Path
) -> None:
    """The caller sees only the result of the second attempt."""
    file = tmp_path / "attempts"
    with ThreadPoolExecutor() as threads:
        call = threads.submit(
            pool.run,
            account.business_id,
            flows.wait_the_first_time,
            str(file),
            timeout=60,
            idempotent=True,
        )
        until(file.exists, "the command runs")
        kill(_pid_of(pool, account.business_id, victim))
        assert call.result(timeout=60) == 2
    pids = file.read_text().splitlines()
    assert (pids[0] == pids[1]) is (victim == "browser")


def test_a_killed_supervisor_disturbs_no_browser(
    pool: raypool.Pool, settings: Settings, account: Account
) -> None:
    """Ray makes another, which takes over what lives and goes on restarting what dies."""
    business = account.business_id
    before = pool.status(business)
    (host,) = hosts(settings.data_dir)
    (supervisor,) = descendants(host, "ray::supervisor")
    kill(supervisor)
    assert pool.run(business, flows.who, account.site.url) == account.email
    after = pool.status(business)
    assert (after.pid, after.browser_pid, after.fencing_token) == (
        before.pid,
        before.browser_pid,
        before.fencing_token,
    )
    assert psutil.pid_exists(descendants(host, "ray::supervisor")[0])
    kill(after.pid or 0)
    who = pool.run(business, flows.who, account.site.url, idempotent=True)
    assert who == account.email
    assert pool.status(business).fencing_token > before.fencing_token
    assert account.signed_in_again == 0


def test_a_site_that_others_wrote_sees_one_sign_in(
    pool: raypool.Pool, business: str, allauth: AllauthSite
) -> None:
    """Password and one-time code once; actor and Chromium killed; one sign-in, one device."""
    user = allauth.users[0]
    said = pool.run(
        business,
        allauth_flows.sign_in,
        allauth.url,
        user.email,
        user.password,
        user.totp_secret,
        timeout=60,
    )
    assert said == f"Signed in as {user.email}"
    for number, victim in enumerate(("actor", "browser"), start=1):
        kill(_pid_of(pool, business, victim))
        posts = pool.run(
            business, allauth_flows.publish, allauth.url, victim, timeout=60, idempotent=True
        )
        assert posts == number
    assert pool.run(business, allauth_flows.who, allauth.url) == user.email
    assert allauth.counters(user.email) == Counters(sign_ins=1, notices=1, devices=1, posts=2)

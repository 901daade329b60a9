"""Going back to a version, and carrying one elsewhere, while the browser lives."""

from pathlib import Path

import pytest

import raypool
from raypool.errors import ConfigurationError
from raypool.phase import Phase
from tests.integration import flows
from tests.integration.conftest import Account, forget, new_id

PASSPHRASE = "correct horse battery staple"


def kept(pool: raypool.Pool, business_id: str) -> object:
    """Return a value that the page finds in its localStorage."""
    return pool.run(business_id, flows.traces)["local"]


def test_a_live_business_goes_back_to_an_earlier_state(
    pool: raypool.Pool, account: Account
) -> None:
    """It comes up again with what it had, still signed in; what it had since is a version too."""
    business_id, url = account.business_id, account.site.url
    pool.run(business_id, flows.leave_traces, url, "old")
    before, old = kept(pool, business_id), pool.checkpoints(business_id)[0]
    pool.run(business_id, flows.leave_traces, url, "new")
    assert kept(pool, business_id) != before
    info = pool.rollback(business_id, old.version)
    assert info.version > old.version
    assert kept(pool, business_id) == before
    assert pool.status(business_id).phase is Phase.READY
    assert pool.run(business_id, flows.who, url) == account.email
    assert account.signed_in_again == 0
    reasons = [reason for seen in pool.checkpoints(business_id) for reason in seen.reasons]
    assert f"rollback to {old.version}" in reasons


def test_an_unknown_version_stops_nobody(pool: raypool.Pool, account: Account) -> None:
    """Refused before the browser is touched."""
    before = pool.status(account.business_id).browser_pid
    with pytest.raises(ConfigurationError, match="4711"):
        pool.rollback(account.business_id, 4711)
    assert pool.status(account.business_id).browser_pid == before


@pytest.mark.parametrize("playwright", [False, True])
def test_a_state_goes_on_in_another_business(
    pool: raypool.Pool, account: Account, tmp_path: Path, playwright: bool
) -> None:
    """Signed in there without a sign-in: through our own file, and through Playwright's."""
    secret = None if playwright else PASSPHRASE
    pool.run(account.business_id, flows.leave_traces, account.site.url, "carried")
    pool.export_session(
        account.business_id, tmp_path / "state", passphrase=secret, playwright=playwright
    )
    other = new_id()
    try:
        pool.import_session(tmp_path / "state", passphrase=secret, business_id=other)
        pool.get_or_create_instance(other, email=account.email)
        assert pool.run(other, flows.who, account.site.url) == account.email
        assert kept(pool, other) == kept(pool, account.business_id)
    finally:
        forget(pool, other)
    assert account.signed_in_again == 0

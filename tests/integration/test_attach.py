"""Driver scripts attach to browsers of the fleet: real Playwright objects, under the same lease."""

import asyncio
import time
from typing import Any

import pytest

import raypool
from raypool.config import Settings
from raypool.errors import ConfigurationError, InstanceLost, RateLimitError
from raypool.phase import Phase
from tests.integration import flows
from tests.integration.conftest import Account
from tests.integration.scripts import environment, kill, running, script, until


def _attached(pool: raypool.Pool, business: str) -> bool:
    """Tell whether the business's instance believes that somebody is attached."""
    seen = pool._loop.call(pool._pool._fleet.describe(business))
    assert seen is not None
    return bool(seen["attached"])


def _versions(pool: raypool.Pool, business: str) -> int:
    return pool.status(business).checkpoint_version


# -- there and away --------------------------------------------------------------------------------


def test_a_plain_script_works_on_the_live_browser(pool: raypool.Pool, account: Account) -> None:
    """The tab of the functions, signed in; what it changes is durable when the block ends."""
    business, url = account.business_id, account.site.url
    left = pool.run(business, flows.leave_traces, url, "before")
    before = pool.status(business)
    with pool.attach(business) as context:
        assert [page.url.rpartition("/")[2] for page in context.pages] == ["first", "second"]
        page = context.pages[0]
        assert page.evaluate("localStorage.kept") == "before"
        page.evaluate(flows.TRACES, "attached")
        assert _attached(pool, business)
    assert not _attached(pool, business)
    after = pool.status(business)
    assert (after.browser_pid, after.fencing_token) == (before.browser_pid, before.fencing_token)
    assert after.checkpoint_version > before.checkpoint_version
    kill(after.pid or 0)
    changed = {
        "local": "attached", "session": "attached", "map": "attached", "cookie": "kept=attached",
        "tabs": [["first", "attached"], ["second", "second"]],
    }  # fmt: skip
    assert pool.run(business, flows.traces, idempotent=True) == {**left, **changed}
    assert pool.run(business, flows.who, url) == account.email
    assert account.signed_in_again == 0


async def test_an_asyncio_script_works_on_the_live_browser(
    pool: raypool.Pool, settings: Settings, account: Account
) -> None:
    """The same, awaited; browser, context and the very page that functions get."""
    business, url = account.business_id, account.site.url
    async with raypool.connect_async(settings) as mine:
        await mine.run(business, flows.leave_traces, url, "before")
        key = await mine.get_or_create_instance(business)
        async with mine.get_instance_components(key) as found:
            assert found.agent is None
            assert found.page in found.context.pages
            assert found.context in found.browser.contexts
            assert found.page.url == f"{url}/first"
            await found.page.evaluate(flows.TRACES, "attached")
            # A function runs beside it, on the same page.
            assert (await mine.run(business, flows.traces))["local"] == "attached"
        async with mine.attach(business) as context:
            assert await context.pages[0].evaluate("localStorage.kept") == "attached"
            assert context.browser is not None
        kill((await mine.status(business)).pid or 0)
        traces = await mine.run(business, flows.traces, idempotent=True)
        assert (traces["local"], traces["map"]) == ("attached", "attached")


def test_an_error_of_the_block_stays_what_it_is(pool: raypool.Pool, account: Account) -> None:
    """And what it had changed before is durable all the same."""
    business = account.business_id
    pool.run(business, flows.leave_traces, account.site.url, "before")

    def work() -> None:
        with pool.attach(business) as context:
            context.pages[0].evaluate("localStorage.kept = 'attached'")
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        work()
    assert not _attached(pool, business)
    kill(pool.status(business).pid or 0)
    assert pool.run(business, flows.traces, idempotent=True)["local"] == "attached"


def test_attaching_wakes_a_business_and_keeps_it_awake(pool: raypool.Pool, business: str) -> None:
    """It counts as activity for as long as it lasts, and not any longer."""
    pool.get_or_create_instance(business, idle_after=3.0)
    pool.hibernate(business)
    with pool.attach(business):
        pid = pool.status(business).pid
        time.sleep(8)
        seen = pool.status(business)
        assert (seen.phase, seen.pid) == (Phase.READY, pid)
    until(lambda: pool.status(business).phase is Phase.HIBERNATED, "it rests once nobody is there")


# -- what goes wrong -------------------------------------------------------------------------------


@pytest.mark.parametrize("victim", ["actor", "browser"])
def test_what_an_attached_driver_changes_is_saved_as_it_goes(
    victim: str, pool: raypool.Pool, account: Account
) -> None:
    """Killed under the block: the block is told to attach again, and finds what was saved."""
    business = account.business_id
    pool.run(business, flows.leave_traces, account.site.url, "before")
    before = pool.status(business)

    def work() -> None:
        with pool.attach(business) as context:
            known = _versions(pool, business)
            context.pages[0].evaluate("localStorage.kept = 'attached'")
            until(lambda: _versions(pool, business) > known, "it is saved")
            kill({"actor": before.pid, "browser": before.browser_pid}[victim] or 0)
            context.pages[0].evaluate("localStorage.kept = 'never'")

    with pytest.raises(InstanceLost, match="went away|died") as caught:
        work()
    assert caught.value.retryable
    with pool.attach(business) as context:
        assert context.pages[0].evaluate("localStorage.kept") == "attached"
    assert pool.run(business, flows.who, account.site.url) == account.email
    assert account.signed_in_again == 0


def test_a_context_closed_by_mistake_comes_back(pool: raypool.Pool, account: Account) -> None:
    """`context.close()` closes the owner's: the script is told, and the last checkpoint is back."""
    business = account.business_id
    left = pool.run(business, flows.leave_traces, account.site.url, "before")
    pid = pool.status(business).pid
    with (
        pytest.raises(InstanceLost, match="went away"),
        pool.attach(business) as context,
    ):
        context.close()
    assert pool.run(business, flows.traces) == left
    assert pool.run(business, flows.who, account.site.url) == account.email
    assert pool.status(business).pid == pid


ATTACHES = """
with raypool.connect() as pool, pool.attach(sys.argv[1]) as context:
    context.browser.new_context().new_page()
    context.pages[0].evaluate("localStorage.kept = 'attached'")
    say(attached=True)
    time.sleep(100)
"""


def test_a_driver_that_is_killed_leaves_nothing_behind(
    pool: raypool.Pool, settings: Settings, account: Account
) -> None:
    """Functions run on, its contexts are closed, what it changed is kept, and the door is shut."""
    business = account.business_id
    pool.run(business, flows.leave_traces, account.site.url, "before")
    before = pool.status(business)
    with script(ATTACHES, environment(settings), business) as driver:
        assert driver.hear() == {"attached": True}
        assert _attached(pool, business)
        kill(driver.pid)
    assert pool.run(business, flows.traces)["local"] == "attached"
    until(lambda: not _attached(pool, business), "its ticket ran out", 40)
    until(lambda: pool.run(business, _contexts) == 1, "its context is closed", 40)
    after = pool.status(business)
    assert (after.pid, after.browser_pid) == (before.pid, before.browser_pid)
    assert pool.run(business, flows.who, account.site.url) == account.email


async def _contexts(page: Any) -> int:
    return len(page.context.browser.contexts)


def test_an_attached_driver_is_cut_when_the_lease_is_lost(
    pool: raypool.Pool, account: Account
) -> None:
    """A person breaks the lease: the browser dies under the block, and the next one has another."""
    business = account.business_id
    before = pool.status(business)

    def work() -> None:
        with pool.attach(business) as context:
            page = context.pages[0]
            pool.unlock(business, "it is only a test")
            until(lambda: not running(before.browser_pid or 0), "its browser is dead")
            page.evaluate("localStorage.kept = 'never'")

    with pytest.raises(InstanceLost, match="went away"):
        work()
    with pool.attach(business) as context:
        assert context.pages[0].evaluate("localStorage.kept") is None
    assert pool.run(business, flows.who, account.site.url) == account.email
    assert pool.status(business).fencing_token > before.fencing_token
    assert account.signed_in_again == 0


def test_more_drivers_than_may_are_refused(pool: raypool.Pool, business: str) -> None:
    """Sixteen at once; whoever leaves makes room."""
    pool.get_or_create_instance(business)
    visits = [pool._pool.visiting(business) for _ in range(17)]
    for visit in visits[:16]:
        pool._loop.call(visit.begin())
    with pytest.raises(RateLimitError, match="16 drivers are attached"):
        pool._loop.call(visits[16].begin())
    pool._loop.call(visits[0].end())
    pool._loop.call(visits[16].begin())
    for visit in visits[1:]:
        pool._loop.call(visit.end())
    assert not _attached(pool, business)


def test_a_key_that_fits_nothing_is_refused(pool: raypool.Pool) -> None:
    """Before anything is started for it."""
    with pytest.raises(ConfigurationError), pool.get_instance_components("no such thing"):
        pass
    assert not [s for s in pool.instances() if s.business_id == "no such thing"]


async def test_a_busy_page_does_not_keep_a_driver_out(
    pool: raypool.Pool, settings: Settings, business: str, tmp_path: Any
) -> None:
    """Attaching needs no turn: it works beside a function that runs; leaving waits for its end."""
    gate = tmp_path / "gate"
    gate.touch()
    async with raypool.connect_async(settings) as mine:
        await mine.get_or_create_instance(business)
        call = asyncio.ensure_future(mine.run(business, flows.wait_while_there, str(gate)))
        while not (tmp_path / "gate.ran").exists():
            await asyncio.sleep(0.05)
        async with mine.attach(business) as context:
            assert await context.pages[0].evaluate("1 + 1") == 2
            assert not call.done()
            gate.unlink()
        assert await call

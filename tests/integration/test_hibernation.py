"""Browsers that rest, give way, queue and are renewed, while their callers notice nothing."""

import random
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from raypool.demo.site import DemoSite
from raypool.errors import ErrorCodes, RateLimitError
from raypool.model import Desired, InstanceStatus
from raypool.phase import Phase
from tests.integration import flows
from tests.integration.conftest import Account, forget, new_id, signed_in
from tests.integration.own import Fleet, fleet
from tests.integration.scripts import running, until

pytestmark = pytest.mark.timeout(240)  # a fleet of its own has to come up, too

COMMAND_TIMEOUT_S = 8.0
"""How long a command may wait for its turn."""
PATIENCE_S = 6.0
CALLS = 25


@pytest.fixture(scope="module")
def small() -> Iterator[Fleet]:
    """A fleet with room for two browsers, which it renews often."""
    with fleet(
        max_live_per_node=2,
        recycle_pages=6,
        recycle_after=25.0,
        max_queued=2,
        command_timeout=COMMAND_TIMEOUT_S,
    ) as small:
        yield small


@pytest.fixture
def ids(small: Fleet) -> Iterator[list[str]]:
    """Four businesses that nobody has used; nothing of them is left after the test."""
    made = [new_id() for _ in range(4)]
    yield made
    for business_id in made:
        forget(small.pool, business_id)


@pytest.fixture
def account(small: Fleet, ids: list[str], site: DemoSite) -> Account:
    """The first of them, signed in."""
    return signed_in(small.pool, ids[0], site)


def _has_nothing(own: Fleet, business: str) -> bool:
    """Tell whether a business has no process, no lease and no directory."""
    return not own.browsers(business) and not own.lease(business) and not own.ledgers(business)


def _why_not(seen: InstanceStatus) -> str:
    (why,) = [c for c in seen.conditions if c.type == "NotRunning"]
    return why.reason


# -- rest ------------------------------------------------------------------------------------------


def test_a_call_wakes_what_was_hibernated(small: Fleet, account: Account) -> None:
    """No process, lease or directory is left; the next call finds state, tabs and sign-in."""
    business, pool = account.business_id, small.pool
    left = pool.run(business, flows.leave_traces, account.site.url, "kept")
    before = pool.status(business)
    for _ in range(2):
        pool.hibernate(business)
        assert _has_nothing(small, business)
        until(lambda: not running(before.pid), "its actor is gone")
    rests = pool.status(business)
    assert (rests.phase, rests.desired, rests.pid) == (Phase.HIBERNATED, Desired.HIBERNATED, None)
    assert _why_not(rests) == "Hibernated"
    assert pool.run(business, flows.traces) == left
    assert pool.run(business, flows.who, account.site.url) == account.email
    woken = pool.status(business)
    assert (woken.phase, woken.desired, woken.restarts) == (Phase.READY, Desired.RUNNING, 0)
    assert woken.fencing_token > before.fencing_token
    assert account.signed_in_again == 0


def test_wake_and_stop_have_the_last_word(small: Fleet, ids: list[str]) -> None:
    """`wake` brings it up without a call; one that was stopped is not called hibernated."""
    pool, business = small.pool, ids[0]
    key = pool.get_or_create_instance(business)
    pool.hibernate(business)
    assert pool.wake(business) == key
    assert pool.status(business).phase is Phase.READY
    pool.hibernate(business)
    pool.remove_instance(key)
    assert (pool.status(business).phase, _why_not(pool.status(business))) == ("absent", "Stopped")


def test_an_idle_business_hibernates_by_itself(small: Fleet, ids: list[str]) -> None:
    """After its `idle_after`; whoever says that he is there keeps it awake."""
    pool, (idle, kept, *_) = small.pool, ids
    for business in (idle, kept):
        key = pool.get_or_create_instance(business, idle_after=4.0)
    pid, deadline = pool.status(kept).pid, time.monotonic() + 60
    while pool.status(idle).phase is not Phase.HIBERNATED:
        assert time.monotonic() < deadline
        pool.update_instance_activity(key)
        time.sleep(0.3)
    assert _has_nothing(small, idle)
    assert pool.status(idle).desired is Desired.HIBERNATED
    assert (pool.status(kept).phase, pool.status(kept).pid) == (Phase.READY, pid)


def test_a_call_in_the_moment_of_hibernation_succeeds(small: Fleet, ids: list[str]) -> None:
    """Called again and again just when its idle time is over: no call ever sees an error."""
    pool, dice = small.pool, random.Random(3)
    idle_after = 0.4
    for business in ids[:2]:
        pool.get_or_create_instance(business, idle_after=idle_after)

    def call(business: str) -> None:
        for _ in range(5):
            assert pool.run(business, flows.nothing) == "about:blank"
            # The supervisor asks every two seconds: somewhere in there it lets the browser go.
            time.sleep(idle_after + dice.uniform(-0.02, 2.0))

    with ThreadPoolExecutor() as threads:
        list(threads.map(call, ids[:2]))
    lives = sum(pool.status(business).incarnation for business in ids[:2])
    assert lives > 3, "it was hibernated, and more than once"
    assert [pool.status(business).restarts for business in ids[:2]] == [0, 0]


def test_a_caller_never_sees_that_somebody_else_hibernates(small: Fleet, ids: list[str]) -> None:
    """A person sends it to rest whenever it is up, a script uses it all the time: no call fails."""
    pool, business, dice = small.pool, ids[0], random.Random(4)
    pool.get_or_create_instance(business)
    rests = 0
    with ThreadPoolExecutor() as threads:
        calls = threads.submit(lambda: [pool.run(business, flows.nothing) for _ in range(CALLS)])
        while not calls.done():
            if pool.status(business).phase is Phase.READY:
                time.sleep(dice.uniform(0.0, 0.5))
                pool.hibernate(business)
                rests += 1
        assert calls.result() == ["about:blank"] * CALLS
    assert rests > 1


# -- give way --------------------------------------------------------------------------------------


@contextmanager
def _busy(pool: Any, directory: Path, *businesses: str) -> Iterator[list[Future[int]]]:
    """Keep businesses busy for the block; a call that was cut off fails in its result."""
    gate = directory / "gate"
    gate.touch()
    with ThreadPoolExecutor() as threads:
        try:
            calls = [
                threads.submit(pool.run, b, flows.wait_while_there, str(gate)) for b in businesses
            ]
            ran = directory / "gate.ran"
            until(lambda: ran.exists() and len(ran.read_text().split()) == len(calls), "all run")
            yield calls
        finally:
            gate.unlink()


def test_the_least_recently_used_gives_way(small: Fleet, ids: list[str]) -> None:
    """The third of two: who was idle longest is saved and closed, the other does not notice."""
    pool, (oldest, newer, third, _) = small.pool, ids
    for business in (newer, oldest):
        pool.get_or_create_instance(business)
    pool.run(newer, flows.nothing)
    pid = pool.status(newer).pid
    time.sleep(2)
    pool.run(newer, flows.nothing)
    pool.run(third, flows.nothing)
    assert pool.status(oldest).phase is Phase.HIBERNATED
    assert _has_nothing(small, oldest)
    assert (pool.status(newer).phase, pool.status(newer).pid) == (Phase.READY, pid)


def test_a_busy_one_never_gives_way(small: Fleet, ids: list[str], tmp_path: Path) -> None:
    """With every place in use a caller is told so in time; once one is free it is served."""
    pool, (first, second, third, _) = small.pool, ids
    hasty = small.join(PATIENCE_S)
    with _busy(pool, tmp_path, first, second) as calls:
        pids = [pool.status(business).pid for business in (first, second)]
        began = time.monotonic()
        with pytest.raises(RateLimitError, match=f"no place for {third} within") as caught:
            hasty.run(third, flows.nothing)
        assert PATIENCE_S <= time.monotonic() - began < PATIENCE_S + 20
        assert caught.value.code is ErrorCodes.RATE_LIMIT_CAPACITY
        assert caught.value.retryable
        assert _why_not(pool.status(third)) == "NoRoom"
        assert not any(call.done() for call in calls)
    assert [call.result() for call in calls] == pids
    assert pool.run(third, flows.nothing) == "about:blank"


# -- queue -----------------------------------------------------------------------------------------


def test_callers_queue_in_order_and_not_without_end(
    small: Fleet, ids: list[str], tmp_path: Path
) -> None:
    """Two may wait, the next is refused at once; who waits is served in order, or told in time."""
    pool, business, notes = small.pool, ids[0], tmp_path / "notes"
    others = [small.join(60) for _ in range(3)]

    def note(caller: int) -> None:
        others[caller].run(business, flows.note, str(notes), str(caller))

    with ThreadPoolExecutor() as threads:
        with _busy(pool, tmp_path, business):
            late = []
            for caller in range(2):
                late.append(threads.submit(note, caller))
                time.sleep(0.5)
            began = time.monotonic()
            with pytest.raises(RateLimitError, match="2 commands are waiting already"):
                note(2)
            assert time.monotonic() - began < COMMAND_TIMEOUT_S
            for waiting in late:
                error = waiting.exception(timeout=60)
                assert isinstance(error, RateLimitError)
                assert f"waited {COMMAND_TIMEOUT_S:g} s for its turn" in error.message
            in_order = []
            for caller in (1, 0):
                in_order.append(threads.submit(note, caller))
                time.sleep(0.5)
        assert [call.result() for call in in_order] == [None, None]
    assert notes.read_text().split("\n")[:4] == ["begin 1", "end 1", "begin 0", "end 0"]


def test_callers_of_one_pool_do_not_queue_without_end(
    small: Fleet, ids: list[str], tmp_path: Path
) -> None:
    """The same for those who share a pool, though they queue at home."""
    pool, business = small.pool, ids[0]
    pool.get_or_create_instance(business)
    with ThreadPoolExecutor() as threads, _busy(pool, tmp_path, business):
        late = [threads.submit(pool.run, business, flows.nothing) for _ in range(3)]
        errors = [call.exception(timeout=60) for call in late]
    messages = sorted(error.message for error in errors if isinstance(error, RateLimitError))
    assert "2 commands are waiting already" in messages[0]
    assert [f"waited {COMMAND_TIMEOUT_S:g} s for its turn" in m for m in messages[1:]] == [True] * 2


# -- renew -----------------------------------------------------------------------------------------


def test_a_browser_is_renewed_without_its_caller_noticing(small: Fleet, account: Account) -> None:
    """After so many pages, then after so many seconds: another Chromium, the same actor and state."""
    business, pool = account.business_id, small.pool
    left = pool.run(business, flows.leave_traces, account.site.url, "kept")
    before = pool.status(business)
    pool.run(business, flows.open_and_close_pages, 6)
    for what in ("its pages", "its age"):
        old = until(lambda: pool.status(business).browser_pid, "there is a browser")

        def renewed(old: int = old) -> bool:
            assert pool.run(business, flows.traces) == left
            return pool.status(business).browser_pid not in {old, None}

        until(renewed, f"it was renewed for {what}", 90)
        until(lambda old=old: not running(old), "the old one is gone")
    after = pool.status(business)
    assert (after.pid, after.incarnation, after.restarts) == (before.pid, before.incarnation, 0)
    assert pool.run(business, flows.who, account.site.url) == account.email
    assert account.signed_in_again == 0

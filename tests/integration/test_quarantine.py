"""What dies again and again is set aside with the reason, until a person lets it out."""

from collections.abc import Iterator

import pytest

from raypool.errors import BrowserError, ErrorCodes
from raypool.model import InstanceStatus
from raypool.phase import Phase
from tests.integration import flows
from tests.integration.conftest import forget, new_id
from tests.integration.own import Fleet
from tests.integration.scripts import command, kill, until

pytestmark = pytest.mark.timeout(240)  # a fleet of its own has to come up, too

DEATHS = 5


@pytest.fixture
def business(quick: Fleet) -> Iterator[str]:
    """A business that nobody has used; nothing of it is left after the test."""
    business_id = new_id()
    yield business_id
    forget(quick.pool, business_id)


def _refused(own: Fleet, business: str) -> str:
    """See that a caller is told, and what."""
    with pytest.raises(BrowserError) as caught:
        own.pool.run(business, flows.nothing)
    assert caught.value.code is ErrorCodes.BROWSER_QUARANTINED
    assert not caught.value.retryable
    assert "raypool release" in caught.value.recovery
    return caught.value.message


def _why_not(seen: InstanceStatus) -> tuple[str, str]:
    (why,) = [c for c in seen.conditions if c.type == "NotRunning"]
    return why.reason, why.message


def _new(own: Fleet, business: str, old: int) -> int | None:
    """Return the pid of the business's actor once it is another one than *old*."""
    pid: int | None = own.pool.status(business).pid
    return None if pid == old else pid


def test_what_only_dies_is_set_aside_until_it_is_released(quick: Fleet, business: str) -> None:
    """Five deaths; status and callers are told why; a new supervisor knows; `release` ends it."""
    pool = quick.pool
    pid = 0
    for _ in range(DEATHS):
        pool.get_or_create_instance(business)  # a caller who waits brings the next try forward
        pid = until(lambda old=pid: _new(quick, business, old), "it is up again")
        kill(pid)
    until(lambda: pool.status(business).phase is Phase.QUARANTINED, "it is set aside")
    reason, message = _why_not(pool.status(business))
    assert reason == "Quarantined"
    assert f"it died {DEATHS} times within 10 minutes" in message
    assert f"`raypool release {business}` lets it out" in message
    assert f"it died {DEATHS} times" in _refused(quick, business)

    kill(quick.supervisor)
    assert f"it died {DEATHS} times" in _refused(quick, business)
    seen = pool.status(business)
    assert (seen.phase, seen.desired, seen.pid) == ("quarantined", "running", None)
    assert not quick.browsers(business)

    done = command(quick.env, "release", business)
    assert (done.returncode, done.stdout) == (0, f"{business} is out of quarantine.\n"), done.stderr
    until(lambda: pool.status(business).phase is Phase.READY, "it is started, since it is desired")
    assert pool.run(business, flows.nothing) == "about:blank"
    kill(pool.status(business).pid)
    assert pool.run(business, flows.nothing, idempotent=True) == "about:blank", "it counts anew"


def test_what_works_between_its_deaths_is_never_set_aside(quick: Fleet, business: str) -> None:
    """However often it dies, and however soon after a call."""
    pool = quick.pool
    pid = 0
    for _ in range(DEATHS + 1):
        assert pool.run(business, flows.nothing, idempotent=True) == "about:blank"
        pid = until(lambda old=pid: _new(quick, business, old), "it is up again")
        kill(pid)
    assert pool.run(business, flows.nothing, idempotent=True) == "about:blank"
    assert pool.status(business).restarts >= DEATHS + 1


def test_a_browser_that_only_dies_ends_its_actor(quick: Fleet, business: str) -> None:
    """So that the supervisor backs off and counts; one that works between its deaths keeps it."""
    pool = quick.pool
    pool.get_or_create_instance(business)
    first, old = pool.status(business), 0
    for _ in range(3):
        assert pool.run(business, flows.nothing, idempotent=True) == "about:blank"
        old = _kill_browser(quick, business, old)
    assert pool.run(business, flows.nothing, idempotent=True) == "about:blank"
    assert pool.status(business).pid == first.pid
    for _ in range(3):
        old = _kill_browser(quick, business, old)
    until(lambda: _new(quick, business, first.pid), "another actor is up")
    assert pool.status(business).restarts == 1
    assert pool.run(business, flows.nothing, idempotent=True) == "about:blank"


def _kill_browser(own: Fleet, business: str, old: int) -> int:
    """Kill the business's browser once it is another one than *old*; return its pid."""

    def another() -> int | None:
        seen = own.pool.status(business)
        ready = seen.phase is Phase.READY and seen.browser_pid != old
        return seen.browser_pid if ready else None

    pid = int(until(another, "there is another browser"))
    kill(pid)
    return pid

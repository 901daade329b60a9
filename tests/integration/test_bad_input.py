"""Bad input and broken pages: one clear error, nothing lost, and the next call works."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psutil
import pytest
from redis import Redis

import raypool
from raypool.browser.processes import living_browsers
from raypool.errors import (
    CommandTimeout,
    ConfigurationError,
    ErrorCodes,
    FunctionFailed,
    InstanceLost,
    RaypoolError,
    create_error,
)
from raypool.model import Checkpoint
from tests.integration import flows
from tests.integration.conftest import Account
from tests.integration.scripts import closed_port, until


@pytest.fixture(scope="module")
def account(shared_account: Account) -> Account:
    """What goes wrong in one test must not be felt in the next: all share one business."""
    return shared_account


NEVER = "never-made"
WRONG: dict[str, tuple[Callable[[raypool.Pool], Any], str]] = {
    "id": (lambda p: p.run("no spaces!", flows.nothing), "'no spaces!' is not a business id"),
    "id type": (lambda p: p.run(5, flows.nothing), "'5' is not a business id"),
    "long id": (lambda p: p.get_or_create_instance("x" * 129), "is not a business id"),
    "key": (lambda p: p.remove_instance("business:../x"), "'../x' is not a business id"),
    "e-mail": (lambda p: p.get_or_create_instance(NEVER, email="nobody"), "not an e-mail address"),
    "ttl": (lambda p: p.get_or_create_instance(NEVER, ttl=-1), "ttl=-1 is not a duration"),
    "idle": (lambda p: p.get_or_create_instance(NEVER, idle_after="soon"), "idle_after"),
    "unknown": (lambda p: p.get_or_create_instance(NEVER, locales="de"), "locales: not an option"),
    "browser": (lambda p: p.get_or_create_instance(NEVER, browser="firefox"), "browser='firefox'"),
    "concurrency": (
        lambda p: list(p.map(flows.nothing, [NEVER], concurrency=-1)),
        "concurrency=-1",
    ),
    "no workers": (lambda p: list(p.map(flows.nothing, [NEVER], concurrency=0)), "concurrency=0"),
    "timeout": (lambda p: p.run(NEVER, flows.nothing, timeout=0), "timeout=0 is not a duration"),
    "nan": (lambda p: p.run(NEVER, flows.nothing, timeout=float("nan")), "timeout=nan"),
    "sync": (lambda p: p.run(NEVER, lambda page: page.url), "is not an async function"),
    "no function": (lambda p: p.run(NEVER, "post_update"), "is not an async function"),
    "argument": (lambda p: p.run(NEVER, flows.nothing, (n for n in ())), "cannot be pickled"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_argument_is_refused_before_anything_happens(what: str, pool: raypool.Pool) -> None:
    """The message names value and what fits; no record and no browser is made."""
    call, says = WRONG[what]
    with pytest.raises(ConfigurationError) as caught:
        call(pool)
    assert says in caught.value.message
    assert caught.value.code in {
        ErrorCodes.CONFIG_INVALID_ARGUMENT,
        ErrorCodes.CONFIG_INVALID_FUNCTION,
    }
    assert caught.value.recovery
    assert not caught.value.retryable
    assert not pool.sessions.get_sessions_by_business(NEVER)
    assert NEVER not in {b.business_id for b in living_browsers()}


@pytest.mark.parametrize(
    ("option", "wrong", "right"),
    [("viewport", {"width": "wide"}, None), ("timezone_id", "Mars/Base", "Asia/Tokyo")],
)
def test_an_option_that_only_chromium_can_judge(
    option: str, wrong: Any, right: Any, pool: raypool.Pool, business: str
) -> None:
    """Told when the browser refuses it, not when waiting for it has taken too long; then mended."""
    began = time.monotonic()
    with pytest.raises(ConfigurationError, match="does not take an option") as caught:
        pool.get_or_create_instance(business, **{option: wrong})
    assert time.monotonic() - began < 30
    assert caught.value.code is ErrorCodes.CONFIG_INVALID_ARGUMENT
    assert "get_or_create_instance" in caught.value.recovery
    pool.get_or_create_instance(business, **{option: right})
    assert pool.run(business, flows.nothing) == "about:blank"


async def _fails(page: Any, url: str) -> None:
    await flows.leave_traces(page, url, "before-the-error")
    raise LookupError("no such post\nsecond line")


async def _raises_ours(page: Any) -> None:
    raise create_error(ErrorCodes.AUTH_INVALID_CREDENTIALS, "the site said no")


async def _gives_a_page(page: Any) -> Any:
    return page


async def _never_ends(page: Any) -> None:
    import asyncio

    await asyncio.Event().wait()


async def _blocks(page: Any) -> None:
    while True:
        pass


async def _goes(page: Any, url: str) -> None:
    await page.goto(url, timeout=20_000)


async def _gives_back(page: Any, data: bytes, size: int) -> tuple[int, bytes]:
    return len(data), bytes(size)


async def _closes_page(page: Any) -> str:
    await page.close()
    return "closed"


async def _closes_context(page: Any) -> str:
    await page.context.close()
    return "closed"


async def _closes_browser(page: Any) -> str:
    await page.context.browser.close()
    return "closed"


async def _clicks_nothing(page: Any) -> None:
    await page.get_by_role("button", name="Nowhere").click(timeout=200)


def _goes_on(pool: raypool.Pool, account: Account) -> None:
    """The next call works, and nobody had to sign in again."""
    who = pool.run(account.business_id, flows.who, account.site.url, idempotent=True)
    assert who == account.email
    assert account.signed_in_again == 0
    seen = pool.status(account.business_id)
    tokens = {b.token for b in living_browsers() if b.business_id == account.business_id}
    assert tokens == {seen.fencing_token}


def test_a_function_that_raises_tells_so_and_its_state_is_saved(
    pool: raypool.Pool, account: Account, stored: Callable[[str], Checkpoint]
) -> None:
    """The caller gets the very exception as cause; what came before it is not lost."""
    with pytest.raises(FunctionFailed) as caught:
        pool.run(account.business_id, _fails, account.site.url)
    assert caught.value.message == "the function raised LookupError: no such post"
    assert isinstance(caught.value.__cause__, LookupError)
    assert "_fails" in caught.value.context["traceback"]
    assert caught.value.context["business_id"] == account.business_id
    assert caught.value.trace_id
    assert not caught.value.retryable
    assert (
        b"before-the-error" in stored(account.business_id).parts[f"local:{account.site.url}/#0/1"]
    )
    _goes_on(pool, account)


def test_small_mistakes_of_a_function_cost_nothing(pool: raypool.Pool, account: Account) -> None:
    """An error of ours passes through; a result that cannot travel and a missing button are told."""
    business = account.business_id
    with pytest.raises(raypool.errors.AuthenticationError, match="the site said no"):
        pool.run(business, _raises_ours)
    with pytest.raises(ConfigurationError, match="a Page, cannot be sent back") as caught:
        pool.run(business, _gives_a_page)
    assert caught.value.code is ErrorCodes.CONFIG_RESULT_NOT_PICKLABLE
    with pytest.raises(FunctionFailed, match="TimeoutError: .*200ms exceeded"):
        pool.run(business, _clicks_nothing)
    with pytest.raises(FunctionFailed, match="ERR_CONNECTION_REFUSED"):
        pool.run(business, _goes, f"http://127.0.0.1:{closed_port()}/")
    with pytest.raises(FunctionFailed, match="TypeError"):
        pool.run(business, flows.who, "two", "arguments too many")
    _goes_on(pool, account)


def test_large_arguments_and_results_travel(pool: raypool.Pool, account: Account) -> None:
    """20 MB there and 20 MB back."""
    size = 20_000_000
    seen, back = pool.run(account.business_id, _gives_back, bytes(size), size)
    assert (seen, len(back)) == (size, size)


def test_a_function_that_never_ends_is_cut_off(pool: raypool.Pool, account: Account) -> None:
    """At its deadline, not much later; its browser is replaced, the actor stays."""
    before = pool.status(account.business_id)
    began = time.monotonic()
    with pytest.raises(CommandTimeout, match="longer than 2 s"):
        pool.run(account.business_id, _never_ends, timeout=2)
    assert 2 <= time.monotonic() - began < 10
    _goes_on(pool, account)
    after = pool.status(account.business_id)
    assert after.pid == before.pid
    assert after.browser_pid != before.browser_pid


def test_a_function_that_blocks_for_ever_costs_its_actor(
    pool: raypool.Pool, account: Account
) -> None:
    """Nothing in that process can end it, so the process ends; nobody waits much longer than asked."""
    before = pool.status(account.business_id)
    began = time.monotonic()
    with pytest.raises((InstanceLost, CommandTimeout)):
        pool.run(account.business_id, _blocks, timeout=1)
    assert time.monotonic() - began < 15
    _goes_on(pool, account)
    assert pool.status(account.business_id).pid != before.pid
    assert not psutil.pid_exists(before.pid or 0)


def test_a_page_that_crashes_is_worth_another_try(pool: raypool.Pool, account: Account) -> None:
    """The error says retryable, and it is."""
    before = pool.status(account.business_id).browser_pid
    with pytest.raises(InstanceLost, match="crashed") as caught:
        pool.run(account.business_id, _goes, "chrome://crash")
    assert caught.value.retryable
    _goes_on(pool, account)
    assert pool.status(account.business_id).browser_pid != before


@pytest.mark.parametrize("closes", [_closes_page, _closes_context, _closes_browser])
def test_a_function_may_close_what_it_was_given(
    closes: Callable[[Any], Any], pool: raypool.Pool, account: Account
) -> None:
    """Page, context or browser: the next call finds another one, signed in."""
    if closes is _closes_page:
        assert pool.run(account.business_id, closes) == "closed"
    else:
        with pytest.raises(InstanceLost):
            pool.run(account.business_id, closes)
    _goes_on(pool, account)


def test_a_broken_part_costs_one_version(
    pool: raypool.Pool, account: Account, redis: Redis, stored: Callable[[str], Checkpoint]
) -> None:
    """The newest version that can be read comes up, and a condition names what could not."""
    business = account.business_id
    parts = f"test:{{0}}:parts:{pool.status(business).session_id}"
    good = stored(business).info.version
    before = set(redis.hkeys(parts))
    pool.run(business, flows.leave_traces, account.site.url, "broken-soon")
    broken = pool.status(business).checkpoint_version
    pool.remove_instance(f"business:{business}")
    for field in set(redis.hkeys(parts)) - before:
        redis.hset(parts, field, b"nonsense")
    pool.get_or_create_instance(business)
    told = " ".join(c.message for c in pool.status(business).conditions)
    assert f"part 'local:{account.site.url}/#0/1' of version {broken}" in told
    assert broken > good
    _goes_on(pool, account)


def test_no_error_says_a_secret(pool: raypool.Pool, account: Account) -> None:
    """A password that stands in the text of an exception is not repeated."""

    async def leaks(page: Any) -> None:
        raise ValueError("cannot open redis://user:s3cr3t-word@host:6379/0")

    with pytest.raises(FunctionFailed) as caught:
        pool.run(account.business_id, leaks)
    shown = f"{caught.value} {caught.value.context}"
    assert "s3cr3t-word" not in shown
    assert "[hidden]" in shown


def test_many_wrong_calls_at_once_leave_nothing_running(
    pool: raypool.Pool, account: Account
) -> None:
    """Twenty failures beside each other: as many errors, then everything as before."""

    def wrong(_: int) -> RaypoolError:
        with pytest.raises(FunctionFailed) as caught:
            pool.run(account.business_id, flows.nothing, "an argument too many")
        return caught.value

    with ThreadPoolExecutor() as threads:
        errors = list(threads.map(wrong, range(20)))
    assert len({e.trace_id for e in errors}) == 20
    until(lambda: pool.status(account.business_id).phase == "ready", "it is ready")
    _goes_on(pool, account)

"""What the fleet promises on a good day. Real Ray, real Chromium, real Valkey."""

import asyncio
import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest
import ray
from redis import Redis

import raypool
from actors.business import Business
from raypool import calls
from raypool.browser.processes import living_browsers
from raypool.config import Settings
from raypool.demo.site import DemoSite
from raypool.errors import FunctionFailed, InstanceNotReady, SessionNotFound
from raypool.model import Checkpoint, Desired, SignIn
from raypool.phase import Phase
from raypool.spec import Probe
from tests.integration import flows
from tests.integration.conftest import Account
from tests.integration.scripts import environment, hosts, script


def test_what_a_function_changed_is_saved_when_run_returns(
    pool: raypool.Pool, account: Account, stored: Callable[[str], Checkpoint]
) -> None:
    """The version grows, and Redis holds the very cookie that the site knows."""
    before = pool.status(account.business_id).checkpoint_version
    pool.run(account.business_id, flows.leave_traces, account.site.url, "v")
    checkpoint = stored(account.business_id)
    assert checkpoint.info.version == pool.status(account.business_id).checkpoint_version > before
    cookies = {c["name"]: c["value"] for c in json.loads(checkpoint.parts["cookies"])}
    assert account.site.email_of(cookies["session"]) == account.email
    assert cookies["kept"] == "v"
    assert b'"kept"' in checkpoint.parts[f"local:{account.site.url}/#0/1"]
    assert len(json.loads(checkpoint.parts["tabs"])["tabs"]) == 2


def test_what_changed_nothing_saves_nothing(pool: raypool.Pool, account: Account) -> None:
    """Looking twice at the same page makes no new version."""
    pool.run(account.business_id, flows.nothing)
    before = pool.status(account.business_id).checkpoint_version
    pool.run(account.business_id, flows.nothing)
    assert pool.status(account.business_id).checkpoint_version == before


def test_checkpoint_gives_the_acknowledged_version(
    pool: raypool.Pool, account: Account, stored: Callable[[str], Checkpoint]
) -> None:
    """What it returns is what Redis holds."""
    assert pool.checkpoint(account.business_id) == stored(account.business_id).info


def test_a_caller_that_is_faster_than_the_start_is_told_to_come_again(pool: raypool.Pool) -> None:
    """An actor has its name before it has a browser: that is no error of the function's."""
    actor = Business.options(num_cpus=0).remote("b-fast")  # type: ignore[attr-defined]
    call = calls.pack_call(flows.nothing, (), {})
    reply = ray.get(actor.run.remote(call, 1.0, {}), timeout=60)
    ray.kill(actor)
    with pytest.raises(InstanceNotReady, match="b-fast is coming up") as caught:
        calls.unpack_reply(reply)
    assert caught.value.retryable


async def test_commands_of_one_business_take_turns_in_order(
    pool: raypool.Pool, settings: Settings, business: str, tmp_path: Path
) -> None:
    """Five at once: each begins after the one before it ended, in the order of the calls."""
    file = tmp_path / "turns"
    async with raypool.connect_async(settings) as mine:
        calls = [mine.run(business, flows.note, str(file), str(n), 0.05) for n in range(5)]
        await asyncio.gather(*calls)
    assert file.read_text().splitlines() == [f"{w} {n}" for n in range(5) for w in ("begin", "end")]


def test_different_businesses_run_in_parallel(
    pool: raypool.Pool, three: list[str], tmp_path: Path
) -> None:
    """Each waits until the other is there: one after the other they would wait for ever."""
    first, second = three[:2]
    with ThreadPoolExecutor() as threads:
        calls = [
            threads.submit(pool.run, me, flows.meet, str(tmp_path), me, other, timeout=30)
            for me, other in ((first, second), (second, first))
        ]
        assert {call.result() for call in calls} == {first, second}


def test_get_or_create_is_idempotent_and_concurrent(pool: raypool.Pool, business: str) -> None:
    """Four threads at once and a call later: one key, one actor, one browser."""
    with ThreadPoolExecutor() as threads:
        calls = [threads.submit(pool.get_or_create_instance, business) for _ in range(4)]
        keys = {call.result() for call in calls}
    seen = pool.status(business)
    keys.add(pool.get_or_create_instance(business))
    assert keys == {f"business:{business}"}
    again = pool.status(business)
    assert (again.pid, again.browser_pid, again.incarnation) == (seen.pid, seen.browser_pid, 1)
    assert len({b.token for b in living_browsers() if b.business_id == business}) == 1
    assert len(pool.sessions.get_sessions_by_business(business)) == 1


def test_map_runs_no_more_at_once_than_asked(
    pool: raypool.Pool, three: list[str], tmp_path: Path
) -> None:
    """With concurrency=2 never three, and not one by one either."""
    pool.run(three[2], flows.nothing)
    outcomes = list(pool.map(flows.crowd, three, str(tmp_path), concurrency=2))
    assert {o.business_id for o in outcomes} == set(three)
    assert all(o.ok and o.error is None and o.attempts == 1 for o in outcomes)
    assert max(o.value or 0 for o in outcomes) == 2


def test_one_failure_does_not_stop_the_rest(
    pool: raypool.Pool, three: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its outcome carries the error; the others their values; the bar counts all of them."""
    outcomes = list(pool.map(flows.fail_once, three, str(tmp_path / "x"), progress=True))
    assert [o.value for o in outcomes if o.ok] == ["fine", "fine"]
    (failed,) = [o for o in outcomes if not o.ok]
    assert isinstance(failed.error, FunctionFailed)
    assert isinstance(failed.error.__cause__, ValueError)
    assert all(o.seconds > 0 for o in outcomes)
    shown = capsys.readouterr()
    assert "3/3" in shown.err
    assert not shown.out


def test_a_map_may_be_left_early(pool: raypool.Pool, three: list[str]) -> None:
    """The first outcome is enough; everything works on."""
    for outcome in pool.map(flows.nothing, three, concurrency=1):
        assert outcome.ok
        break
    assert [o.ok for o in pool.map(flows.nothing, three)] == [True] * 3


def test_options_reach_the_browser_and_new_ones_wait_for_the_next(
    pool: raypool.Pool, business: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A second spec changes nothing of the living browser, says so, and holds for the next one."""
    pool.get_or_create_instance(
        business,
        locale="de-DE",
        user_agent="Bot/1",
        viewport={"width": 640, "height": 480},
        timezone_id="Asia/Tokyo",
    )
    seen = {"language": "de-DE", "agent": "Bot/1", "zone": "Asia/Tokyo", "width": 640}
    assert pool.run(business, flows.looks) == {**seen, "height": 480}
    pid = pool.status(business).browser_pid
    capsys.readouterr()
    pool.get_or_create_instance(business, locale="fr-FR")
    assert "takes effect with the next browser" in capsys.readouterr().err
    assert pool.run(business, flows.looks)["language"] == "de-DE"
    assert pool.status(business).browser_pid == pid
    pool.remove_instance(f"business:{business}")
    assert pool.run(business, flows.looks) == {**seen, "language": "fr-FR", "height": 480}


def test_a_probe_tells_signed_in_from_signed_out(
    pool: raypool.Pool, business: str, site: DemoSite
) -> None:
    """Without a probe nobody knows; with one, what the site shows."""
    pool.get_or_create_instance(business)
    assert pool.status(business).sign_in is SignIn.UNKNOWN
    pool.remove_instance(f"business:{business}")
    pool.get_or_create_instance(business, probe=Probe(cookie="session"))
    assert pool.status(business).sign_in is SignIn.NEEDS_HUMAN  # no state of it is signed in
    password = site.add_account(f"{business}@x.example")
    pool.run(business, raypool.demo.flows.sign_in, site.url, {f"{business}@x.example": password})
    assert pool.status(business).sign_in is SignIn.SIGNED_IN


def test_removing_leaves_no_process_and_keeps_the_record(
    pool: raypool.Pool, account: Account, redis: Redis
) -> None:
    """Browser, actor and lease are gone; the next call brings everything back, signed in."""
    business = account.business_id
    left = pool.run(business, flows.leave_traces, account.site.url, "kept")
    lease = f"test:{{0}}:lease:{business}"
    assert redis.exists(lease)
    for _ in range(2):
        pool.remove_instance(f"business:{business}")
        assert not [b for b in living_browsers() if b.business_id == business]
        assert not redis.exists(lease)
    seen = pool.status(business)
    assert (seen.phase, seen.desired, seen.pid) == (Phase.ABSENT, Desired.STOPPED, None)
    assert pool.run(business, flows.traces) == left
    assert pool.run(business, flows.who, account.site.url) == account.email
    assert account.signed_in_again == 0


def test_activity_slides_the_expiry(pool: raypool.Pool, business: str) -> None:
    """The record lives its whole TTL from the last activity on."""
    key = pool.get_or_create_instance(business, ttl=500)
    before = pool.status(business)
    pool.update_instance_activity(key)
    after = pool.status(business)
    assert after.expires_at > before.expires_at
    assert after.last_activity > before.last_activity
    assert 490 < (after.expires_at - datetime.now(UTC)).total_seconds() <= 500


def test_status_says_what_is(pool: raypool.Pool, account: Account) -> None:
    """Every field of a healthy instance, alone and in the list of all."""
    seen = pool.status(account.business_id)
    assert (seen.phase, seen.desired, seen.sign_in) == ("ready", "running", "signed_in")
    assert (seen.incarnation, seen.restarts, seen.next_retry_at) == (1, 0, None)
    assert seen.last_good_version == seen.checkpoint_version > 0
    assert seen.fencing_token > 0
    assert 50e6 < (seen.memory_bytes or 0) < 2e9
    assert seen.node_id
    assert seen.cluster
    browsers = [b for b in living_browsers() if b.business_id == account.business_id]
    assert seen.browser_pid in {b.pid for b in browsers}
    assert {b.token for b in browsers} == {seen.fencing_token}
    (title,) = psutil.Process(seen.pid).cmdline()[:1]
    assert title.strip() == f"ray::business:{account.business_id}"
    listed = {s.business_id: s for s in pool.instances()}[account.business_id]
    assert (listed.pid, listed.session_id) == (seen.pid, seen.session_id)


def test_a_business_that_nobody_knows_has_no_status(pool: raypool.Pool) -> None:
    """It is said so, and nothing is made for having asked."""
    with pytest.raises(SessionNotFound, match="nobody has no active session"):
        pool.status("nobody")
    assert not pool.sessions.get_sessions_by_business("nobody")


JOINS = """
with raypool.connect() as pool:
    say(value=pool.run(sys.argv[1], flows.who, sys.argv[2]), instances=len(pool.instances()))
"""


def test_two_scripts_share_a_fleet(
    pool: raypool.Pool, settings: Settings, account: Account
) -> None:
    """The second finds the same browser, signed in; when it leaves, nothing ends for the first."""
    pid = pool.status(account.business_id).browser_pid
    with script(JOINS, environment(settings), account.business_id, account.site.url) as second:
        answers = []
        threading.Thread(target=lambda: answers.append(second.hear())).start()
        for _ in range(3):
            assert pool.run(account.business_id, flows.who, account.site.url) == account.email
        assert second.end() == 0, second.errors()
    assert answers[0]["value"] == account.email
    assert len(hosts(settings.data_dir)) == 1
    assert pool.run(account.business_id, flows.who, account.site.url) == account.email
    assert pool.status(account.business_id).browser_pid == pid


TWO_POOLS = """
first, second = raypool.connect(), raypool.connect()
first.run(sys.argv[1], flows.nothing)
first.close()
first.close()
try:
    first.run(sys.argv[1], flows.nothing)
except raypool.RaypoolError as error:
    trouble(error)
say(value=second.run(sys.argv[1], flows.who, sys.argv[2]))
second.close()
async def again():
    async with raypool.connect_async() as pool:
        await pool.run(sys.argv[1], flows.nothing)
    try:
        await pool.run(sys.argv[1], flows.nothing)
    except raypool.RaypoolError as error:
        trouble(error)
asyncio.run(again())
"""


def test_pools_of_one_script_do_not_disturb_each_other(
    pool: raypool.Pool, settings: Settings, account: Account
) -> None:
    """The first may be closed before the second; a closed one says so, as often as it is asked."""
    with script(TWO_POOLS, environment(settings), account.business_id, account.site.url) as two:
        assert two.hear()["message"] == "the pool is closed"
        assert two.hear() == {"value": account.email}
        left = two.hear()
        assert left["code"] == "NETWORK_RAY_UNREACHABLE"
        assert "Call raypool.connect() again" in left["recovery"]
        assert two.end() == 0, two.errors()


async def test_everything_is_there_for_asyncio(
    pool: raypool.Pool, settings: Settings, account: Account
) -> None:
    """The same methods, awaited."""
    business = account.business_id
    async with raypool.connect_async(settings) as mine:
        assert isinstance(mine, raypool.BrowserInstanceManager)
        key = await mine.get_or_create_instance(business)
        assert await mine.run(business, flows.who, account.site.url) == account.email
        assert [o.ok async for o in mine.map(flows.nothing, [business])] == [True]
        assert (await mine.checkpoint(business)).signed_in
        assert business in {s.business_id for s in await mine.instances()}
        await mine.update_instance_activity(key)
        await mine.remove_instance(key)
        assert (await mine.status(business)).phase is Phase.ABSENT
        assert (await mine.sessions.get_active_session(business)) is not None

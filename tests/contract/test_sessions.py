"""What every session store promises."""

import asyncio
import json
from datetime import UTC, datetime, timedelta

import pytest

from raypool.errors import (
    ConfigurationError,
    ErrorCodes,
    LeaseLost,
    SessionLocked,
    SessionNotFound,
    VersionConflict,
)
from raypool.model import Condition, Desired, Observed, SessionStatus, SignIn, Supervision
from raypool.phase import Phase
from raypool.state import COOKIES, decode
from tests.contract.conftest import Stores

NOBODY = "00-" + "0" * 32


async def test_a_session_comes_back_as_it_was_made(stores: Stores) -> None:
    """All that was given is there again, and by every way to it."""
    made = await stores.sessions.create_session(
        "b-1", "Owner@Example.com", ttl=30, locale="de-DE", viewport={"width": 800, "height": 600}
    )
    assert (made.business_id, made.email, made.ttl) == ("b-1", "Owner@Example.com", 30.0)
    assert (made.status, made.desired, made.version) == (SessionStatus.ACTIVE, Desired.STOPPED, 1)
    assert made.spec.context["locale"] == "de-DE"
    assert made.expires_at - made.last_activity == timedelta(seconds=30)
    assert await stores.sessions.get_session(made.id) == made
    assert await stores.sessions.get_active_session("b-1") == made
    assert await stores.sessions.get_sessions_by_business("b-1") == [made]
    assert await stores.sessions.get_sessions_by_email("owner@EXAMPLE.com") == [made]
    assert made in await stores.sessions.list_sessions()
    assert await stores.sessions.list_sessions(status=SessionStatus.ACTIVE) == [made]


@pytest.mark.parametrize("sid", [NOBODY, "", "nonsense", "99-" + "0" * 32, "a:b\n{c}"])
async def test_what_is_missing_is_none_or_not_found(stores: Stores, sid: str) -> None:
    """Reading gives None, changing says that there is none."""
    assert await stores.sessions.get_session(sid) is None
    for change in (
        stores.sessions.update_session(sid, email=None),
        stores.sessions.touch(sid),
        stores.sessions.delete_session(sid),
        stores.sessions.report(sid, 1, Observed()),
    ):
        with pytest.raises(SessionNotFound):
            await change


@pytest.mark.parametrize("wish", Desired)
async def test_a_new_active_session_retires_the_old_one(stores: Stores, wish: Desired) -> None:
    """One active session a business: the old one is inactive, and nothing is wanted of it any more."""
    first = await stores.sessions.ensure_active("b", desired=wish)
    second = await stores.sessions.create_session("b")
    retired = await stores.sessions.get_session(first.id)
    assert retired is not None
    assert (retired.status, retired.desired) == (SessionStatus.INACTIVE, Desired.STOPPED)
    assert retired.version == first.version + 1
    assert await stores.sessions.get_active_session("b") == second
    assert await stores.sessions.list_sessions(status=SessionStatus.INACTIVE) == [retired]
    for other in (Desired.RUNNING, Desired.HIBERNATED):
        assert await stores.sessions.list_sessions(desired=other) == []
    assert {s.id for s in await stores.sessions.list_sessions(desired=Desired.STOPPED)} == {
        first.id,
        second.id,
    }


async def test_activating_an_old_session_retires_the_other(stores: Stores) -> None:
    """Also when it becomes active by an update."""
    first = await stores.sessions.create_session("b")
    second = await stores.sessions.create_session("b")
    await stores.sessions.update_session(first.id, status="active")
    active = await stores.sessions.list_sessions(status=SessionStatus.ACTIVE)
    assert [s.id for s in active] == [first.id]
    assert [s.id for s in await stores.sessions.list_sessions(status=SessionStatus.INACTIVE)] == [
        second.id
    ]


async def test_many_at_once_leave_one_active(stores: Stores) -> None:
    """However many are created at the same time."""
    made = await asyncio.gather(*(stores.sessions.create_session("b") for _ in range(6)))
    found = await stores.sessions.get_sessions_by_business("b")
    assert {s.id for s in found} == {s.id for s in made}
    assert [s.status for s in found].count(SessionStatus.ACTIVE) == 1


async def test_other_businesses_are_left_alone(stores: Stores) -> None:
    """A business whose id begins like another's is another."""
    one = await stores.sessions.create_session("b")
    other = await stores.sessions.create_session("b.2")
    assert await stores.sessions.get_active_session("b") == one
    assert await stores.sessions.get_active_session("b.2") == other
    assert {s.id for s in await stores.sessions.list_sessions(status=SessionStatus.ACTIVE)} == {
        one.id,
        other.id,
    }


async def test_ensuring_is_idempotent(stores: Stores) -> None:
    """The same wishes again: the same session, the same version, a later expiry."""
    first = await stores.sessions.ensure_active("b", email="a@example.com", locale="fr-FR")
    await stores.wait(0.05)
    again = await stores.sessions.ensure_active("b", email="a@example.com", locale="fr-FR")
    assert (again.id, again.version, again.spec) == (first.id, first.version, first.spec)
    assert again.expires_at > first.expires_at


async def test_ensuring_lays_wishes_over_what_is_there(stores: Stores) -> None:
    """What is not named stays; what is named changes; the old e-mail leads nowhere."""
    await stores.sessions.ensure_active("b", email="old@example.com", locale="fr-FR")
    after = await stores.sessions.ensure_active(
        "b", email="new@example.com", desired=Desired.RUNNING, timezone_id="Europe/Paris"
    )
    assert after.spec.context == {"locale": "fr-FR", "timezone_id": "Europe/Paris"}
    assert (after.version, after.desired) == (2, Desired.RUNNING)
    assert await stores.sessions.get_sessions_by_email("old@example.com") == []
    assert await stores.sessions.get_sessions_by_email("new@example.com") == [after]
    assert (await stores.sessions.ensure_active("b")).email == "new@example.com"


async def test_ensuring_at_once_makes_one(stores: Stores) -> None:
    """Many callers at once get the same session."""
    made = await asyncio.gather(*(stores.sessions.ensure_active("b") for _ in range(8)))
    assert len({s.id for s in made}) == 1
    assert len(await stores.sessions.get_sessions_by_business("b")) == 1


async def test_ensuring_beside_inactive_sessions_makes_a_new_one(stores: Stores) -> None:
    """Retired sessions are not brought back unasked."""
    old = await stores.sessions.create_session("b", status=SessionStatus.INACTIVE)
    assert (await stores.sessions.ensure_active("b")).id != old.id


async def test_an_update_changes_what_it_names(stores: Stores) -> None:
    """And nothing else; an e-mail of None takes it away."""
    made = await stores.sessions.create_session("b", "a@example.com", locale="fr-FR")
    changed = await stores.sessions.update_session(
        made.id, email=None, status="error", ttl=timedelta(seconds=20), headless=False
    )
    assert (changed.email, changed.status, changed.ttl) == (None, SessionStatus.ERROR, 20.0)
    assert changed.spec.context == {"locale": "fr-FR"}
    assert not changed.spec.headless
    assert changed.version == made.version + 1
    assert await stores.sessions.get_sessions_by_email("a@example.com") == []
    assert await stores.sessions.get_active_session("b") is None


async def test_a_stale_expected_version_changes_nothing(stores: Stores) -> None:
    """The caller read something that is not there any more."""
    made = await stores.sessions.create_session("b")
    await stores.sessions.update_session(made.id, expected_version=1, email="a@example.com")
    with pytest.raises(VersionConflict) as caught:
        await stores.sessions.update_session(made.id, expected_version=1, email="b@example.com")
    assert caught.value.context["version"] == 2
    found = await stores.sessions.get_session(made.id)
    assert found is not None
    assert found.email == "a@example.com"


async def test_updates_at_once_are_all_there(stores: Stores) -> None:
    """Without an expected version none overwrites the other."""
    made = await stores.sessions.create_session("b")
    options = ["locale", "timezone_id", "user_agent", "base_url"]
    await asyncio.gather(
        *(stores.sessions.update_session(made.id, **{name: name}) for name in options)
    )
    found = await stores.sessions.get_session(made.id)
    assert found is not None
    assert found.spec.context == {name: name for name in options}
    assert found.version == 1 + len(options)


async def test_what_does_not_fit_is_refused(stores: Stores) -> None:
    """Before anything is written; the message names it."""
    made = await stores.sessions.create_session("b")
    wrong: dict[str, object] = {
        "nonsense": 1, "status": "gone", "desired": "dancing", "email": "nobody@", "ttl": -1,
        "browser": "netscape", "cookies_json": "{", "storage_json": "[]",
        "assigned_cluster": "two\nlines",
    }  # fmt: skip
    for name, value in wrong.items():
        with pytest.raises(ConfigurationError, match=name.replace("email", "nobody@")) as caught:
            await stores.sessions.update_session(made.id, **{name: value})
        assert caught.value.code is ErrorCodes.CONFIG_INVALID_ARGUMENT
    assert await stores.sessions.get_session(made.id) == made


async def test_a_session_is_hibernated_and_woken(stores: Stores) -> None:
    """It is found by the wish that it has, and by no other."""
    made = await stores.sessions.ensure_active("b", desired=Desired.RUNNING)
    for wish in (Desired.HIBERNATED, Desired.RUNNING, Desired.HIBERNATED, Desired.STOPPED):
        changed = await stores.sessions.update_session(made.id, desired=wish)
        assert changed.desired is wish
        for other in Desired:
            found = await stores.sessions.list_sessions(desired=other)
            assert found == ([changed] if other is wish else [])


async def test_only_the_assigned_cluster_may_run_a_session(stores: Stores) -> None:
    """It is named in the record; None gives it back to all; other changes leave it as it is."""
    made = await stores.sessions.ensure_active("b")
    assert made.assigned_cluster is None
    given = await stores.sessions.update_session(made.id, assigned_cluster="paris")
    assert (given.assigned_cluster, given.version) == ("paris", 2)
    assert (await stores.sessions.ensure_active("b", locale="fr-FR")).assigned_cluster == "paris"
    freed = await stores.sessions.update_session(made.id, assigned_cluster=None)
    assert freed.assigned_cluster is None
    for wrong in ("", "x" * 65, 7, "a\x1b[2J"):
        with pytest.raises(ConfigurationError, match="assigned_cluster"):
            await stores.sessions.update_session(made.id, assigned_cluster=wrong)


async def test_the_supervisor_remembers(stores: Stores) -> None:
    """What it wrote last is in the record, whatever else is written; version and expiry stay."""
    made = await stores.sessions.create_session("b")
    assert made.supervision == Supervision()
    at = datetime(2030, 1, 2, 3, 4, 5, 678901, UTC)
    why = Condition(type="Quarantined", reason="CrashLoop", message="5 deaths \u20ac", since=at)
    first = Supervision(failures=2, deaths=(at, at), retry_at=at, quarantined=why)
    await stores.sessions.supervise(made.id, first)
    found = await stores.sessions.get_session(made.id)
    assert found == made.model_copy(update={"supervision": first})
    changed = await stores.sessions.update_session(made.id, locale="fr-FR")
    assert changed.supervision == first
    for _ in range(2):
        await stores.sessions.supervise(made.id, Supervision(failures=1))
    touched = await stores.sessions.touch(made.id)
    assert (touched.supervision, touched.version) == (Supervision(failures=1), 2)
    assert await stores.sessions.list_sessions() == [touched]


async def test_nobody_is_remembered_that_is_not_there(stores: Stores) -> None:
    """A session that was deleted, or has expired, has no memory."""
    gone = await stores.sessions.create_session("b", ttl=0.1)
    await stores.wait(0.15)
    for sid in (gone.id, NOBODY):
        with pytest.raises(SessionNotFound):
            await stores.sessions.supervise(sid, Supervision())
    assert (await stores.sessions.create_session("b")).supervision == Supervision()


async def test_ids_and_addresses_that_do_not_fit_are_refused(stores: Stores) -> None:
    """At each door that takes one."""
    for call in (
        stores.sessions.create_session("no spaces"),
        stores.sessions.ensure_active(""),
        stores.sessions.get_sessions_by_business("a{b}"),
        stores.sessions.get_active_session(":"),
        stores.sessions.get_sessions_by_email("nobody"),
        stores.sessions.create_session("b", "nobody"),
    ):
        with pytest.raises(ConfigurationError):
            await call
    assert await stores.sessions.list_sessions() == []


async def test_a_touch_slides_the_expiry(stores: Stores) -> None:
    """Last activity and expiry move, the version does not."""
    made = await stores.sessions.create_session("b")
    await stores.wait(0.05)
    touched = await stores.sessions.touch(made.id)
    assert touched.last_activity > made.last_activity
    assert touched.expires_at - touched.last_activity == timedelta(seconds=60)
    assert touched.version == made.version


async def test_a_session_expires(stores: Stores) -> None:
    """Then no way leads to it, and a new one can be made."""
    made = await stores.sessions.create_session("b", "a@example.com", ttl=0.2)
    await stores.wait(0.25)
    assert await stores.sessions.get_session(made.id) is None
    assert await stores.sessions.get_active_session("b") is None
    assert await stores.sessions.get_sessions_by_email("a@example.com") == []
    assert await stores.sessions.list_sessions() == []
    with pytest.raises(SessionNotFound):
        await stores.sessions.touch(made.id)
    assert (await stores.sessions.ensure_active("b")).id != made.id


async def test_a_touched_session_does_not_expire(stores: Stores) -> None:
    """Its life counts from the last activity."""
    made = await stores.sessions.create_session("b", ttl=0.6)
    for _ in range(2):
        await stores.wait(0.4)
        await stores.sessions.touch(made.id)
    assert await stores.sessions.get_session(made.id) is not None


async def test_a_deleted_session_is_gone(stores: Stores) -> None:
    """With its checkpoints; deleting it twice says that there is none."""
    made = await stores.sessions.create_session("b", "a@example.com")
    await stores.sessions.delete_session(made.id)
    assert await stores.sessions.get_session(made.id) is None
    assert await stores.sessions.get_sessions_by_business("b") == []
    assert await stores.sessions.get_sessions_by_email("a@example.com") == []
    with pytest.raises(SessionNotFound):
        await stores.sessions.delete_session(made.id)
    with pytest.raises(SessionNotFound):
        await stores.checkpoints.load(made.id)


async def test_the_owner_reports(stores: Stores) -> None:
    """What the owner says is in the record; version and expiry stay."""
    made = await stores.sessions.create_session("b")
    lease = await stores.lease("b")
    said = Observed(phase=Phase.READY, pid=7, sign_in=SignIn.SIGNED_IN, incarnation=3)
    await stores.sessions.report(made.id, lease.token, said)
    found = await stores.sessions.get_session(made.id)
    assert found is not None
    assert (found.observed, found.fencing_token) == (said, lease.token)
    assert (found.version, found.expires_at) == (made.version, made.expires_at)


async def test_a_stale_owner_reports_nothing(stores: Stores) -> None:
    """From the moment a newer owner has the lease, whether or not it wrote anything."""
    made = await stores.sessions.create_session("b")
    old = await stores.lease("b")
    await stores.leases.release(old)
    await stores.lease("b")
    with pytest.raises(LeaseLost):
        await stores.sessions.report(made.id, old.token, Observed(phase=Phase.READY))
    found = await stores.sessions.get_session(made.id)
    assert found is not None
    assert found.observed == Observed()


async def test_a_session_made_later_is_fenced_too(stores: Stores) -> None:
    """A stale owner cannot write into a session that was made after it lost its lease."""
    old = await stores.lease("b")
    await stores.lease("b", supersedes=old.holder.id)
    made = await stores.sessions.create_session("b")
    with pytest.raises(LeaseLost):
        await stores.sessions.report(made.id, old.token, Observed())


async def test_cookies_of_another_service_become_a_checkpoint(stores: Stores) -> None:
    """They are laid over the state that is there, which keeps its other parts."""
    made = await stores.sessions.create_session("b")
    storage = '{"origin": "https://example.com", "localStorage": {"a": "1"}}'
    await stores.sessions.update_session(made.id, storage_json=storage)
    cookies = '[{"name": "sid", "value": "x", "domain": "example.com"}]'
    changed = await stores.sessions.update_session(made.id, cookies_json=cookies)
    assert (changed.checkpoint_version, changed.version) == (2, 1)
    found = await stores.checkpoints.load(made.id)
    assert found is not None
    assert set(found.parts) == {COOKIES, "local:https://example.com/#0/1"}
    assert decode(COOKIES, found.parts[COOKIES])[0]["value"] == "x"
    assert await stores.leases.get("b") is None


async def test_storage_of_another_service_replaces_that_of_its_origin(stores: Stores) -> None:
    """However it was spread over parts; other origins keep theirs."""
    made = await stores.sessions.create_session("b")
    large = {f"n{n}": "v" * 1000 for n in range(100)}
    for origin, items in (
        ("https://a.com", large),
        ("https://b.com", {"a": "1"}),
        ("https://a.com", {}),
    ):
        storage = json.dumps({"origin": origin, "localStorage": items})
        await stores.sessions.update_session(made.id, storage_json=storage)
    first = await stores.checkpoints.load(made.id, 1)
    found = await stores.checkpoints.load(made.id)
    assert first is not None
    assert found is not None
    assert len(first.parts) > 1
    assert found.parts == {
        "local:https://a.com/#0/1": b"{}",
        "local:https://b.com/#0/1": b'{"a":"1"}',
    }


async def test_cookies_are_refused_while_somebody_holds_the_business(stores: Stores) -> None:
    """A live browser would overwrite them; nothing of the update is written."""
    made = await stores.sessions.create_session("b")
    await stores.lease("b")
    with pytest.raises(SessionLocked):
        await stores.sessions.update_session(made.id, cookies_json="[]", email="a@example.com")
    assert await stores.sessions.get_session(made.id) == made


async def test_stats_count(stores: Stores) -> None:
    """Sessions by status and wish, and leases, also of businesses that have no session yet."""
    await stores.sessions.ensure_active("a", desired=Desired.RUNNING)
    await stores.sessions.create_session("b", status=SessionStatus.PENDING)
    await stores.lease("a")
    found = await stores.sessions.stats()
    assert found["sessions"] == 2
    assert found["by_status"] == {"pending": 1, "active": 1, "inactive": 0, "error": 0}
    assert found["by_desired"] == {"running": 1, "stopped": 1, "hibernated": 0}
    assert found["leases"] == 1
    assert {"server", "version", "used_memory_bytes"} <= found.keys()

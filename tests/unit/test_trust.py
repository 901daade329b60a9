"""What a verdict is worth: which versions may be good, and what follows from a restore."""

from datetime import UTC, datetime
from typing import Any

import pytest

from raypool.model import CheckpointInfo, CheckpointMeta, Observed, Session, SignIn
from raypool.signin.trust import (
    Step,
    after_look,
    after_restore,
    fell_back,
    is_look_due,
    known_before,
    needs_human,
    verdict_for,
)
from raypool.spec import Probe, SessionSpec
from raypool.store.manifests import is_passed_over, may_be_last_good

START = datetime(2030, 1, 1, tzinfo=UTC)
CHEAP, COSTLY = Probe(cookie="sid"), Probe(url="https://e.com/home")
IN, OUT, HUMAN, UNKNOWN = SignIn.SIGNED_IN, SignIn.SIGNED_OUT, SignIn.NEEDS_HUMAN, SignIn.UNKNOWN


def _info(version: int, **more: Any) -> CheckpointInfo:
    return CheckpointInfo(version=version, created_at=START, size=1, signed_in=None, **more)


def _session(sign_in: SignIn = UNKNOWN, probe: Probe | None = COSTLY) -> Session:
    return Session(
        id="s1", business_id="bakery", created_at=START, updated_at=START, last_activity=START,
        expires_at=START, ttl=60, observed=Observed(sign_in=sign_in), spec=SessionSpec(probe=probe),
        last_good_version=5,
    )  # fmt: skip


@pytest.mark.parametrize("changed", [True, False])
@pytest.mark.parametrize("looked", [True, False])
@pytest.mark.parametrize("known", SignIn)
def test_without_a_probe_every_version_may_be_good(
    known: SignIn, changed: bool, looked: bool
) -> None:
    """Nobody can look, so nobody doubts."""
    verdict = verdict_for(known, None, cookies_changed=changed, looked=looked)
    assert verdict == (UNKNOWN, False)
    assert may_be_last_good(CheckpointMeta(sign_in=verdict[0], unverified=verdict[1]))


@pytest.mark.parametrize(
    ("known", "changed", "looked", "expected"),
    [
        (IN, True, True, (IN, False)),
        (IN, False, True, (IN, False)),
        (IN, False, False, (IN, False)),
        (IN, True, False, (UNKNOWN, True)),
        (OUT, True, False, (UNKNOWN, True)),
        (HUMAN, True, False, (UNKNOWN, True)),
        (OUT, False, False, (OUT, False)),
        (OUT, True, True, (OUT, False)),
        (HUMAN, True, True, (HUMAN, False)),
        (UNKNOWN, False, False, (UNKNOWN, True)),
        (UNKNOWN, True, False, (UNKNOWN, True)),
        (UNKNOWN, False, True, (UNKNOWN, True)),
    ],
)
def test_the_verdict_of_a_version(
    known: SignIn, changed: bool, looked: bool, expected: tuple[SignIn, bool]
) -> None:
    """What the last look said holds for as long as the cookies are those that it saw."""
    assert verdict_for(known, COSTLY, cookies_changed=changed, looked=looked) == expected


@pytest.mark.parametrize("changed", [True, False])
@pytest.mark.parametrize("looked", [True, False])
@pytest.mark.parametrize("known", SignIn)
def test_only_what_was_seen_signed_in_becomes_good_and_no_sign_in_is_passed_over(
    known: SignIn, changed: bool, looked: bool
) -> None:
    """Good: seen so, as it is. Passed over at a restart: only what was seen signed out, as it is."""
    sign_in, unverified = verdict_for(known, COSTLY, cookies_changed=changed, looked=looked)
    meta = CheckpointMeta(sign_in=sign_in, unverified=unverified)
    as_seen = looked or not changed
    assert may_be_last_good(meta) is (known is IN and as_seen)
    assert is_passed_over(meta) is (known in {OUT, HUMAN} and as_seen)


@pytest.mark.parametrize(
    ("known", "probe", "changed", "due"),
    [
        (IN, None, True, False),
        (IN, CHEAP, False, True),
        (IN, COSTLY, False, False),
        (IN, COSTLY, True, True),
        (UNKNOWN, COSTLY, False, True),
        (OUT, COSTLY, False, True),
        (HUMAN, Probe(function="mine.probes:signed_in"), False, True),
        (IN, Probe(function="mine.probes:signed_in"), False, False),
    ],
)
def test_a_look_that_opens_a_page_needs_a_reason(
    known: SignIn, probe: Probe | None, changed: bool, due: bool
) -> None:
    """A cookie that came or went, or no good news last time."""
    assert is_look_due(known, probe, changed) is due


@pytest.mark.parametrize("seen", SignIn)
def test_a_person_is_needed_until_somebody_is_signed_in(seen: SignIn) -> None:
    """A site that is down, or shows the same again, changes nothing of that."""
    assert after_look(HUMAN, seen) is (IN if seen is IN else HUMAN)
    assert after_look(IN, seen) is seen


def test_that_a_person_is_needed_outlives_the_browser() -> None:
    """In the record; unless nobody looks any more."""
    assert known_before(_session(HUMAN)) is HUMAN
    assert known_before(_session(HUMAN, None)) is UNKNOWN
    assert known_before(_session(IN)) is UNKNOWN


@pytest.mark.parametrize(
    ("seen", "known", "restored", "last_good", "step"),
    [
        (IN, UNKNOWN, _info(7), 5, Step.GO_ON),
        (IN, HUMAN, _info(7), 5, Step.GO_ON),
        (UNKNOWN, UNKNOWN, _info(7), 5, Step.GO_ON),
        (UNKNOWN, IN, _info(7), 5, Step.GO_ON),
        (OUT, UNKNOWN, _info(7), 5, Step.FALL_BACK),
        (OUT, IN, _info(7), 5, Step.FALL_BACK),
        (OUT, UNKNOWN, _info(5), 5, Step.ASK_HUMAN),
        (OUT, UNKNOWN, _info(7, chosen=True), 5, Step.GO_ON),
        (OUT, UNKNOWN, _info(7), 0, Step.GO_ON),
        (OUT, UNKNOWN, None, 0, Step.GO_ON),
        (OUT, UNKNOWN, None, 5, Step.GO_ON),
        (HUMAN, HUMAN, _info(7), 5, Step.ASK_HUMAN),
        (OUT, HUMAN, _info(7), 5, Step.ASK_HUMAN),
    ],
)
def test_what_follows_from_the_look_after_a_restore(
    seen: SignIn, known: SignIn, restored: CheckpointInfo | None, last_good: int, step: Step
) -> None:
    """Back only from what a site refused, only to another version, once, and against no person."""
    assert after_restore(seen, known, restored, last_good) is step


def test_people_are_told_which_versions_and_what_to_do() -> None:
    """Both numbers of a fall-back; who has to be signed in, and how."""
    (line,) = fell_back(_info(7), _info(5))
    assert "version 7" in line
    assert "version 5" in line
    (told,) = needs_human(_session(), HUMAN)
    assert "bakery" in told
    assert "version 5" in told
    assert "attach" in told
    assert needs_human(_session(), OUT) == ()

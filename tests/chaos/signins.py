"""Rule: no second sign-in that a fault does not excuse.

The allauth site keeps a session cookie for weeks: nothing excuses a second sign-in there. The
rotating site gives out another cookie with each response. A cookie that the browser got, but whose
checkpoint was not acknowledged when the browser was lost, is lost by nature. So a second sign-in
there is excused by a fault that struck while a command was under way, or while the last one had
ended without an acknowledgement (its cookie, or the one that the restored tab got, was not saved).
A fault lasts until it was got over (what a killed host leaves dies bit by bit): a command that begins
meanwhile and does not end well was struck by it too.
One fault excuses one sign-in, and none any more once the business was seen signed in after it.
"""

from collections.abc import Iterable
from typing import Any

from tests.chaos.evidence import Account, RotatingAccount, Run
from tests.chaos.history import Event, Kind
from tests.chaos.ownership import STALE_WRITE
from tests.chaos.recovery import READY
from tests.chaos.rights import OUTAGE, PAUSED

SIGN_IN = "sign_in"
BLOWS = {Kind.BLOW, Kind.FAULT, Kind.MISSED, Kind.HEALED}
NO_COMMANDS = {STALE_WRITE, READY, PAUSED, OUTAGE}
"""What the history has besides the commands, all of which end with the state saved."""


def signed_out(run: Run) -> list[str]:
    """Return one sentence for each business that lost a sign-in without an excuse."""
    found = [_allauth(run, account) for account in run.final.accounts]
    found += [_rotating(run, account) for account in run.final.rotating]
    return [sentence for sentence in found if sentence]


def sign_ins_excused(run: Run) -> int:
    """Return how many second sign-ins there were that a fault excuses."""
    again = [judged(run.about(account.business)) for account in run.final.rotating]
    return sum(excused for excused, _ in again)


def judged(events: Iterable[Event]) -> tuple[int, int]:
    """Return how many second sign-ins of one business are excused, and how many are not."""
    running: set[int] = set()
    lasting: set[int] = set()
    first, unsaved, excuse = True, False, False
    excused = unexcused = 0
    for event in events:
        if event.kind is Kind.FAULT:
            lasting.add(event.op)
        elif event.kind is Kind.RECOVERED:
            lasting.discard(event.op)
        if event.kind in BLOWS:
            excuse = excuse or unsaved or bool(running)
            unsaved = True  # a browser that is brought back gets a cookie that nobody has saved
        if event.f in NO_COMMANDS or event.kind in {*BLOWS, Kind.RECOVERED}:
            continue
        if event.kind is Kind.INVOKE:
            running.add(event.op)
            if event.f == SIGN_IN and not first:
                excused, unexcused = excused + excuse, unexcused + (not excuse)
                excuse = False
            first = first and event.f != SIGN_IN
            continue
        running.discard(event.op)
        if event.kind is Kind.OK:
            unsaved = bool(running)
            excuse = excuse and not _seen_signed_in(event)
        else:
            unsaved, excuse = True, excuse or bool(lasting)
    return excused, unexcused


def _seen_signed_in(event: Event) -> bool:
    value: Any = event.value
    return isinstance(value, dict) and value["value"] is not None


def _rotating(run: Run, account: RotatingAccount) -> str | None:
    _, unexcused = judged(run.about(account.business))
    attempts = len(run.of(Kind.INVOKE, SIGN_IN, account.business))
    answers = [e.value["value"] for e in run.of(Kind.OK, "who", account.business)]
    if unexcused or account.log.sign_ins > attempts or answers[-1:] != [account.email]:
        return (
            f"{account.business}: signed in again {unexcused} times without a fault that excuses "
            f"it ({account.log.sign_ins} sign-ins, {account.log.replays} old cookies, "
            f"{account.log.sign_outs} sign-outs), last seen as {answers[-1:]}"
        )
    return None


def _allauth(run: Run, account: Account) -> str | None:
    """Asked who it is, or told by what the site counts."""
    answers = [e.value["value"] for e in run.of(Kind.OK, "who", account.business)]
    strangers = [answer for answer in answers if answer != account.email]
    failed = run.of(Kind.FAIL, "publish", account.business)
    refused = [e for e in failed if "PermissionError" in e.value["error"]]
    again = account.at_end.sign_ins - 1
    if strangers or refused or again or not answers:
        return (
            f"{account.business}: signed in as {strangers or answers[-1:]}, refused "
            f"{len(refused)} times, signed in again {again} times"
        )
    return None

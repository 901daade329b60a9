"""Rule: what was acknowledged stays, and what was asked for once is there once at most."""

from collections.abc import Iterator

from tests.chaos.evidence import RotatingAccount, Run
from tests.chaos.history import Kind


def lost(run: Run) -> list[str]:
    """Return each acknowledged effect that is not there."""
    return [*_lost_posts(run), *_lost_writes(run), *_lost_actions(run)]


def surplus(run: Run) -> list[str]:
    """Return each effect that nobody asked for, or that is there more often than asked for."""
    found = []
    for account in run.final.accounts:
        there = account.at_end.posts - account.at_start.posts
        asked = len(run.of(Kind.INVOKE, "publish", account.business))
        if there > asked:
            found.append(f"{account.business}: {asked} posts asked for, {there} there")
    for other in run.final.rotating:
        wanted = {e.value for e in run.of(Kind.INVOKE, "act", other.business)}
        strange = sorted(_done(other) - wanted)
        if strange:
            found.append(f"{other.business}: nobody asked for {', '.join(strange)}")
    return found


def _lost_posts(run: Run) -> Iterator[str]:
    for account in run.final.accounts:
        there = account.at_end.posts - account.at_start.posts
        acknowledged = len(run.of(Kind.OK, "publish", account.business))
        if there < acknowledged:
            yield f"{account.business}: {acknowledged} posts acknowledged, {there} there"


def _lost_actions(run: Run) -> Iterator[str]:
    for account in run.final.rotating:
        asked = {e.op: e.value for e in run.of(Kind.INVOKE, "act", account.business)}
        done = [e for e in run.of(Kind.OK, "act", account.business) if e.value["value"] is not None]
        for event in done:
            if asked[event.op] not in _done(account):
                yield f"{account.business}: {asked[event.op]} was acknowledged, and is not there"


def _lost_writes(run: Run) -> Iterator[str]:
    """Acknowledged values that were not there at the next successful read, or never read."""
    for written in run.of(Kind.OK, "write"):
        reads = run.of(Kind.OK, "read", written.business)
        after = next((r for r in reads if r.at > written.at), None)
        seen = after.value["value"] if after else None
        wanted = written.value["value"]
        if seen != {"cookie": wanted, "local": wanted}:
            yield f"{written.business}: {wanted} was acknowledged, then read as {seen}"


def _done(account: RotatingAccount) -> set[str]:
    return {action.key for action in account.log.actions}

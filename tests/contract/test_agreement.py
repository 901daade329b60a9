"""The twin and a real server agree: whatever is done to both, both answer the same."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import Phase as Stage
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    multiple,
    rule,
    run_state_machine_as_test,
)

from raypool.errors import RaypoolError
from raypool.model import CheckpointMeta, Desired, Observed, SessionStatus, SignIn, Supervision
from raypool.phase import Phase
from raypool.store.memory import MemoryStore
from tests.contract.conftest import FleetContext, Stores, holder

Both = tuple[Any, Any]
"""What the twin gave and what the server gave: ids, tokens and times differ, all else is equal."""

UNLIKE = {"created_at", "updated_at", "last_activity", "expires_at", "since"}
businesses = st.sampled_from(["b", "b", "b", "c"])
emails = st.sampled_from([None, "a@example.com", "A@Example.COM", "z@example.com"])
MANY = {f"local:a#{n}/70": b"1" for n in range(70)}
states = st.dictionaries(
    st.sampled_from(
        ["cookies", "tabs", "local:https://a.example/#0/1", "local:a#7/70", "local:a#8/70"]
    ),
    st.sampled_from([b"", b"1", b"2"]),
).flatmap(lambda few: st.sampled_from([few, few, {**MANY, **few}]))
changes = st.fixed_dictionaries(
    {},
    optional={
        "email": emails,
        "status": st.sampled_from(list(SessionStatus)),
        "desired": st.sampled_from(list(Desired)),
        "locale": st.sampled_from(["de-DE", "fr-FR"]),
        "cookies_json": st.just('[{"name": "a", "value": "b", "domain": "c.example"}]'),
    },
)


def _lost(twin: MemoryStore) -> Callable[[], Coroutine[Any, Any, None]]:
    async def lose() -> None:
        twin.lose()
        await asyncio.sleep(0.002)  # the twin gives out tokens by the millisecond

    return lose


class Agreement(RuleBasedStateMachine):
    """Does the same to both and compares every answer, refusals included."""

    url: str
    runner: asyncio.Runner
    sessions: Bundle[Both] = Bundle("sessions")
    leases: Bundle[Both] = Bundle("leases")

    def __init__(self) -> None:
        super().__init__()
        self.context = FleetContext(self.url)
        real = self.context.fleet.manager()
        self.runner.run(real.open())
        twin = MemoryStore(session_ttl=60, lease_ttl=2)
        self.both = (
            Stores(twin.sessions, twin.leases, twin.checkpoints, asyncio.sleep, _lost(twin)),
            Stores(real, real.leases, real.checkpoints, asyncio.sleep, self.context.fleet.lose),
        )
        self.names: tuple[dict[Any, str], dict[Any, str]] = ({}, {})
        self.owners: defaultdict[str, list[Both]] = defaultdict(list)

    def teardown(self) -> None:
        self.runner.run(self.context.__aexit__())

    def ask(self, call: Callable[[Stores, int], Coroutine[Any, Any, Any]]) -> Both:
        """Do the same to both; both must answer the same, or refuse with the same code."""
        answers = []
        for side, stores in enumerate(self.both):
            try:
                answers.append(self.runner.run(call(stores, side)))
            except RaypoolError as error:
                answers.append(error.code)
        assert self.shown(answers[0], 0) == self.shown(answers[1], 1)
        return answers[0], answers[1]

    def shown(self, answer: Any, side: int) -> Any:
        """Return an answer with each id and token named by the order in which it was first seen."""
        if isinstance(answer, list):
            # Two sessions of one millisecond have no order.
            return sorted((self.shown(item, side) for item in answer), key=str)
        if isinstance(answer, tuple):
            return [self.shown(item, side) for item in answer]
        if hasattr(answer, "parts"):
            return self.shown(answer.info, side), dict(answer.parts)
        if not hasattr(answer, "model_dump"):
            return answer
        fields = {k: v for k, v in answer.model_dump().items() if k not in UNLIKE}
        business = fields.get("business_id")
        if business is None:  # a checkpoint: its token is that of a lease that was compared
            fields.pop("fencing_token")
        if "holder" in fields:  # a lease: what remains of it differs
            fields.pop("ttl")
        for name in fields.keys() & {"id", "token", "fencing_token"}:
            if fields[name]:
                known = self.names[side]
                fields[name] = known.setdefault((business, fields[name]), f"number {len(known)}")
        return fields

    @rule(target=sessions, name=businesses, email=emails, status=st.sampled_from(SessionStatus))
    def create(self, name: str, email: str | None, status: SessionStatus) -> Both:
        return self.ask(lambda s, _: s.sessions.create_session(name, email, status))

    @rule(target=sessions, name=businesses, email=emails, desired=st.sampled_from([None, *Desired]))
    def ensure(self, name: str, email: str | None, desired: Desired | None) -> Both:
        return self.ask(lambda s, _: s.sessions.ensure_active(name, email=email, desired=desired))

    @rule(session=sessions, asked=changes, expected=st.sampled_from([None, None, 1, 2]))
    def update(self, session: Both, asked: dict[str, Any], expected: int | None) -> None:
        self.ask(
            lambda s, side: s.sessions.update_session(
                session[side].id, expected_version=expected, **asked
            )
        )

    @rule(session=sessions)
    def touch(self, session: Both) -> None:
        self.ask(lambda s, side: s.sessions.touch(session[side].id))

    @rule(session=sessions, certain=st.integers(0, 3))
    def delete(self, session: Both, certain: int) -> None:
        if certain == 0:  # or little would be left to agree upon
            self.ask(lambda s, side: s.sessions.delete_session(session[side].id))

    @rule(target=leases, name=businesses, dead=st.none() | leases)
    def acquire(self, name: str, dead: Both | None) -> Any:
        one, supersedes = holder(), dead[0].holder.id if dead else None
        found = self.ask(lambda s, _: s.leases.acquire(name, one, 30, supersedes=supersedes))
        if not hasattr(found[0], "token"):
            return multiple()
        self.owners[name].append(found)
        return found

    @rule(lease=leases)
    def acquire_again(self, lease: Both) -> None:
        was = lease[0]
        self.ask(lambda s, _: s.leases.acquire(was.business_id, was.holder, 30))

    @rule(lease=leases)
    def renew(self, lease: Both) -> None:
        self.ask(lambda s, side: s.leases.renew(lease[side]))

    @rule(lease=leases)
    def release(self, lease: Both) -> None:
        self.ask(lambda s, side: s.leases.release(lease[side]))

    @rule(name=businesses)
    def unlock(self, name: str) -> None:
        self.ask(lambda s, _: s.leases.unlock(name, by="ann", reason="a drill"))
        audits = [self.runner.run(s.sessions.audit_log()) for s in self.both]
        one, other = ([(e.action, e.business_id, e.by, bool(e.detail)) for e in a] for a in audits)
        assert one == other

    @rule(certain=st.integers(0, 2))
    def lose_everything(self, certain: int) -> None:
        if certain == 0:
            for stores in self.both:
                self.runner.run(stores.lose())

    def owner(self, name: str, number: int) -> Both:
        """Return an owner of a business: the newest for 0, else one that may be stale."""
        if not self.owners[name]:
            self.acquire(name, None)
        return self.owners[name][-1 - min(number, len(self.owners[name]) - 1)]

    @rule(
        session=sessions,
        older=st.sampled_from([0, 0, 0, 1]),
        parts=states,
        sign_in=st.sampled_from(SignIn),
        after=st.sampled_from([0, 0, 3]),
    )
    def save(
        self, session: Both, older: int, parts: dict[str, bytes], sign_in: SignIn, after: int
    ) -> None:
        owner, meta = self.owner(session[0].business_id, older), CheckpointMeta(sign_in=sign_in)
        self.ask(
            lambda s, side: s.checkpoints.save(
                session[side].id, owner[side].token, parts, meta, after=after
            )
        )

    @rule(session=sessions, older=st.sampled_from([0, 0, 1]))
    def rewrite(self, session: Both, older: int) -> None:
        owner = self.owner(session[0].business_id, older)
        self.ask(lambda s, side: s.sessions.rewrite_lost(session[side], owner[side].token))

    @rule(session=sessions, failures=st.integers(0, 2))
    def supervise(self, session: Both, failures: int) -> None:
        said = Supervision(failures=failures)
        self.ask(lambda s, side: s.sessions.supervise(session[side].id, said))

    @rule(session=sessions, older=st.sampled_from([0, 1]), phase=st.sampled_from(Phase))
    def report(self, session: Both, older: int, phase: Phase) -> None:
        owner, said = self.owner(session[0].business_id, older), Observed(phase=phase)
        self.ask(lambda s, side: s.sessions.report(session[side].id, owner[side].token, said))

    @rule(session=sessions)
    def look(self, session: Both) -> None:
        self.ask(lambda s, side: s.sessions.get_session(session[side].id))
        self.ask(lambda s, side: s.checkpoints.load(session[side].id))
        self.ask(lambda s, side: s.checkpoints.load(session[side].id, 1))
        self.ask(lambda s, side: s.checkpoints.load_usable(session[side].id))
        self.ask(lambda s, side: s.checkpoints.list(session[side].id))

    @rule(
        name=businesses,
        status=st.sampled_from([None, *SessionStatus]),
        desired=st.sampled_from([None, *Desired]),
    )
    def survey(self, name: str, status: SessionStatus | None, desired: Desired | None) -> None:
        self.ask(lambda s, _: s.leases.get(name))
        self.ask(lambda s, _: s.sessions.get_active_session(name))
        self.ask(lambda s, _: s.sessions.get_sessions_by_business(name))
        self.ask(lambda s, _: s.sessions.get_sessions_by_email("a@example.com"))
        self.ask(lambda s, _: s.sessions.list_sessions(status=status, desired=desired))


@pytest.mark.parametrize("kind", ["valkey", "redis"])
def test_the_twin_and_the_server_agree(kind: str, servers: Callable[[str], str]) -> None:
    """Over random histories of sessions, leases, stale owners and checkpoints."""
    with asyncio.Runner() as runner:
        machine = type("Machine", (Agreement,), {"url": servers(kind), "runner": runner})
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=70,
                stateful_step_count=40,
                deadline=None,
                derandomize=True,
                phases=[Stage.generate],  # making a failure small would outlast the test's time
                database=None,
                suppress_health_check=list(HealthCheck),
            ),
        )

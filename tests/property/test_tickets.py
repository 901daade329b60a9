"""Tickets against a plain list of who said what when."""

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from raypool.errors import InstanceNotReady, RateLimitError, RaypoolError
from raypool.tickets import Tickets

TTL, MOST = 10.0, 3
_WORDS = st.tuples(
    st.sampled_from(["issue", "renew", "leave", "wait"]),
    st.sampled_from("abcde"),
    st.floats(0, 6),
)


@dataclass
class _Book:
    """When each driver that is attached was last heard of."""

    heard: dict[str, float] = field(default_factory=dict)

    def here(self, now: float) -> set[str]:
        return {name for name, at in self.heard.items() if at + TTL > now}

    def may(self, word: str, name: str, now: float) -> bool:
        here = self.here(now)
        if word == "issue":
            return name in here or len(here) < MOST
        return word != "renew" or name in here

    def note(self, word: str, name: str, now: float) -> None:
        if word in {"issue", "renew"}:
            self.heard[name] = now
        elif word == "leave":
            self.heard.pop(name, None)


def _said(tickets: Tickets, word: str, name: str, now: float) -> Tickets | RaypoolError:
    if word == "wait":
        return tickets
    try:
        return getattr(tickets, word)(name, now)
    except (InstanceNotReady, RateLimitError) as error:
        return error


@given(st.lists(_WORDS, max_size=40))
def test_tickets_say_what_the_book_says(words: list[tuple[str, str, float]]) -> None:
    """Whatever drivers do and however long they are silent; what is refused changes nothing."""
    tickets, book, now = Tickets(ttl=TTL, most=MOST), _Book(), 0.0
    for word, name, pause in words:
        now += pause
        answer = _said(tickets, word, name, now)
        assert isinstance(answer, Tickets) is book.may(word, name, now)
        if isinstance(answer, Tickets):
            tickets = answer
            book.note(word, name, now)
        else:
            assert answer.retryable
        assert {t.id for t in tickets.active(now)} == book.here(now)
        assert len(tickets.issued) <= MOST


@given(st.lists(_WORDS, max_size=40))
def test_who_is_told_to_wait_gets_a_place_then(words: list[tuple[str, str, float]]) -> None:
    """After the time that it was told, unless somebody renews meanwhile."""
    tickets, now = Tickets(ttl=TTL, most=MOST), 0.0
    for _, name, pause in words:
        now += pause
        answer = _said(tickets, "issue", name, now)
        if isinstance(answer, Tickets):
            tickets = answer
            continue
        wait = answer.retry_after or 0.0
        assert 0 < wait <= TTL
        then = now + wait + 1e-6
        assert name in {t.id for t in tickets.issue(name, then).active(then)}

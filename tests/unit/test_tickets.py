"""Who counts as attached."""

import pytest

from raypool.errors import ConfigurationError, InstanceNotReady, RateLimitError
from raypool.tickets import Tickets

T = Tickets(ttl=15, most=2)


def test_a_driver_counts_until_it_was_silent_for_too_long() -> None:
    """From each renewal anew; at the very end of its time it counts no more."""
    tickets = T.issue("a", now=100)
    assert [t.id for t in tickets.active(114.9)] == ["a"]
    assert tickets.active(115) == ()
    renewed = tickets.renew("a", now=110)
    assert [(t.since, t.expires_at) for t in renewed.active(124.9)] == [(100, 125)]


def test_a_driver_that_leaves_counts_no_more() -> None:
    """At once; to leave twice, or without having been there, is no error."""
    tickets = T.issue("a", now=0).issue("b", now=1).leave("a", now=2)
    assert [t.id for t in tickets.active(2)] == ["b"]
    assert tickets.leave("a", now=3) == tickets


def test_asking_again_after_a_lost_reply_takes_no_second_place() -> None:
    """The same id is the same driver."""
    tickets = T.issue("a", now=0).issue("a", now=5).issue("b", now=5)
    assert [(t.id, t.since, t.expires_at) for t in tickets.active(5)] == [
        ("a", 0, 20),
        ("b", 5, 20),
    ]


def test_a_late_renewal_is_refused() -> None:
    """The driver hears that it was given up, and attaches again."""
    tickets = T.issue("a", now=0)
    for name, late in (("a", 15), ("stranger", 1)):
        with pytest.raises(InstanceNotReady, match="not heard of for 15 s") as caught:
            tickets.renew(name, now=late)
        assert caught.value.retryable
    assert T.issue("a", now=0).issue("a", now=20).active(20)[0].since == 20


def test_a_renewal_that_was_overtaken_takes_nothing_back() -> None:
    """Two that arrive in the wrong order leave the later time."""
    tickets = T.issue("a", now=0).renew("a", now=10)
    assert tickets.renew("a", now=5) == tickets


def test_too_many_drivers_are_told_when_to_come_back() -> None:
    """When the next ticket runs out; a place that has become free is given at once."""
    full = T.issue("a", now=0).issue("b", now=3)
    with pytest.raises(RateLimitError, match="2 drivers are attached") as caught:
        full.issue("c", now=5)
    assert (caught.value.code, caught.value.retry_after) == ("RATE_LIMIT_CAPACITY", 10)
    assert [t.id for t in full.issue("c", now=15).active(15)] == ["b", "c"]
    assert [t.id for t in full.leave("a", now=5).issue("c", now=5).active(5)] == ["b", "c"]


@pytest.mark.parametrize("ticket_id", ["", "x" * 65])
def test_an_id_is_bounded(ticket_id: str) -> None:
    """It comes from another process."""
    with pytest.raises(ConfigurationError):
        T.issue(ticket_id, now=0)

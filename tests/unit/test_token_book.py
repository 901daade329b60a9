"""The book of the token sites: who is signed in there, and what ends it."""

from tests.chaos.cookie_kill import planned
from tests.sites.changing import CHANGES
from tests.sites.tokens.book import Book


def test_the_newest_token_is_known_and_no_other() -> None:
    """A token is good until it is renewed; a strange one never is."""
    book = Book()
    token = book.sign_in()
    assert book.knows(token)
    following = book.renew(token)
    assert following is not None
    assert book.knows(following)
    assert not book.knows(token)
    for strange in ("", "x", f"{token}x", "x.0", f"{token.split('.')[0]}.7"):
        assert not book.knows(strange)


def test_a_token_that_was_renewed_twice_over_ends_the_sign_in() -> None:
    """Its answer may have been lost once, with the browser; whoever comes again is refused for good."""
    book = Book()
    token = book.sign_in()
    assert book.renew(token) is not None
    newest = book.renew(token)
    assert newest is not None
    assert book.renew(token) is None
    assert not book.knows(newest)
    assert book.renew(newest) is None
    assert (book.sign_ins, book.renewals) == (1, 2)


def test_signing_out_ends_one_sign_in() -> None:
    """And nobody else's; a stranger's ends none."""
    book = Book()
    one, other = book.sign_in(), book.sign_in()
    book.sign_out(one.split(".")[0])
    book.sign_out("stranger")
    assert (book.knows(one), book.knows(other)) == (False, True)


def test_each_change_meets_each_victim() -> None:
    """In eight trials; the values differ, so that an old one is never taken for the new one."""
    trials = planned(2 * len(CHANGES))
    pairs = {(trial.how, trial.victim) for trial in trials}
    assert pairs == {(how, victim) for how in CHANGES for victim in ("chromium", "owner")}
    assert len({trial.value for trial in trials}) == len(trials)

"""The rotating site finds out whoever shows an old cookie, and nobody else."""

from __future__ import annotations

import http.client
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urlsplit

import pytest

from tests.sites.rotating.pages import COOKIE
from tests.sites.rotating.server import RotatingSite

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def site() -> Iterator[RotatingSite]:
    with RotatingSite(users=9) as running:
        yield running


class Visitor:
    """A browser of a few lines: it keeps one cookie, and can be set back to an older one."""

    def __init__(self, site: RotatingSite, user: int) -> None:
        self.account, self.cookie = site.users[user], ""
        self._address = urlsplit(site.url).netloc

    def request(self, method: str, path: str, form: dict[str, str] | None = None) -> str:
        """Return where the response leads, or its path when it leads nowhere."""
        connection = http.client.HTTPConnection(self._address, timeout=5)
        headers = {"Cookie": f"{COOKIE}={self.cookie}"} if self.cookie else {}
        connection.request(method, path, urlencode(form or {}), headers)
        response = connection.getresponse()
        given = response.getheader("Set-Cookie")
        if given is not None:
            self.cookie = given.split(";")[0].partition("=")[2]
        connection.close()
        return response.getheader("Location") or path

    def sign_in(self) -> str:
        form = {"email": self.account.email, "password": self.account.password}
        return self.request("POST", "/sign-in", form)

    def visit(self) -> str:
        return self.request("GET", "/app/")


def test_each_response_gives_out_another_cookie(site: RotatingSite) -> None:
    """Sign-in, page and action all rotate."""
    visitor, seen = Visitor(site, 0), []
    visitor.sign_in()
    seen.append(visitor.cookie)
    visitor.visit()
    seen.append(visitor.cookie)
    visitor.request("POST", "/app/act", {"key": "k", "by": "me"})
    assert len({*seen, visitor.cookie}) == 3


def test_whoever_shows_an_old_cookie_twice_is_signed_out(site: RotatingSite) -> None:
    """The first time its response may have been lost; the second time it was not."""
    visitor = Visitor(site, 1)
    visitor.sign_in()
    old = visitor.cookie
    visitor.visit()
    visitor.cookie = old
    assert visitor.visit() == "/app/"
    visitor.cookie = old
    assert visitor.visit() == "/sign-in"
    log = site.log(visitor.account.email)
    assert (log.sign_ins, log.replays, log.sign_outs) == (1, 2, 1)


def test_a_cookie_whose_successor_was_shown_is_not_forgiven(site: RotatingSite) -> None:
    """The response that carried the successor arrived: this is a replay. The whole family goes."""
    visitor = Visitor(site, 2)
    visitor.sign_in()
    old = visitor.cookie
    visitor.visit()
    visitor.visit()
    newest, visitor.cookie = visitor.cookie, old
    assert visitor.visit() == "/sign-in"
    visitor.cookie = newest
    assert visitor.visit() == "/sign-in"


def test_a_forged_cookie_signs_nobody_in_or_out(site: RotatingSite) -> None:
    """A number that was not given out is nobody's."""
    visitor = Visitor(site, 3)
    visitor.sign_in()
    right = visitor.cookie
    family = right.split(".")[0]
    for forged in (f"{family}.7.{'0' * 24}", "x", f"{family}.one.two"):
        visitor.cookie = forged
        assert visitor.visit() == "/sign-in"
    visitor.cookie = right
    assert visitor.visit() == "/app/"


def test_a_wrong_password_is_refused(site: RotatingSite) -> None:
    """And is no sign-in."""
    visitor = Visitor(site, 4)
    form = {"email": visitor.account.email, "password": "wrong"}
    assert visitor.request("POST", "/sign-in", form) == "/sign-in"
    assert site.log(visitor.account.email).sign_ins == 0


def test_an_action_is_done_once_for_its_key(site: RotatingSite) -> None:
    """Asked for twice, done once, by whoever asked first; never for a stranger."""
    visitor = Visitor(site, 5)
    visitor.request("POST", "/app/act", {"key": "stranger", "by": "x"})
    visitor.sign_in()
    for by in ("first", "second"):
        visitor.request("POST", "/app/act", {"key": "k", "by": by})
    log = site.log(visitor.account.email)
    assert [(action.key, action.by) for action in log.actions] == [("k", "first")]
    assert log.repeats == 1


def test_pings_are_kept_for_each_document(site: RotatingSite) -> None:
    """Whoever pings shows no cookie, and rotates none."""
    visitor = Visitor(site, 6)
    visitor.sign_in()
    before = visitor.cookie
    for document in ("a", "b", "a"):
        visitor.request("GET", f"/ping/{visitor.account.email}/{document}")
    pings = site.log(visitor.account.email).pings
    assert {document: len(times) for document, times in pings.items()} == {"a": 2, "b": 1}
    assert visitor.cookie == before


def test_the_site_comes_back_as_it_was(tmp_path: Path) -> None:
    """A restarted site knows its users, their cookies and what they did."""
    with RotatingSite(tmp_path) as site:
        visitor = Visitor(site, 0)
        visitor.sign_in()
        visitor.request("POST", "/app/act", {"key": "k", "by": "me"})
        port = urlsplit(site.url).port
    assert port
    with RotatingSite(tmp_path, port=port) as again:
        assert visitor.visit() == "/app/"
        assert [action.key for action in again.log(visitor.account.email).actions] == ["k"]

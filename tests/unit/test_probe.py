"""What a look at the site says, for every way in which a probe can hold or fail."""

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any

import pytest

from raypool.model import SignIn
from raypool.signin import probe as looking
from raypool.signin.probe import look
from raypool.spec import Probe


@dataclass
class Page:
    """As much of a Playwright page as a look needs."""

    visible: tuple[str, ...] = ()
    sent_to: str | None = None
    broken: str = ""
    hangs: bool = False
    url: str = "about:blank"
    closed: bool = False

    async def goto(self, url: str, **_: Any) -> None:
        if self.hangs:
            await asyncio.Event().wait()
        if self.broken:
            raise RuntimeError(self.broken)
        self.url = self.sent_to or url

    def locator(self, selector: str) -> "Found":
        return Found(selector in self.visible)

    def get_by_text(self, text: str) -> "Found":
        return Found(text in self.visible)

    async def close(self) -> None:
        self.closed = True


@dataclass
class Found:
    """A locator, and the first of what it finds."""

    there: bool

    @property
    def first(self) -> "Found":
        return self

    async def is_visible(self) -> bool:
        return self.there


@dataclass
class Context:
    """A context with cookies and the one page that it would open."""

    page: Page = field(default_factory=Page)
    jar: dict[str, float] = field(default_factory=dict)

    async def cookies(self) -> list[dict[str, Any]]:
        return [{"name": name, "expires": expires} for name, expires in self.jar.items()]

    async def new_page(self) -> Page:
        return self.page


HOME = "https://example.com/home"


async def test_without_a_probe_nobody_knows() -> None:
    """No probe, no verdict: the session is neither good nor bad."""
    assert await look(None, Context(), Page()) is SignIn.UNKNOWN


@pytest.mark.parametrize(
    ("expires", "seen"),
    [(-1, SignIn.SIGNED_IN), (3600, SignIn.SIGNED_IN), (-3600, SignIn.SIGNED_OUT)],
)
async def test_a_cookie_must_be_there_and_not_expired(expires: float, seen: SignIn) -> None:
    """A session cookie and one with time left count; an expired or missing one does not."""
    when = expires if expires == -1 else time.time() + expires
    assert await look(Probe(cookie="sid"), Context(jar={"sid": when}), Page()) is seen
    assert await look(Probe(cookie="sid"), Context(jar={"other": -1}), Page()) is SignIn.SIGNED_OUT


@pytest.mark.parametrize("probe", [Probe(selector="#me"), Probe(text="Hello")])
async def test_without_an_address_the_open_page_is_looked_at(probe: Probe) -> None:
    """It is not navigated, no other page is opened, and what is not visible is not there."""
    page, other = Page(visible=("#me", "Hello"), url=HOME), Page(broken="must not be opened")
    assert await look(probe, Context(other), page) is SignIn.SIGNED_IN
    assert page.url == HOME
    assert await look(probe, Context(other), Page()) is SignIn.SIGNED_OUT


@pytest.mark.parametrize(
    ("asked", "arrived", "seen"),
    [
        (HOME, HOME, SignIn.SIGNED_IN),
        (HOME, HOME + "/", SignIn.SIGNED_IN),
        (HOME, HOME + "?tab=1#top", SignIn.SIGNED_IN),
        (HOME + "#feed", HOME, SignIn.SIGNED_IN),
        ("http://example.com", "https://example.com/", SignIn.SIGNED_IN),
        ("https://EXAMPLE.com/home", HOME, SignIn.SIGNED_IN),
        (HOME + "?page=me", HOME + "?page=me", SignIn.SIGNED_IN),
        (HOME, "https://example.com/login?next=/home", SignIn.SIGNED_OUT),
        (HOME, "https://example.com/home-login", SignIn.SIGNED_OUT),
        ("https://example.com/", "https://example.com/login", SignIn.SIGNED_OUT),
        ("https://example.com", "https://example.com.evil.example/", SignIn.SIGNED_OUT),
        ("https://example.com/accounts", "https://example.com/accounts/login/", SignIn.SIGNED_OUT),
        (HOME + "?page=me", HOME + "?page=login", SignIn.SIGNED_OUT),
        (HOME, "https://sso.example.com/home", SignIn.SIGNED_OUT),
    ],
)
async def test_being_sent_elsewhere_is_being_signed_out(
    asked: str, arrived: str, seen: SignIn
) -> None:
    """The page that was asked for counts, however the site spells it; its neighbours do not."""
    own = Page(sent_to=arrived)
    assert await look(Probe(url=asked), Context(own), Page()) is seen
    assert own.closed


async def test_all_that_a_probe_names_must_hold() -> None:
    """One thing missing is enough to be signed out."""
    probe = Probe(url=HOME, selector="#me", text="Hello", cookie="sid")
    jar = {"sid": -1.0}
    assert await look(probe, Context(Page(("#me", "Hello")), jar), Page()) is SignIn.SIGNED_IN
    for context in (
        Context(Page(("#me", "Hello"))),
        Context(Page(("Hello",)), jar),
        Context(Page(("#me",)), jar),
        Context(Page(("#me", "Hello"), sent_to="https://example.com/login"), jar),
    ):
        assert await look(probe, context, Page()) is SignIn.SIGNED_OUT


async def test_a_site_that_cannot_be_reached_says_nothing() -> None:
    """An error is no verdict, and the page that was opened for the look is closed."""
    own = Page(broken="net::ERR_CONNECTION_REFUSED")
    assert await look(Probe(url=HOME), Context(own), Page()) is SignIn.UNKNOWN
    assert own.closed


async def test_a_site_that_does_not_answer_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The look ends in time, and the Playwright call is left to finish, never cancelled."""
    monkeypatch.setattr(looking, "LOOK_TIMEOUT_S", 0.01)
    own = Page(hangs=True)
    before = asyncio.all_tasks()
    assert await look(Probe(url=HOME), Context(own), Page()) is SignIn.UNKNOWN
    (left,) = asyncio.all_tasks() - before
    assert not left.cancelling()
    left.cancel()


def test_a_probe_asks_for_something() -> None:
    """An empty one would call everybody signed in."""
    with pytest.raises(ValueError, match="at least one of"):
        Probe()

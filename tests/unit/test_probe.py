"""What a look at the site says, for every way in which a probe can hold or fail."""

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any

import pytest

from raypool.model import SignIn
from raypool.signin import probe as looking
from raypool.signin.probe import look as look_at
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
    status: int = 200

    async def goto(self, url: str, **_: Any) -> "Page":
        if self.hangs:
            await asyncio.Event().wait()
        if self.broken:
            raise RuntimeError(self.broken)
        self.url = self.sent_to or url
        return self  # as much of a response, too

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


async def look(probe: Probe | None, context: Context, page: Page) -> SignIn:
    """Return the verdict of a look."""
    return (await look_at(probe, context, page)).sign_in  # type: ignore[arg-type]


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
    assert own.closed
    left.cancel()


@pytest.mark.parametrize("status", [429, 500, 502, 503])
async def test_a_site_with_a_fault_says_nothing(status: int) -> None:
    """Its error page shows nobody signed in, and proves nothing."""
    seen = await look_at(Probe(url=HOME, text="Hello"), Context(Page(status=status)), Page())  # type: ignore[arg-type]
    assert seen.sign_in is SignIn.UNKNOWN
    assert str(status) in seen.why


# -- functions -----------------------------------------------------------------------------------

HERE = __name__


async def signed_in(page: Page) -> bool:
    """Say what the page shows."""
    return "#me" in page.visible


async def forgot_to_return(page: Page) -> None:
    """Say nothing."""


async def raises(page: Page) -> bool:
    """Fail, with a secret in the message."""
    raise KeyError("https://user:hunter22@example.com/")


async def hangs(page: Page) -> bool:
    """Never answer."""
    await asyncio.Event().wait()
    return True


def not_async(page: Page) -> bool:
    """Look as a function for another library would."""
    return True


@pytest.mark.parametrize("url", [None, HOME])
async def test_a_function_judges_a_page_of_its_own(url: str | None) -> None:
    """True and False count; the page is closed after it, and stands at the address if one is given."""
    probe = Probe(function=f"{HERE}:signed_in", url=url)
    own, active = Page(("#me",)), Page(url="https://example.com/else")
    assert await look(probe, Context(own), active) is SignIn.SIGNED_IN
    assert own.closed
    assert own.url == (url or "about:blank")
    assert not active.closed
    assert await look(probe, Context(Page()), active) is SignIn.SIGNED_OUT


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("no_such_package.probes:ours", "cannot be imported"),
        (f"{HERE}:no_such_name", "cannot be imported"),
        (f"{HERE}:not_async", "is not an async function"),
        (f"{HERE}:HOME", "is not an async function"),
        (f"{HERE}:forgot_to_return", "neither True nor False"),
        (f"{HERE}:raises", "raised KeyError"),
    ],
)
async def test_a_function_that_does_not_work_says_nothing_and_people_why(
    name: str, words: str
) -> None:
    """It is no verdict; the reason names the function and holds no secret."""
    own = Page()
    sign_in, why = await look_at(Probe(function=name), Context(own), Page())
    assert sign_in is SignIn.UNKNOWN
    assert own.closed
    assert words in why
    assert name in why
    assert "hunter22" not in why


async def test_a_function_that_hangs_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its page is closed under it."""
    monkeypatch.setattr(looking, "LOOK_TIMEOUT_S", 0.01)
    own, before = Page(), asyncio.all_tasks()
    seen = await look_at(Probe(function=f"{HERE}:hangs"), Context(own), Page())
    assert seen.sign_in is SignIn.UNKNOWN
    assert "no answer" in seen.why
    assert own.closed
    for left in asyncio.all_tasks() - before:
        left.cancel()


@pytest.mark.parametrize("name", ["a.b:c", "a:b", "_a.b2:c_d"])
def test_a_function_is_named_by_module_and_name(name: str) -> None:
    """As entry points of packages are."""
    assert Probe(function=name).opens_page


@pytest.mark.parametrize(
    "name",
    [
        "",
        "a.b",
        "a.b:",
        ":c",
        "a..b:c",
        "a.b:c.d",
        "a b:c",
        "a:b()",
        "class:x",
        "../a:b",
        "a" * 300,
    ],
)
def test_another_name_is_refused_at_once(name: str) -> None:
    """Before a browser is started for it."""
    with pytest.raises(ValueError, match=r"package\.module:name|at most 256"):
        Probe(function=name)


def test_a_probe_asks_for_something() -> None:
    """An empty one would call everybody signed in."""
    with pytest.raises(ValueError, match="at least one of"):
        Probe()

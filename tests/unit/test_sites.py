"""An instance asks the site's breaker before a command, and tells it how the command fared."""

import pytest

from actors import sites
from actors.sites import SiteGate, site_of, unreachable
from raypool.errors import ErrorCodes, NetworkError, create_error
from raypool.store.memory import MemoryStore

URL = "https://Example.com:8443/a?b=c"
REFUSED = Exception(f"Page.goto: net::ERR_CONNECTION_REFUSED at {URL}\nCall log:\n  - navigating")
LATE = Exception(
    'Page.goto: Timeout 30000ms exceeded.\nCall log:\n  - navigating to "https://example.com:8443/x"'
)


@pytest.fixture
async def store() -> MemoryStore:
    return MemoryStore()


@pytest.mark.parametrize(
    ("url", "site"),
    [
        (URL, "example.com:8443"),
        ("http://user:word@h/", "h"),
        ("about:blank", ""),
        ("data:text/html,x", ""),
        ("", ""),
    ],
)
def test_a_site_is_host_and_port(url: str, site: str) -> None:
    """Without user, path and case; what is no web address has none."""
    assert site_of(url) == site


def test_only_what_says_that_a_site_did_not_answer_counts() -> None:
    """A refused connection and a page that did not come; not a wrong selector, not our own abort."""
    assert unreachable(REFUSED) == unreachable(LATE) == "example.com:8443"
    for other in (
        "Locator.click: Timeout 30000ms exceeded.\nCall log:\n  - waiting for locator('x')",
        f"Page.goto: net::ERR_ABORTED at {URL}",
        "boom",
    ):
        assert unreachable(Exception(other)) == ""


async def test_a_thousand_businesses_leave_a_dead_site_alone(store: MemoryStore) -> None:
    """After five failures whoever is on that site is refused, with the time to come back."""
    for _ in range(5):
        await SiteGate(store.breakers).left(URL, REFUSED)
    with pytest.raises(NetworkError, match="nothing has begun") as caught:
        await SiteGate(store.breakers).enter(URL)
    assert caught.value.code is ErrorCodes.NETWORK_SITE_UNREACHABLE
    assert caught.value.retryable
    assert (caught.value.retry_after or 0) >= 1
    await SiteGate(store.breakers).enter("https://elsewhere.example/")


async def test_whoever_failed_there_is_refused_wherever_its_page_is(store: MemoryStore) -> None:
    """A page that never came leaves the browser on a blank one: the site is known all the same."""
    gates = [SiteGate(store.breakers) for _ in range(5)]
    for gate in gates:
        await gate.left("about:blank", REFUSED)
    with pytest.raises(NetworkError):
        await gates[0].enter("about:blank")


async def test_a_success_on_the_site_is_told_once(store: MemoryStore) -> None:
    """It closes the breaker for everybody; other commands cost nothing."""
    gate = SiteGate(store.breakers)
    await gate.left(URL, REFUSED)
    assert (await store.breakers.list())[0].failures == 1
    await gate.enter(URL)
    await gate.left("https://elsewhere.example/", None)
    assert (await store.breakers.list())[0].failures == 1
    await gate.left(URL, None)
    assert [b.failures for b in await store.breakers.list()] in ([], [0])


async def test_an_error_of_the_function_itself_is_no_verdict(store: MemoryStore) -> None:
    """Neither for nor against the site."""
    gate = SiteGate(store.breakers)
    await gate.left(URL, REFUSED)
    await gate.left(URL, KeyError("mine"))
    assert (await store.breakers.list())[0].failures == 1


async def test_a_store_that_is_away_opens_the_gate(monkeypatch: pytest.MonkeyPatch) -> None:
    """The breaker protects sites; it must not stop the work."""

    class Away:
        async def ask(self, site: str) -> None:
            raise create_error(ErrorCodes.STORAGE_UNAVAILABLE, "away")

        async def report(self, site: str, ok: bool) -> None:
            raise create_error(ErrorCodes.STORAGE_UNAVAILABLE, "away")

    gate = SiteGate(Away())  # type: ignore[arg-type]
    await gate.left(URL, REFUSED)
    await gate.enter(URL)


async def test_a_site_that_is_well_is_not_asked_about_each_time(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One question in five seconds, however many commands."""
    asked = []
    ask = store.breakers.ask

    async def counted(site: str) -> object:
        asked.append(site)
        return await ask(site)

    monkeypatch.setattr(store.breakers, "ask", counted)
    clock = [1000.0]
    monkeypatch.setattr(sites, "now", lambda: clock[0])
    gate = SiteGate(store.breakers)
    for _ in range(3):
        await gate.enter(URL)
    assert len(asked) == 1
    clock[0] += sites.TRUST_S + 0.1
    await gate.enter(URL)
    assert len(asked) == 2

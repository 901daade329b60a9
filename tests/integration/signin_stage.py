"""A business that is signed in to a real site, in a real browser, without Ray."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from actors.life import Incarnation
from actors.ports import Stores
from actors.session import InstanceSession
from raypool.browser.live import Launcher
from raypool.config import Settings
from raypool.demo.flows import sign_in
from raypool.model import Condition, Holder, Session, SignIn
from raypool.spec import Probe
from raypool.state import COOKIES, decode
from tests.sites.revoking import RevokingSite


class SignInStage:
    """One business on a site, and what a test does to both.

    Args:
        stores: Where its state goes: real ones, or the twin.
        site: Where it is signed in.
        session: Its record.
        settings: Lie over those of a test.
    """

    def __init__(
        self, stores: Stores, site: RevokingSite, session: Session, **settings: Any
    ) -> None:
        self.site, self.session = site, session
        self.email = session.email or ""
        self.ended: list[str] = []
        self._stores, self._lives = stores, 0
        self._password = site.add_account(self.email)
        given = {"lease_ttl": 5, "probe_every": 0, "log_level": "ERROR", **settings}
        self._settings = Settings(**given)
        self._life: InstanceSession | None = None

    @property
    def life(self) -> InstanceSession:
        """The one that goes on now."""
        assert self._life is not None
        return self._life

    async def start(self) -> InstanceSession:
        """Begin the next life; the one before is over, in whatever way."""
        self._lives += 1
        holder = Holder(id=f"{self.session.id}-{self._lives}", cluster="here")
        before = f"{self.session.id}-{self._lives - 1}"
        incarnation = Incarnation(
            self.session.business_id, self.session.id, holder, self._lives, supersedes=before
        )
        leases = self._stores.leases

        @contextlib.asynccontextmanager
        async def open_leases() -> AsyncIterator[Any]:
            yield leases

        self._life = InstanceSession(
            incarnation, self._settings, self._stores, Launcher(), open_leases, self.ended.append
        )
        await self._life.start()
        return self._life

    async def crash(self) -> InstanceSession:
        """End this life without its saving anything more, and begin the next."""
        life, self._life = self.life, None
        await life._vanish()
        return await self.start()

    async def stop(self) -> None:
        """Stop in order."""
        life, self._life = self.life, None
        await life.stop(10)

    async def sign_in(self) -> str:
        """Sign in, as a person does; return the session that the site gave."""
        before = self.site.sessions(self.email)

        async def work(page: Any) -> str:
            await page.context.clear_cookies()
            return await sign_in(page, self.site.url, {self.email: self._password})

        assert await self.life.run(work, 30) == self.email
        (given,) = self.site.sessions(self.email) - before
        return given

    async def visit(self) -> str:
        """Open the site; return what it calls itself."""

        async def work(page: Any) -> str:
            await page.goto(f"{self.site.url}/posts")
            return str(await page.title())

        return await self.life.run(work, 30)

    @property
    def sign_in_state(self) -> SignIn:
        """What the life says of itself."""
        found: SignIn = self.life.describe()["sign_in"]
        return found

    def condition(self, kind: str) -> Condition | None:
        """Return what people are told."""
        return next((c for c in self.life.describe()["conditions"] if c.type == kind), None)

    async def record(self) -> Session:
        """Return the record."""
        found = await self._stores.sessions.get_session(self.session.id)
        assert found is not None
        return found

    async def cookie(self, version: int, name: str = "session") -> str | None:
        """Return a cookie of the site in a kept version."""
        found = await self._stores.checkpoints.load(self.session.id, version)
        assert found is not None
        cookies = decode(COOKIES, found.parts[COOKIES]) if COOKIES in found.parts else []
        return next((c["value"] for c in cookies if c["name"] == name), None)

    async def good_cookie(self, name: str = "session") -> str | None:
        """Return a cookie of the site in the last good version."""
        return await self.cookie((await self.record()).last_good_version, name)


def probe_of(site: RevokingSite) -> Probe:
    """Return what tells that somebody is signed in there."""
    return Probe(url=f"{site.url}/posts", selector="#who")

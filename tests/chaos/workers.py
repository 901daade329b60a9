"""Businesses at work: each has an account at a site and does the same thing over and over."""

import asyncio
import itertools
from dataclasses import dataclass
from typing import Any, Protocol

from tests.chaos.client import ANSWER_TIMEOUT_S, Client, say
from tests.chaos.evidence import Account, Final, RotatingAccount
from tests.sites import server as allauth
from tests.sites.rotating import server as rotating
from tests.sites.rotating.pages import COOKIE

BREATH_S = 0.2


class Worker(Protocol):
    """A business at work."""

    business: str

    async def sign_in(self, client: Client) -> None:
        """Bring the business up and sign it in, for the first time."""

    async def work(self, client: Client, over: asyncio.Event) -> None:
        """Work until *over*, whatever breaks."""

    async def who(self, client: Client, patience: float) -> bool:
        """Ask the site who is signed in; tell whether there was an answer."""
        ...

    async def finish(self, client: Client) -> None:
        """Ask a last time who is signed in."""

    def final(self) -> Final:
        """Return what the site says in the end."""
        ...


@dataclass
class Publisher:
    """Publishes posts at the allauth site. Nothing excuses a second sign-in there."""

    business: str
    site: allauth.AllauthSite
    user: allauth.Account

    async def sign_in(self, client: Client) -> None:
        await _create(client, self.business, self.user.email, "sessionid")
        await _signed_in(
            client,
            self.business,
            "tests.sites.flows:sign_in",
            *(self.site.url, self.user.email, self.user.password, self.user.totp_secret),
        )
        self.at_start = self.site.counters(self.user.email)

    async def work(self, client: Client, over: asyncio.Event) -> None:
        flow = "tests.sites.flows:publish"
        for number in itertools.count(1):
            if over.is_set():
                return
            await client.do("publish", self.business, flow, self.site.url, f"Post {number}")
            await asyncio.sleep(BREATH_S)

    async def who(self, client: Client, patience: float) -> bool:
        return await _who(client, self.business, "tests.sites.flows:who", self.site.url, patience)

    async def finish(self, client: Client) -> None:
        await self.who(client, ANSWER_TIMEOUT_S)

    def final(self) -> Final:
        at_end = self.site.counters(self.user.email)
        return Final(accounts=(Account(self.business, self.user.email, self.at_start, at_end),))


@dataclass
class Performer:
    """Acts at the rotating site, each action until it was acknowledged; signs in again if it must."""

    business: str
    site: rotating.RotatingSite
    user: rotating.Account

    async def sign_in(self, client: Client) -> None:
        await _create(client, self.business, self.user.email, COOKIE)
        await _signed_in(client, self.business, *self._sign_in)

    @property
    def _sign_in(self) -> tuple[str, ...]:
        credentials = (self.site.url, self.user.email, self.user.password)
        return ("tests.sites.rotating.flows:sign_in", *credentials)

    async def work(self, client: Client, over: asyncio.Event) -> None:
        for number in itertools.count(1):
            while not over.is_set() and not await self._act(client, f"{self.business}-{number}"):
                await asyncio.sleep(BREATH_S)
            if over.is_set():
                return
            await asyncio.sleep(BREATH_S)

    async def _act(self, client: Client, key: str) -> bool:
        flow = "tests.sites.rotating.flows:act"
        done = await client.do("act", self.business, flow, self.site.url, key, told=key)
        if done and done["value"] is None:
            await client.do("sign_in", self.business, *self._sign_in)
        return bool(done and done["value"] is not None)

    async def who(self, client: Client, patience: float) -> bool:
        flow = "tests.sites.rotating.flows:who"
        return await _who(client, self.business, flow, self.site.url, patience)

    async def finish(self, client: Client) -> None:
        """A fault just before the end may excuse one more sign-in."""
        flow = "tests.sites.rotating.flows:who"
        answer = await client.do("who", self.business, flow, self.site.url, idempotent=True)
        if answer and answer["value"] is None:
            await client.do("sign_in", self.business, *self._sign_in)
            await self.who(client, ANSWER_TIMEOUT_S)

    def final(self) -> Final:
        log = self.site.log(self.user.email)
        return Final(rotating=(RotatingAccount(self.business, self.user.email, log),))


async def _create(client: Client, business: str, email: str, cookie: str) -> None:
    await client.caller.ask("create", 150.0, business=business, email=email, cookie=cookie)


async def _signed_in(client: Client, business: str, flow: str, *args: Any) -> None:
    if not await client.do("sign_in", business, flow, *args):
        raise RuntimeError(f"{business} could not sign in: {client.history.events[-1].value}")
    say(f"{business} is signed in")


async def _who(client: Client, business: str, flow: str, url: str, patience: float) -> bool:
    answer = await client.do("who", business, flow, url, idempotent=True, patience=patience)
    return answer is not None

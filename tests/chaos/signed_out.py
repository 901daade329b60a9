"""Scenario *signed out*: the site ends a business's session, again and again. No good state is lost.

``python -m tests.chaos.signed_out --trials 100``. Real Chromium, a real Valkey, incarnations in this
process. Each trial signs a business in, has the site sign it out in one of the ways in which sites do
that, at one of the moments at which it may happen, and then reads the last good version from the
server: it must hold the session that was signed in. In every fourth trial the site takes that session
for good again and the incarnation ends without another save: the next one must be signed in with it,
and nobody has signed in.
"""

import argparse
import asyncio
import contextlib
import json
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from actors.ports import Stores
from raypool.config import Settings
from raypool.logs import configure
from raypool.model import SignIn
from raypool.store.crypto import Keyring
from raypool.store.sessions import RedisSessionManager
from tests.chaos.client import say
from tests.contract.servers import program, running
from tests.integration.browsers import private_directory
from tests.integration.signin_stage import SignInStage, probe_of
from tests.sites.revoking import RevokingSite, Way

RESTART_EVERY = 4
SETTLE_S = 0.4
"""Longer than a change takes to be saved by itself."""


@dataclass
class Report:
    """What the trials came to."""

    trials: int = 0
    last_good_lost: int = 0
    restarts: int = 0
    fell_back: int = 0
    not_signed_in_again: int = 0
    """Restarts after which the business was not signed in, or only by another sign-in."""
    seconds: float = 0.0
    violations: list[str] = field(default_factory=list)


# -- moments -------------------------------------------------------------------------------------


async def at_a_command(stage: SignInStage) -> None:
    """The next command finds the form to sign in."""
    assert await stage.visit() == "Sign in"


async def in_a_command(stage: SignInStage) -> None:
    """A command goes on for a while after it, and what changes is saved meanwhile."""

    async def work(page: Any) -> None:
        await page.goto(f"{stage.site.url}/posts")
        await page.evaluate("localStorage.setItem('seen', String(performance.now()))")
        await asyncio.sleep(SETTLE_S)

    await stage.life.run(work, 30)


async def while_idle(stage: SignInStage) -> None:
    """The look that the timer makes finds it."""
    await stage.life._place.verify()  # type: ignore[union-attr]


async def by_itself(stage: SignInStage) -> None:
    """A page asks its site by itself, nobody looks, and the change is saved by itself."""

    async def work(page: Any) -> None:
        await page.goto(f"{stage.site.url}/posts")
        await page.evaluate("setInterval(() => fetch('/posts').catch(() => 0), 50)")

    stage.site.honour_all()
    await stage.life.run(work, 30)
    stage.site.end_sessions(stage.email)
    await asyncio.sleep(SETTLE_S)


async def with_the_site_down(stage: SignInStage) -> None:
    """Nobody can say whether it is signed in when its state is saved."""
    await stage.visit()
    stage.site.down = True
    try:
        await stage.life.checkpoint()
    finally:
        stage.site.down = False


async def at_a_stop(stage: SignInStage) -> None:
    """The last save of a life holds what the site made of it."""
    await stage.visit()
    await stage.stop()
    await stage.start()


MOMENTS: tuple[Callable[[SignInStage], Awaitable[None]], ...] = (
    at_a_command, in_a_command, while_idle, by_itself, with_the_site_down, at_a_stop,
)  # fmt: skip


# -- trials --------------------------------------------------------------------------------------


async def trial(stage: SignInStage, number: int, report: Report) -> None:
    """Sign in, be signed out, look what is left."""
    ways, site = tuple(Way), stage.site
    site.way = ways[number % len(ways)]
    moment = MOMENTS[number // len(ways) % len(MOMENTS)]
    what = f"{site.way}, {moment.__name__}"
    session = await stage.sign_in()
    if await stage.good_cookie() != session:
        report.violations.append(f"trial {number} ({what}): a sign-in was not good to begin with")
    site.end_sessions(stage.email)
    await moment(stage)
    report.trials += 1
    if await stage.good_cookie() != session:
        report.last_good_lost += 1
        report.violations.append(f"trial {number} ({what}): the last good version was lost")
    if number % RESTART_EVERY == 0:
        await _restart(stage, session, f"trial {number} ({what})", report)


async def _restart(stage: SignInStage, session: str, what: str, report: Report) -> None:
    site, before = stage.site, stage.site.sign_ins
    site.honour(session)
    await stage.crash()
    report.restarts += 1
    report.fell_back += stage.condition("FellBack") is not None
    again = stage.sign_in_state is SignIn.SIGNED_IN and await stage.visit() == "Posts"
    if not again or site.sign_ins != before:
        report.not_signed_in_again += 1
        report.violations.append(f"{what}: not signed in after a restart: {stage.sign_in_state}")


@contextlib.asynccontextmanager
async def _stage() -> AsyncIterator[SignInStage]:
    """Give a business on a site and a server of their own."""
    with contextlib.ExitStack() as stack:
        private = stack.enter_context(private_directory())
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=private)))
        server = program("valkey")
        if server is None:
            raise RuntimeError("there is no Valkey server on this machine")
        url = stack.enter_context(running(server, directory, "--appendfsync", "always"))
        site = stack.enter_context(RevokingSite())
        settings = Settings(redis_url=SecretStr(url), lease_ttl=5)
        manager = RedisSessionManager(settings, Keyring.parse(SecretStr(Keyring.generate())))
        try:
            made = await manager.ensure_active(
                "b1", email="owner@example.com", probe=probe_of(site)
            )
            stores = Stores(manager, manager.leases, manager.checkpoints, manager.breakers)
            stage = SignInStage(stores, site, made, redis_url=SecretStr(url))
            await stage.start()
            yield stage
            await stage.stop()
        finally:
            await manager.close()


async def trials(count: int) -> Report:
    """Run the trials one after the other; return what they came to."""
    report, began = Report(), time.monotonic()
    async with _stage() as stage:
        for number in range(count):
            stage.site.forget()
            await trial(stage, number, report)
            if (number + 1) % 10 == 0:
                seconds = time.monotonic() - began
                say(f"{number + 1} of {count}: {report.last_good_lost} lost, {seconds:.0f} s")
    report.seconds = round(time.monotonic() - began, 1)
    return report


def main() -> int:
    """Run it; the last line of standard output is the report, a JSON object."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.signed_out")
    parser.add_argument("--trials", type=int, default=100)
    given = parser.parse_args()
    configure(level="ERROR")
    report = asyncio.run(trials(given.trials))
    for violation in report.violations:
        say(f"VIOLATION {violation}")
    say(f"last_good kept in {report.trials - report.last_good_lost} of {report.trials}")
    sys.stdout.write(json.dumps(asdict(report)) + "\n")
    return bool(report.violations)


if __name__ == "__main__":
    sys.exit(main())

"""Pages that begin at an address."""

import asyncio
import contextlib
from dataclasses import dataclass, field

from playwright.async_api import CDPSession, Page
from playwright.async_api import Error as PlaywrightError

from raypool.browser.channels import Message, NestedChannel, PageChannel
from raypool.browser.tap import equip


@dataclass(eq=False)
class Target:
    """A page that Playwright has not told of yet: it does so when an answer of the site has come."""

    target_id: str
    channel: NestedChannel
    """Holds what happens until somebody knows whose it is."""
    equipped: "asyncio.Future[None]"
    page: "asyncio.Future[Page]" = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )

    def hand_over(self, page: Page) -> None:
        """Tell what happened until now, and who it is."""
        self.channel.release()
        self.page.set_result(page)

    def gone(self) -> None:
        """It is closed: nobody waits for it any more."""
        self.channel.gone()
        if not self.page.done():
            self.page.set_exception(PlaywrightError("the page was closed"))


class Targets:
    """Opens them in one context.

    A page that is empty first, as ``context.new_page()`` makes it, is there when Chromium has made two
    documents for it, one after the other; here it makes one.

    The headless shell holds such a page until Playwright has given it its options, scripts and routes.
    Full Chromium does not: eight of eight first scripts ran without them.

    Args:
        cdp: A session with the browser itself.
        context_id: The context's id in CDP.
    """

    def __init__(self, cdp: CDPSession, context_id: str) -> None:
        self._cdp, self._browser, self._context_id = cdp, PageChannel(cdp), context_id
        self._targets: dict[str, Target] = {}
        """By the id of our session with them."""
        self.over = False
        """Whether the browser is going, or gone."""
        self._events = {
            "Target.receivedMessageFromTarget": self._received,
            "Target.detachedFromTarget": self._detached,
        }

    def begin(self) -> None:
        """Listen to them."""
        for event, handler in self._events.items():
            self._cdp.on(event, handler)

    def end(self) -> None:
        """Listen no more, and wait for none: the session with the browser outlives the context."""
        self.over = True
        for event, handler in self._events.items():
            self._cdp.remove_listener(event, handler)
        for target in self._targets.values():
            target.gone()

    async def open(self, url: str, timeout: float) -> Page:
        """Return a new page that has got an answer from *url*, or an error page instead of one.

        Raises:
            PlaywrightError: No answer came within *timeout* seconds; Chromium did not make it; or it
                is gone already. There is no such page then.
        """
        target = await self._create(url)
        try:
            async with asyncio.timeout(timeout):
                return await target.page
        except TimeoutError as error:
            with contextlib.suppress(PlaywrightError):
                await self._cdp.send("Target.closeTarget", {"targetId": target.target_id})
            raise PlaywrightError(f"no answer in {timeout:.0f} s") from error

    def expected(self, target_id: str) -> Target | None:
        """Return the target of a page that :meth:`open` waits for; None if it is none of them."""
        waiting = (t for t in self._targets.values() if not t.page.done())
        return next((t for t in waiting if t.target_id == target_id), None)

    async def _create(self, url: str) -> Target:
        where = {"url": url, "browserContextId": self._context_id}
        target_id = (await self._cdp.send("Target.createTarget", where))["targetId"]
        which = {"targetId": target_id, "flatten": False}
        session_id = (await self._cdp.send("Target.attachToTarget", which))["sessionId"]
        channel = NestedChannel(self._browser, session_id, held=True)
        equipped = asyncio.ensure_future(equip(channel))
        equipped.add_done_callback(lambda task: task.cancelled() or task.exception())
        target = self._targets[session_id] = Target(target_id, channel, equipped)
        return target

    def _received(self, event: Message) -> None:
        if target := self._targets.get(event["sessionId"]):
            target.channel.received(event["message"])

    def _detached(self, event: Message) -> None:
        if target := self._targets.pop(event["sessionId"], None):
            target.gone()

"""A page of ours that can be at any origin without asking its site: empty documents."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from playwright.async_api import BrowserContext, CDPSession, Page, Route
from playwright.async_api import Error as PlaywrightError

from raypool.browser.documents import Document

_ADDRESS = "about:blank#raypool"
ARRIVE_TIMEOUT_S = 10.0


class Stub:
    """At most one page, there only while it is used.

    The browser cannot hide it (``Target.createTarget`` knows ``hidden``, but not in the headless
    shell), so it is taken off Playwright's list: who goes through the pages of the context must not
    meet one that is about to close. Listeners of ``context.on("page")`` and attached clients see it.
    """

    def __init__(self, context: BrowserContext, cdp: CDPSession, context_id: str) -> None:
        self._context, self._cdp, self._context_id = context, cdp, context_id
        self._page: Page | None = None
        self._followed = asyncio.Event()
        self._users = 0
        self._turn = asyncio.Lock()
        self._awaited: tuple[str, asyncio.Future[Document]] | None = None
        self._frame = ""

    def is_own(self, page: Page) -> bool:
        """Tell whether *page* is no page of the business."""
        return page is self._page or page.url == _ADDRESS

    def hide(self, page: Page) -> None:
        """Take our own page off ``context.pages``: Playwright keeps them in a private dictionary."""
        with contextlib.suppress(AttributeError):
            self._context._impl_obj._pages.pop(page._impl_obj, None)  # noqa: SLF001

    def followed(self, page: Page) -> None:
        """The documents of *page* are followed from now on."""
        if page is self._page:
            self._followed.set()

    def opened(self, document: Document) -> None:
        """A document is open in the page."""
        if self._awaited and self._awaited[0] == document.key and not self._awaited[1].done():
            self._awaited[1].set_result(document)

    @contextlib.asynccontextmanager
    async def in_use(self) -> AsyncIterator[None]:
        """Keep the page for several documents."""
        self._users += 1
        try:
            yield
        finally:
            self._users -= 1
            if not self._users and self._page:
                page, self._page = self._page, None
                with contextlib.suppress(PlaywrightError):
                    await page.close()

    @contextlib.asynccontextmanager
    async def document(self, key: str) -> AsyncIterator[Document]:
        """Give an empty document of a storage key; one at a time.

        Raises:
            TimeoutError: The browser did not open it.
        """
        async with self._turn, self.in_use():
            page = await self._opened_page()
            arrived: asyncio.Future[Document] = asyncio.get_running_loop().create_future()
            self._awaited = (key, arrived)
            try:
                origin, top = _addresses(key)
                self._frame = f'<iframe src="{origin}"></iframe>' if top else ""
                going = asyncio.ensure_future(page.goto(top or origin, wait_until="commit"))
                going.add_done_callback(lambda task: task.cancelled() or task.exception())
                await asyncio.wait({arrived}, timeout=ARRIVE_TIMEOUT_S)
                if not arrived.done():
                    raise TimeoutError(f"no document of {key} opened")
                yield arrived.result()
            finally:
                self._awaited = None

    async def _opened_page(self) -> Page:
        if self._page is None:
            self._followed.clear()
            async with self._context.expect_page(lambda page: page.url == _ADDRESS) as opening:
                await self._cdp.send(
                    "Target.createTarget",
                    {
                        "url": _ADDRESS,
                        "browserContextId": self._context_id,
                        "background": True,
                    },
                )
            self._page = await opening.value
            await self._page.route("**/*", self._answer)
            await asyncio.wait_for(self._followed.wait(), ARRIVE_TIMEOUT_S)
        return self._page

    async def _answer(self, route: Route) -> None:
        body = self._frame if route.request.frame.parent_frame is None else ""
        await route.fulfill(content_type="text/html", body=f"<!doctype html>{body}")


def _addresses(key: str) -> tuple[str, str]:
    """Return where a document of a storage key is, and the page that it must be a frame of."""
    origin, _, rest = key.partition("^")
    top = rest.removeprefix("0")
    return origin, f"{top}/" if top.startswith("http") else ""

"""What a page tells is known under its own storage key, whatever its worlds are announced with."""

import asyncio
from typing import Any

import pytest

from raypool.browser.channels import Handler, Message
from raypool.browser.documents import Document, Documents
from raypool.browser.tap import WORLD, listen
from raypool.errors import ErrorCodes, create_error

PAGE, MAIN = "page", "main-frame"
BEFORE, NOW = "http://before.example", "http://now.example"


class Scripted:
    """A channel with a page whose main frame has *key*; None where it has none."""

    def __init__(self, key: str | None) -> None:
        self.key, self.handlers = key, dict[str, Handler]()

    async def send(self, method: str, params: Message | None = None) -> Any:
        """Answer as Chromium does."""
        if method != "Storage.getStorageKeyForFrame":
            return {}
        if self.key is None:
            raise create_error(ErrorCodes.BROWSER_CHECKPOINT_FAILED, "an opaque storage key")
        return {"storageKey": self.key}

    def on(self, event: str, handler: Handler) -> None:
        """Keep who listens."""
        self.handlers[event] = handler


class Heard:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []

    def opened(self, document: Document) -> None:
        """A document is open."""
        self.told.append(("opened", document.key))

    def __getattr__(self, name: str) -> Any:
        return lambda _, key, *__: self.told.append((name, key))


async def told(
    key: str | None, *contexts: tuple[str, str], cleared: bool = False
) -> list[tuple[str, str]]:
    """Return what is told when contexts (name, origin) of the main frame are announced."""
    channel, heard = Scripted(key), Heard()
    listen(channel, PAGE, MAIN, documents := Documents(heard))  # type: ignore[arg-type]
    for number, (name, origin) in enumerate(contexts):
        about = {"frameId": MAIN, "isDefault": not name}
        context = {
            "id": number, "uniqueId": f"{number}", "name": name, "origin": origin, "auxData": about,
        }  # fmt: skip
        channel.handlers["Runtime.executionContextCreated"]({"context": context})
    if cleared:
        channel.handlers["Runtime.executionContextsCleared"]({})
    await asyncio.gather(*documents.tasks)
    return heard.told


async def test_a_document_that_opens_is_known() -> None:
    """First its page shows it, then it can be read."""
    assert await told(f"{NOW}/", ("", NOW), (WORLD, NOW)) == [
        ("coming", NOW), ("opened", f"{NOW}/"),
    ]  # fmt: skip


async def test_our_world_may_be_announced_with_the_origin_of_the_document_before() -> None:
    """What the new document stores is not the other's; that one came and went unheard."""
    assert await told(f"{NOW}/", (WORLD, BEFORE), ("", NOW)) == [
        ("coming", NOW), ("unheard", f"{BEFORE}/"), ("opened", f"{NOW}/"),
    ]  # fmt: skip


@pytest.mark.parametrize("key", [f"{NOW}/", None], ids=["to a site", "to nowhere"])
async def test_a_document_that_has_left_when_it_is_asked_for_was_unheard(key: str | None) -> None:
    """Its key is that of the next one by then, or there is none."""
    heard = await told(key, ("", BEFORE), (WORLD, BEFORE), cleared=True)
    assert ("unheard", f"{BEFORE}/") in heard
    assert not [what for what in heard if what[0] == "opened"]

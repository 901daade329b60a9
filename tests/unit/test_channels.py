"""A session within another one: answers reach who asked, events reach who listens, in order."""

import asyncio
import json
from typing import Any

import pytest

from raypool.browser.channels import Handler, Message, NestedChannel
from raypool.errors import RaypoolError


class Parent:
    """The session that carries it; keeps what is sent."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []

    async def send(self, method: str, params: Message | None = None) -> Any:
        """Take a message for the child."""
        assert method == "Target.sendMessageToTarget"
        assert params is not None
        self.sent.append(json.loads(params["message"]))

    def on(self, event: str, handler: Handler) -> None:
        """Nobody listens to it here."""


def event(number: int) -> str:
    """Return an event as it arrives."""
    return json.dumps({"method": "Page.happened", "params": {"number": number}})


async def test_answers_reach_who_asked() -> None:
    """In whichever order they come; a refusal raises."""
    channel = NestedChannel(parent := Parent(), "s")
    first, second = (asyncio.ensure_future(channel.send(m)) for m in ("A.a", "B.b"))
    await asyncio.sleep(0)
    one, two = (message["id"] for message in parent.sent)
    channel.received(json.dumps({"id": two, "error": {"message": "no such thing"}}))
    channel.received(json.dumps({"id": one, "result": {"it": "is"}}))
    assert await first == {"it": "is"}
    with pytest.raises(RaypoolError, match="no such thing"):
        await second


async def test_events_that_are_held_come_in_order_when_they_are_released() -> None:
    """Before those that come later; answers do not wait."""
    channel = NestedChannel(parent := Parent(), "s", held=True)
    channel.received(event(1))
    asking = asyncio.ensure_future(channel.send("A.a"))
    await asyncio.sleep(0)
    channel.received(json.dumps({"id": parent.sent[0]["id"], "result": {}}))
    assert await asking == {}
    channel.received(event(2))
    heard: list[int] = []
    channel.on("Page.happened", lambda params: heard.append(params["number"]))
    assert heard == []
    channel.release()
    channel.received(event(3))
    assert heard == [1, 2, 3]


async def test_who_waits_for_an_answer_is_told_that_the_page_is_gone() -> None:
    """Nothing waits for ever."""
    channel = NestedChannel(Parent(), "s")
    asking = asyncio.ensure_future(channel.send("A.a"))
    await asyncio.sleep(0)
    channel.gone()
    with pytest.raises(RaypoolError, match="it is gone"):
        await asking

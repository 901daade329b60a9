"""One command at a time, in the order in which they came; the queue is bounded in length and time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from actors import turns as turns_module
from actors.turns import Turns
from raypool.errors import ErrorCodes, InstanceNotReady, RateLimitError


class Clock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(turns_module, "now", clock)
    return clock


async def _settled() -> None:
    """Let everything go on that can."""
    for _ in range(10):
        await asyncio.sleep(0)


class Queue:
    """Commands that take their turn and hold it until they are told to end."""

    def __init__(self, most: int = 10, patience: float = 60.0) -> None:
        self.turns = Turns("b1", most, patience)
        self.began: list[str] = []
        self._ends: dict[str, asyncio.Event] = {}

    async def send(self, name: str) -> "asyncio.Task[None]":
        self._ends[name] = asyncio.Event()
        task = asyncio.ensure_future(self._command(name))
        await _settled()
        return task

    async def end(self, name: str) -> None:
        self._ends[name].set()
        await _settled()

    async def _command(self, name: str) -> None:
        async with self.turns.take():
            self.began.append(name)
            await self._ends[name].wait()


@asynccontextmanager
async def _refused(error: type[Exception], match: str) -> AsyncIterator[None]:
    with pytest.raises(error, match=match) as caught:
        yield
    assert caught.value.retryable  # type: ignore[attr-defined]
    assert caught.value.context["business_id"] == "b1"  # type: ignore[attr-defined]


async def test_commands_begin_in_the_order_in_which_they_came() -> None:
    """Each when the one before has ended, and not before."""
    queue = Queue()
    for name in "abc":
        await queue.send(name)
    assert queue.began == ["a"]
    for name, began in (("a", "ab"), ("b", "abc"), ("c", "abc")):
        await queue.end(name)
        assert queue.began == list(began)
    assert not queue.turns.busy


async def test_a_command_that_fails_gives_its_turn_to_the_next() -> None:
    """An error is no reason to keep the browser."""
    queue = Queue()
    with pytest.raises(KeyError):
        async with queue.turns.take():
            raise KeyError
    await queue.send("next")
    assert queue.began == ["next"]


async def test_one_too_many_is_refused_at_once() -> None:
    """Two may wait; the third is told to send less, and disturbs nobody."""
    queue = Queue(most=2)
    for name in "abc":
        await queue.send(name)
    async with _refused(RateLimitError, "2 commands are waiting already"):
        await (await queue.send("d"))
    await queue.end("a")
    await queue.send("e")
    await queue.end("b")
    await queue.end("c")
    assert queue.began == ["a", "b", "c", "e"]


async def test_who_waits_too_long_is_sent_away() -> None:
    """With the error for capacity; it has not begun and will not."""
    queue = Queue(patience=0.02)
    await queue.send("a")
    late = await queue.send("b")
    async with _refused(RateLimitError, r"waited 0\.02 s for its turn"):
        await late
    await queue.end("a")
    assert queue.began == ["a"]
    assert not queue.turns.busy
    await queue.send("c")
    assert queue.began == ["a", "c"]


async def test_who_leaves_the_queue_holds_up_nobody() -> None:
    """A caller that was cancelled while it waited, or in the moment when its turn came."""
    queue = Queue()
    for name in "abc":
        await queue.send(name)
    gone = await queue.send("d")
    gone.cancel()
    await queue.end("a")
    await queue.end("b")
    at_turn = await queue.send("e")
    queue._ends["c"].set()
    await asyncio.sleep(0)
    at_turn.cancel()
    await _settled()
    await queue.send("f")
    assert queue.began == ["a", "b", "c", "f"]


async def test_close_sends_away_who_waits_and_lets_run_what_runs() -> None:
    """Nothing of theirs has begun; whoever comes later is sent away, too. Closing twice is closing."""
    queue = Queue()
    running = await queue.send("a")
    waiting = [await queue.send(name) for name in "bc"]
    queue.turns.close()
    queue.turns.close()
    for task in [*waiting, await queue.send("d")]:
        async with _refused(InstanceNotReady, "is stopping"):
            await task
    assert not running.done()
    await queue.end("a")
    await running
    assert queue.began == ["a"]


async def test_the_last_turn_is_taken_for_good() -> None:
    """It waits for what runs; nothing begins after it."""
    queue = Queue()
    await queue.send("a")
    waiting = await queue.send("b")
    last = asyncio.ensure_future(queue.turns.take_last(30))
    await _settled()
    assert not last.done()
    await queue.end("a")
    assert await last
    for task in (waiting, await queue.send("c")):
        with pytest.raises(InstanceNotReady):
            await task
    async with queue.turns.take_if_free() as free:
        assert not free


async def test_the_last_turn_does_not_come_while_something_runs() -> None:
    """The stop is told in time; what runs goes on, and still nothing begins after it."""
    queue = Queue()
    running = await queue.send("a")
    assert not await queue.turns.take_last(0.02)
    assert not running.done()
    await queue.end("a")
    with pytest.raises(InstanceNotReady):
        await (await queue.send("b"))


async def test_upkeep_takes_a_free_turn_and_gives_way_to_commands() -> None:
    """Held by it the next command waits; while one runs or waits upkeep gets none."""
    queue = Queue()
    async with queue.turns.take_if_free() as free:
        assert free
        waiting = await queue.send("a")
        assert queue.began == []
    await _settled()
    async with queue.turns.take_if_free() as free:
        assert not free
    await queue.end("a")
    await waiting


async def test_idle_time_counts_from_the_end_of_the_last_command(clock: Clock) -> None:
    """0 while one runs or waits; a word from somebody who is there begins it anew."""
    queue = Queue()
    clock.now += 5
    assert queue.turns.idle_for() == 5
    await queue.send("a")
    clock.now += 100
    assert (queue.turns.busy, queue.turns.idle_for()) == (True, 0.0)
    await queue.end("a")
    assert (queue.turns.busy, queue.turns.idle_for()) == (False, 0.0)
    clock.now += 7
    assert queue.turns.idle_for() == 7
    queue.turns.touch()
    assert queue.turns.idle_for() == 0


async def test_upkeep_is_no_use(clock: Clock) -> None:
    """A round that looks after the browser does not keep it from resting."""
    queue = Queue()
    clock.now += 50
    async with queue.turns.take_if_free():
        clock.now += 1
    assert queue.turns.idle_for() == 51


async def test_who_is_refused_leaves_no_trace(clock: Clock) -> None:
    """A full queue and a closed one do not make the instance look used."""
    queue = Queue(most=0)
    clock.now += 50
    with pytest.raises(RateLimitError) as caught:
        await (await queue.send("a"))
    assert caught.value.code is ErrorCodes.RATE_LIMIT_CAPACITY
    queue.turns.close()
    assert queue.turns.idle_for() == 50

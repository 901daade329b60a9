"""The faults. Each is a small class: a name, ``strike``, and ``heal`` where it passes.

``strike`` returns only when it has happened, and tells whether it did: a target that does not exist
has not been struck.
"""

import asyncio
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from tests.chaos import targets
from tests.chaos.link import Link
from tests.chaos.redis_server import RedisServer
from tests.chaos.targets import Find


@dataclass
class Nemesis:
    """A fault that can be made to happen.

    Attributes:
        name: The word for it in history and report.
        everywhere: It disturbs the whole fleet, not one business.
        spares_browsers: Live browsers must not notice: they go on as the same processes.
        hold_s: Seconds from ``strike`` to ``heal``; 0: there is nothing to heal.
    """

    name: str
    everywhere: bool = False
    spares_browsers: bool = False
    hold_s: float = 0.0

    async def strike(self, business_id: str) -> bool:
        """Make it happen to *business_id*; tell whether it did."""
        raise NotImplementedError

    async def heal(self) -> None:
        """Take back what can be taken back."""

    def over(self, business_id: str) -> bool:
        """Tell whether what was struck is there again."""
        return True


@dataclass
class Kill(Nemesis):
    """SIGKILL for a process."""

    find: Find = field(kw_only=True)

    async def strike(self, business_id: str) -> bool:
        return await asyncio.to_thread(self._strike, business_id)

    def _strike(self, business_id: str) -> bool:
        process = self.find(business_id)
        return process is not None and targets.kill(process)

    def over(self, business_id: str) -> bool:
        return self.find(business_id) is not None


@dataclass
class Pause(Nemesis):
    """SIGSTOP for a process, SIGCONT after a while."""

    find: Find = field(kw_only=True)
    _stopped: psutil.Process | None = None

    async def strike(self, business_id: str) -> bool:
        return await asyncio.to_thread(self._strike, business_id)

    def _strike(self, business_id: str) -> bool:
        self._stopped = self.find(business_id)
        return self._stopped is not None and targets.pause(self._stopped)

    async def heal(self) -> None:
        if self._stopped:  # it may have been killed meanwhile, for being stuck
            await asyncio.to_thread(targets.resume, self._stopped)

    def over(self, business_id: str) -> bool:
        return self.find(business_id) is not None


@dataclass
class KillRedis(Nemesis):
    """SIGKILL for a server of the run's own, which comes back with what it had on disk."""

    server: RedisServer = field(kw_only=True)

    async def strike(self, business_id: str) -> bool:
        return self.server.kill()

    async def heal(self) -> None:
        await self.server.start()


@dataclass
class CutRedis(Nemesis):
    """No way to Redis: connections are refused, or, silently, nothing arrives any more."""

    link: Link = field(kw_only=True)
    silently: bool = False

    async def strike(self, business_id: str) -> bool:
        before = self.link.forwarding
        await self.link.cut(silently=self.silently)
        return before and not self.link.forwarding

    async def heal(self) -> None:
        await self.link.mend()


@dataclass
class LoseReply(Nemesis):
    """Redis does what a script says, and the caller never hears of it."""

    link: Link = field(kw_only=True)
    scripts: Sequence[str] = ("commit", "acquire_lease", "renew_lease")
    patience_s: float = 15.0
    _next: int = 0

    async def strike(self, business_id: str) -> bool:
        script = self.scripts[self._next % len(self.scripts)]
        self._next += 1
        lost = self.link.lost
        self.link.lose_reply_to(script)
        if script == "acquire_lease":  # nobody asks for one unless somebody died
            actor = targets.actor(business_id)
            if actor is None or not targets.kill(actor):
                return False
        return await happened(lambda: self.link.lost > lost, self.patience_s)

    async def heal(self) -> None:
        self.link.lose_no_reply()


@dataclass
class DelayReplies(Nemesis):
    """Each reply of Redis comes late."""

    link: Link = field(kw_only=True)
    seconds: float = 0.5

    async def strike(self, business_id: str) -> bool:
        delayed = self.link.delayed
        self.link.delay = self.seconds
        return await happened(lambda: self.link.delayed > delayed, 10.0)

    async def heal(self) -> None:
        self.link.delay = 0.0


@dataclass
class FillDisk(Nemesis):
    """Not a byte is left where the embedded server keeps its data."""

    directory: Path = field(kw_only=True)

    async def strike(self, business_id: str) -> bool:
        return await asyncio.to_thread(self._fill)

    def _fill(self) -> bool:
        with self._filler.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(b"\0" * 2**16)
            except OSError:
                return os.statvfs(self.directory).f_bavail == 0

    async def heal(self) -> None:
        self._filler.unlink(missing_ok=True)

    @property
    def _filler(self) -> Path:
        return self.directory / "filler"


@dataclass
class StepClock(Nemesis):
    """The caller's wall clock jumps, there and back; see :mod:`tests.chaos.clock` for what that is.

    *ask* steps the caller's clock and returns what it shows then.
    """

    ask: Callable[[float], Any] = field(kw_only=True)
    seconds: float = 2 * 86_400.0

    async def strike(self, business_id: str) -> bool:
        before, after = await self.ask(0.0), await self.ask(self.seconds)
        self.seconds = -self.seconds
        return abs(abs(after - before) - abs(self.seconds)) < 60

    async def heal(self) -> None:
        await self.ask(0.0)


@dataclass
class Several(Nemesis):
    """Several faults at once."""

    members: Sequence[Nemesis] = field(kw_only=True)

    def __post_init__(self) -> None:
        self.everywhere = any(member.everywhere for member in self.members)
        self.hold_s = max(member.hold_s for member in self.members)

    async def strike(self, business_id: str) -> bool:
        return all(await asyncio.gather(*(m.strike(business_id) for m in self.members)))

    async def heal(self) -> None:
        await asyncio.gather(*(member.heal() for member in self.members))

    def over(self, business_id: str) -> bool:
        return all(member.over(business_id) for member in self.members)


async def happened(holds: Callable[[], bool], seconds: float) -> bool:
    """Wait until *holds*; tell whether that came true in *seconds*."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while not holds():
        if loop.time() > deadline:
            return False
        await asyncio.sleep(0.02)
    return True

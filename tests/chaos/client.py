"""The client of a run: asks scripts to work, and writes down how they fare."""

import asyncio
import sys
from typing import Any

from tests.chaos.caller import Caller, NoAnswer, Refused
from tests.chaos.fleet import Fleet
from tests.chaos.history import History, Kind
from tests.chaos.ownership import STALE_WRITE
from tests.chaos.recovery import NOT_SAVED, READY

COMMAND_TIMEOUT_S = 60.0
STARTS = 4
ANSWER_TIMEOUT_S = 150.0
"""A start may take 90 s, and a command 60 s after it."""


class Client:
    """Scripts of a fleet, one at a time; every operation is in the history."""

    caller: Caller

    def __init__(self, fleet: Fleet, history: History) -> None:
        self.fleet, self.history = fleet, history

    async def __aenter__(self) -> "Client":
        for left in reversed(range(STARTS)):  # on a busy machine a Ray may not come up in time
            try:
                self.caller = await self.fleet.caller()
                break
            except (Refused, NoAnswer):
                if not left:
                    raise
                await asyncio.sleep(1.0)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.caller.leave()

    async def again(self) -> None:
        """Go on with a fresh script, as after a crash of the last one.

        Raises:
            Refused: It could not join a fleet, nor start one.
            NoAnswer: It died, or took too long.
        """
        await self.caller.kill()
        self.caller = await self.fleet.caller()

    async def do(
        self,
        f: str,
        business: str,
        work: str,
        *args: Any,
        told: Any = None,
        idempotent: bool = False,
        patience: float = ANSWER_TIMEOUT_S,
    ) -> Any:
        """Run the function called *work*; return what its witness says, None if it is not known.

        Args:
            f: The word for it in the history.
            business: Whose browser.
            work: ``module:function``.
            *args: Passed on.
            told: What the history shall know of the request.
            idempotent: See ``pool.run``.
            patience: Seconds after which the script is not waited for any more.
        """
        asked = {"work": work, "args": args, "timeout": COMMAND_TIMEOUT_S, "idempotent": idempotent}
        return await self._noted(f, business, told, patience, "run", **asked)

    async def checkpoint(self, business: str) -> int | None:
        """Save, and return the version; None if that is not known."""
        version: int | None = await self._noted(
            "checkpoint", business, None, ANSWER_TIMEOUT_S, "checkpoint"
        )
        return version

    async def remove(self, business: str) -> bool:
        """Stop a business as a user would; tell whether that was acknowledged."""
        return bool(await self._noted("remove", business, None, ANSWER_TIMEOUT_S, "remove"))

    async def ready(self, business: str) -> None:
        """Let the history know the phase of a business."""
        op = self.history.add(Kind.INVOKE, READY, business)
        try:
            status = await self.caller.ask("status", COMMAND_TIMEOUT_S, business=business)
        except (Refused, NoAnswer) as error:
            self.history.add(Kind.FAIL, READY, business, op, _told(error))
            return
        self.history.add(Kind.OK, READY, business, op, status["phase"])

    async def write_stale(self, business: str, token: int) -> None:
        """Try to write as an owner whose fencing token is *token*."""
        op = self.history.add(Kind.INVOKE, STALE_WRITE, business, value=token)
        try:
            await self.caller.ask("write_stale", 30.0, business=business, token=token)
        except (Refused, NoAnswer) as error:
            self.history.add(Kind.FAIL, STALE_WRITE, business, op, _told(error))
            return
        self.history.add(Kind.OK, STALE_WRITE, business, op)

    async def _noted(
        self, f: str, business: str, told: Any, patience: float, method: str, **asked: Any
    ) -> Any:
        op = self.history.add(Kind.INVOKE, f, business, value=told)
        try:
            value = await self.caller.ask(method, patience, business=business, **asked)
        except Refused as error:
            self.history.add(Kind.FAIL, f, business, op, error.told)
            if error.told["code"] == NOT_SAVED:
                await self.checkpoint(business)  # what ran is saved, not run again
            return None
        except (NoAnswer, asyncio.CancelledError) as error:
            self.history.add(Kind.LOST, f, business, op, str(error))
            if isinstance(error, NoAnswer):
                return None
            raise
        self.history.add(Kind.OK, f, business, op, value)
        return value


def _told(error: Exception) -> dict[str, Any]:
    if isinstance(error, Refused):
        return error.told
    return {"code": "NO_ANSWER", "retryable": True, "error": str(error)}


def say(line: str) -> None:
    """Tell people how it goes."""
    sys.stderr.write(f"{line}\n")

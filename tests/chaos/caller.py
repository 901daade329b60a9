"""A script in a process of its own, from the outside: asked, killed, started again."""

import asyncio
import base64
import itertools
import json
import os
import pickle
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from raypool.config import Settings

REPOSITORY = Path(__file__).resolve().parents[2]
CONNECT_TIMEOUT_S = 150.0
LEAVE_TIMEOUT_S = 120.0
_LINE_LIMIT = 2**22


class Refused(Exception):
    """A request was answered with an error: ``told`` has its code, text and whether to try again."""

    def __init__(self, told: dict[str, Any]) -> None:
        super().__init__(f"{told['code']}: {told['error']}")
        self.told = told


class NoAnswer(Exception):
    """The script died, or did not answer in time: nothing is known of what it was asked to do."""


class Caller:
    """A script that runs; see :mod:`tests.chaos.script`.

    Args:
        settings: Of the fleet that it joins.
        environment: More variables for it, and for the fleet that it may start.
        log: Where its standard error goes.
    """

    def __init__(self, settings: Settings, environment: Mapping[str, str], log: Path) -> None:
        self._settings, self._environment, self._log = settings, environment, log
        self._numbers = itertools.count()
        self._waiting: dict[int, asyncio.Future[Any]] = {}

    async def start(self) -> None:
        """Start the script and let it connect.

        Raises:
            Refused: It could not.
            NoAnswer: It died meanwhile, or took too long.
        """
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tests.chaos.script_process", str(os.getpid())),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                cwd=REPOSITORY,
                env={**os.environ, **self._environment},
                limit=_LINE_LIMIT,
                start_new_session=True,
            )
        self._reading = asyncio.create_task(self._read())
        self._write(base64.b64encode(pickle.dumps(self._settings)).decode())
        try:
            await self.ask("connect", CONNECT_TIMEOUT_S)
        except BaseException:
            await self.kill()
            raise

    async def ask(self, method: str, patience: float, **arguments: Any) -> Any:
        """Return what the script answers.

        Raises:
            Refused: It answered with an error.
            NoAnswer: It died, or did not answer within *patience* seconds.
        """
        if self._reading.done():
            raise NoAnswer("the script is dead")
        number = next(self._numbers)
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        self._write(json.dumps({"id": number, "method": method, "arguments": arguments}))
        try:
            return await asyncio.wait_for(answer, patience)
        except TimeoutError:
            raise NoAnswer(f"no answer in {patience:g} s") from None
        finally:
            del self._waiting[number]

    async def leave(self) -> None:
        """Let the script leave the fleet, then end it, whatever became of that."""
        try:
            await self.ask("leave", LEAVE_TIMEOUT_S)
        except (Refused, NoAnswer):
            pass  # what is left of the fleet is looked for afterwards
        finally:
            await self.kill()

    async def kill(self) -> None:
        """End the script at once. Idempotent."""
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()
        await self._reading

    def _write(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n".encode())

    async def _read(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            self._take(json.loads(line))
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(NoAnswer("the script died"))

    def _take(self, told: dict[str, Any]) -> None:
        answer = self._waiting.get(told["id"])
        if answer is None or answer.done():
            return  # nobody waits for it any more
        if "error" in told:
            answer.set_exception(Refused(told["error"]))
        else:
            answer.set_result(told.get("value"))

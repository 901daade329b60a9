"""The process of a script: ``python -m tests.chaos.script_process PARENT``.

It reads one request a line on standard input, all of them JSON, and answers each on standard output
as soon as it can. Its first line are the settings, pickled. :mod:`tests.chaos.caller` is the other
side.
"""

import asyncio
import base64
import json
import os
import pickle
import sys
from typing import Any

from tests.chaos import clock
from tests.sites.process import die_with


async def _answer(script: Any, request: dict[str, Any], out: Any) -> None:
    answer: dict[str, Any] = {"id": request["id"]}
    try:
        answer["value"] = await getattr(script, request["method"])(**request["arguments"])
    except Exception as error:  # noqa: BLE001 -- whatever it was, the history must say so
        answer["error"] = {
            "code": str(getattr(error, "code", type(error).__name__)),
            "retryable": getattr(error, "retryable", False),
            "error": str(error),
        }
    out.write(json.dumps(answer) + "\n")
    out.flush()


async def _serve(lines: asyncio.StreamReader, out: Any) -> None:
    from tests.chaos.script import Script

    script, answers = Script(pickle.loads(base64.b64decode(await lines.readline()))), set()
    while line := await lines.readline():
        task = asyncio.create_task(_answer(script, json.loads(line), out))
        answers.add(task)
        task.add_done_callback(answers.discard)


async def _main() -> None:
    # What Ray prints on standard output is no answer.
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    lines = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    await _serve(lines, out)


if __name__ == "__main__":
    die_with(int(sys.argv[1]))
    clock.install()  # before anything that reads the clock is imported
    asyncio.run(_main())

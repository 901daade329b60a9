"""Start one Chromium and say how it went: a program of its own, so that it can be given up.

A call to Playwright must not be cancelled, and starting a browser changes TMPDIR of the process.
The last line of its output is a JSON object: ``version`` and ``warnings``, or ``error``.
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from raypool.browser.live import launch
from raypool.browser.processes import InstanceDirectory
from raypool.errors import RaypoolError
from raypool.spec import SessionSpec


async def attempt(executable: Path, directory: InstanceDirectory) -> dict[str, Any]:
    """Start *executable* as an instance would, close it, and return what there is to say."""
    try:
        browser, warnings = await launch(SessionSpec(), directory, {}, _expected, executable)
    except RaypoolError as error:
        return {"error": error.message}
    await browser.close()
    return {"version": browser.version, "warnings": warnings}


def _expected(_reason: str) -> None:
    """Let the browser go: it is closed right after its start."""


def main() -> None:
    """Run with the executable, and business and token of the directory to use."""
    executable, business_id, token = sys.argv[1:]
    directory = InstanceDirectory(business_id, int(token))
    answer = asyncio.run(attempt(Path(executable), directory))
    sys.stdout.write(f"\n{json.dumps(answer)}\n")


if __name__ == "__main__":
    main()

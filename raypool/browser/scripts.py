"""Our own scripts, called in documents: each call brings what it needs, and leaves nothing there."""

import json
from pathlib import Path
from typing import Any, Protocol

_DIRECTORY = Path(__file__).parent / "page"


class CanEvaluate(Protocol):
    """A document that is open."""

    async def evaluate(self, expression: str) -> Any:
        """Return what *expression* comes to, a promise's value too: JSON values only."""


class Script:
    """Functions that are called together.

    Args:
        names: Their files in ``page/``.
    """

    def __init__(self, *names: str) -> None:
        self._source = "\n".join((_DIRECTORY / name).read_text() for name in names)

    async def call(self, document: CanEvaluate, function: str, *arguments: object) -> Any:
        """Return what one of its functions returns in *document*.

        Args:
            document: Where to call it.
            function: Its name.
            arguments: JSON values.

        Raises:
            Exception: The document is gone, or the function failed.
        """
        given = ", ".join(map(json.dumps, arguments))
        return await document.evaluate(
            f"(() => {{ {self._source}\nreturn {function}({given}) }})()"
        )

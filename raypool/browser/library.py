"""Our scripts that run in documents, as one library that a document gets when it is first asked."""

import json
from pathlib import Path

_FOLDER = Path(__file__).parent / "page"
_FUNCTIONS = (
    "databaseNames", "databaseOf", "recordsOf", "nextKey", "makeDatabase", "putRecords",
    "look", "fillStorage", "listFiles", "markFiles", "readPieces", "writePieces",
    "permissionStates", "findLimits",
)  # fmt: skip


def _read(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")


OBSERVER = _read("observer.js")
SEED = _read("seed.js")
_FILES = ("values", "databases", "storages", "files", "permissions", "limits")
_SOURCE = "\n".join(_read(f"{name}.js") for name in _FILES)

INSTALL = (
    f"globalThis.raypool ??= (() => {{ {_SOURCE}\nreturn {{ {', '.join(_FUNCTIONS)} }}; }})(); 0"
)
"""Puts the library into a document. Idempotent."""


def call(function: str, *args: object) -> str:
    """Return the expression of a call; its answer is JSON text.

    JSON text and not a value: CDP's own values lose half surrogate pairs, -0 and the like.
    """
    # Parsed by the page: "__proto__" is then a name like any other.
    given = f"JSON.parse({json.dumps(json.dumps(args))})"
    return f"(async () => JSON.stringify(await raypool.{function}(...{given})) ?? 'null')()"

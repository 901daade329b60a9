"""Our scripts in documents: those that each has from its start, and those it gets when it is asked."""

import json
from pathlib import Path

_FOLDER = Path(__file__).parent / "page"
_FUNCTIONS = (
    "databaseNames", "databaseOf", "recordsOf", "nextKey", "makeDatabase", "putRecords",
    "listFiles", "markFiles", "readPieces", "writePieces",
    "permissionStates", "findLimits",
)  # fmt: skip


def _read(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")


_FROM_THE_START = ("look", "fillStorage")
OBSERVER = (
    f"(() => {{ {_read('storages.js')}\n{_read('observer.js')}\n"
    f"globalThis.raypoolStart = {{ {', '.join(_FROM_THE_START)} }}; }})()"
)
"""Runs in each document before its own scripts, and brings what may be called at once."""
SEED = _read("seed.js")
_FILES = ("values", "databases", "files", "permissions", "limits")
_SOURCE = "\n".join(_read(f"{name}.js") for name in _FILES)

INSTALL = (
    f"globalThis.raypool ??= (() => {{ {_SOURCE}\nreturn {{ {', '.join(_FUNCTIONS)} }}; }})(); 0"
)
"""Puts the library into a document. Idempotent."""


def is_there(function: str) -> bool:
    """Tell whether documents have a function without being given the library."""
    return function in _FROM_THE_START


def call(function: str, *args: object) -> str:
    """Return the expression of a call; its answer is JSON text.

    JSON text and not a value: CDP's own values lose half surrogate pairs, -0 and the like.
    """
    # Parsed by the page: "__proto__" is then a name like any other.
    given = f"JSON.parse({json.dumps(json.dumps(args))})"
    where = "raypoolStart" if is_there(function) else "raypool"
    return f"(async () => JSON.stringify(await {where}.{function}(...{given})) ?? 'null')()"

"""Files of the origin private file system, to Playwright's ``opfs`` and back. Pure."""

import base64
from collections.abc import Mapping
from typing import Any

_NO_NAMES = {"", ".", ".."}


def to_playwright_files(files: Mapping[str, str]) -> list[dict[str, str]]:
    """Return files and the folders that they are in; a folder stands before what it holds."""
    folders = {
        "/".join(parts[:n])
        for parts in (path.split("/") for path in files)
        for n in range(len(parts))
    } - {""}
    entries = [{"path": path, "type": "directory"} for path in folders] + [
        {"path": path, "type": "file", "base64": content}
        for path, content in files.items()
        if not path.endswith("/")
    ]
    return sorted(entries, key=lambda entry: entry["path"].split("/"))


def from_playwright_files(entries: Any) -> dict[str, str]:
    """Return ``{path: base64}``; the path of a folder that is empty ends with ``/``.

    Raises:
        ValueError: It is nothing that Playwright writes.
    """
    files: dict[str, str] = {}
    folders = set()
    for entry in entries:
        path, content = entry.get("path"), entry.get("base64")
        if not isinstance(path, str) or _NO_NAMES & set(path.split("/")):
            raise ValueError("a file needs a path")
        if entry.get("type") == "directory":
            folders.add(path)
        elif isinstance(content, str):
            base64.b64decode(content, validate=True)
            files[path] = content
        else:
            raise ValueError(f"the file {path!r} needs its content in base64")
    filled = {path.rpartition("/")[0] for path in (*files, *folders)}
    return files | {f"{folder}/": "" for folder in folders - filled}

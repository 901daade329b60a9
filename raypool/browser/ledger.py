"""What the directory of an incarnation says: whose it is, which processes belong to it, until when.

Whoever reads it trusts nothing in it: a file may be half-written, huge, a link or a pipe, and none of
that may stop the reader or lead it to a stranger.
"""

import contextlib
import json
import math
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from raypool.browser.proc import Process, world
from raypool.errors import ErrorCodes, create_error

LEDGER = "owner.json"
DEADLINE = "deadline"
DIRECTORY_NAME = re.compile(r"[0-9a-f]{12}-\d+")
_LARGEST = 65_536
_WIDTH = 20
_ATTEMPTS = 3


@dataclass(frozen=True)
class Ledger:
    """What ``owner.json`` holds."""

    business_id: Annotated[str, Field(max_length=256)]
    token: Annotated[int, Field(ge=0)]
    owner: Process
    driver: Process | None = None
    browser: Process | None = None
    """The leader of the browser's process session."""
    holder_id: Annotated[str, Field(max_length=256)] = ""
    world: str = ""
    """Boot and process namespace that the pids belong to; empty: not noted."""

    @property
    def owner_alive(self) -> bool:
        """Tell whether the owner still runs. One of an earlier boot does not, whoever has its pid."""
        return self.here and self.owner.alive()

    @property
    def here(self) -> bool:
        """Tell whether its pids mean anything on this machine now."""
        return self.world in {"", world()}


_LEDGERS = TypeAdapter(Ledger)


def home() -> Path:
    """Return the directory that holds the instances of this user on this node, made when missing.

    Raises:
        ConfigurationError: Its name is taken by something that is not ours.
    """
    path = Path(tempfile.gettempdir()) / f"raypool-{os.getuid()}"
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise create_error(
            ErrorCodes.CONFIG_INVALID,
            f"{path} is not a private directory of this user",
            recovery=f"Remove {path}, or set TMPDIR to a directory of your own.",
        )
    return path


def directories() -> list[Path]:
    """Return the directories of all incarnations on this node, whether their owners live or not."""
    with os.scandir(home()) as found:
        ours = [e for e in found if DIRECTORY_NAME.fullmatch(e.name)]
        return [Path(e.path) for e in ours if e.is_dir(follow_symlinks=False)]


def ledgers() -> Iterator[tuple[Path, Ledger]]:
    """Yield each instance's directory on this node with its ledger, whether its owner lives or not."""
    for directory in directories():
        if ledger := read_ledger(directory):
            yield directory, ledger


def read_ledger(directory: Path) -> Ledger | None:
    """Return what a directory's ledger says, None when there is none that can be read."""
    data = _read(directory / LEDGER)
    if data is None:
        return None
    with contextlib.suppress(ValidationError):
        return _LEDGERS.validate_json(data, strict=True)
    return None


def write_ledger(directory: Path, ledger: Ledger) -> None:
    """Write a ledger, whole or not at all."""
    new = directory / f"{LEDGER}.new"
    new.write_text(json.dumps(asdict(ledger)))
    new.replace(directory / LEDGER)


def write_deadline(directory: Path, at: float | None) -> None:
    """Note the moment at which the owner has no right any more, None for none yet.

    Written in place: the file never grows, so a full disk cannot refuse it later. A reader sees the
    old moment or the new one, never a mixture.

    Raises:
        OSError: The disk refuses it, or the directory is gone.
    """
    # Twice, because a read may overtake a write: then the halves differ, and it reads again.
    text = f"{'' if at is None else f'{at:.3f}':<{_WIDTH}}".encode() * 2
    create = os.O_CREAT if at is None else 0
    descriptor = os.open(directory / DEADLINE, os.O_WRONLY | os.O_CLOEXEC | create, 0o600)
    try:
        os.pwrite(descriptor, text, 0)
    finally:
        os.close(descriptor)


def read_deadline(directory: Path) -> float | None:
    """Return the moment that a directory's owner noted last, None when there is none."""
    for _ in range(_ATTEMPTS):
        data = _read(directory / DEADLINE) or b""
        if data[:_WIDTH] == data[_WIDTH:]:
            break
    else:
        return None
    try:
        at = float(data[:_WIDTH])
    except ValueError:
        return None
    return at if math.isfinite(at) else None


def _read(path: Path) -> bytes | None:
    """Return what a plain, small file of this user holds; None for anything else."""
    try:
        # A link would lead elsewhere, and a pipe would never answer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        found = os.fstat(descriptor)
        plain = stat.S_ISREG(found.st_mode) and found.st_uid == os.getuid()
        return os.read(descriptor, _LARGEST) if plain and found.st_size < _LARGEST else None
    except OSError:
        return None
    finally:
        os.close(descriptor)

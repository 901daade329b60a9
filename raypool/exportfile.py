"""The file that a session is carried in: what it may hold, and how it is read and written."""

import contextlib
import json
import os
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from raypool import exports
from raypool.errors import ErrorCodes, RaypoolError, create_error
from raypool.exports import MAX_BYTES, Export, ExportHead
from raypool.state.storage_state import from_storage_state, is_storage_state, to_storage_state

PRIVATE = 0o600


def render(export: Export, passphrase: str | None) -> bytes:
    """Return the bytes of the file: encrypted, or Playwright's ``storage_state`` without passphrase.

    Raises:
        ConfigurationError: It would be larger than 256 MB, or the passphrase does not fit.
    """
    if passphrase is not None:
        return exports.seal_export(export, passphrase)
    plain = json.dumps(to_storage_state(export.parts), indent=2).encode()
    if len(plain) > MAX_BYTES:
        raise exports.too_large(len(plain))
    return plain


def parse(data: bytes, passphrase: str | None, business_id: str | None) -> Export:
    """Return what a file holds; its content says of which kind it is.

    Args:
        data: All of it.
        passphrase: For an encrypted one.
        business_id: Whose it is; for ``storage_state``, which does not say.

    Raises:
        ConfigurationError: It is neither, or what it needs was not given.
        CheckpointCorrupt: It was damaged or changed.
    """
    if exports.is_export(data):
        if passphrase is None:
            raise _refused("the file is encrypted: it needs its passphrase")
        return exports.open_export(data, passphrase)
    text = data.decode("utf-8-sig", errors="replace")
    if not is_storage_state(text):
        raise _refused("the file is neither an export of raypool nor a storage_state of Playwright")
    if business_id is None:
        raise _refused("a storage_state does not say whose it is: name the business")
    now = datetime.now(UTC)
    about = ExportHead(business_id=business_id, version=0, created_at=now, exported_at=now)
    return Export(about, from_storage_state(text))


def read(path: Path) -> bytes:
    """Return the bytes of a file of at most 256 MB.

    Raises:
        ConfigurationError: It cannot be read, or is larger.
    """
    with _explained(path, "read"), path.open("rb") as file:
        data = file.read(MAX_BYTES + 2**20 + 1)  # a state of 256 MB that cannot be compressed fits
    if len(data) > MAX_BYTES + 2**20:
        raise _refused(f"{path} is larger than {MAX_BYTES} bytes: raypool wrote no such file")
    return data


def refuse_existing(path: Path) -> None:
    """Refuse to write over a file that is there.

    Raises:
        ConfigurationError: It is.
    """
    if os.path.lexists(path):
        raise create_error(
            ErrorCodes.CONFIG_INVALID_ARGUMENT,
            f"{path} exists already",
            recovery="Choose another name, or give --force (force=True) to replace it.",
        )


def write(path: Path, data: bytes, *, force: bool = False) -> None:
    """Write a file, whole or not at all, for this user alone (0600).

    Raises:
        ConfigurationError: It is there and *force* was not given, or it cannot be written.
    """
    with _explained(path, "written"), contextlib.ExitStack() as undo:
        if not force:
            _claim(path)
            undo.callback(path.unlink, missing_ok=True)
        _put(path, data)
        undo.pop_all()


def _claim(path: Path) -> None:
    """Take the name: of two that export to it at once, one is refused."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, PRIVATE))
    except FileExistsError:
        refuse_existing(path)
        raise


def _put(path: Path, data: bytes) -> None:
    fresh = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        descriptor = os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY, PRIVATE)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


@contextlib.contextmanager
def _explained(path: Path, what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _refused(f"{path} cannot be {what}: {error.strerror or error}") from error


def _refused(why: str) -> RaypoolError:
    return create_error(ErrorCodes.CONFIG_INVALID_ARGUMENT, why)

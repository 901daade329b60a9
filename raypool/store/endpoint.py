"""What lies beside the data of an embedded server: the lock, who runs it, where it listens.

Everything is private to one user: directory 0700, files 0600. Only the holder of the lock writes
here; others read.
"""

import errno
import fcntl
import hashlib
import json
import os
import secrets
import shutil
import stat
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self
from urllib.parse import quote

import psutil

from raypool.errors import ErrorCodes, RaypoolError, create_error

# sockaddr_un.sun_path holds 108 bytes on Linux and 104 on macOS, with the closing zero.
_SOCKET_PATH_LIMIT = 103
# psutil counts from the boot second, which the kernel may round anew when the clock is set. A pid
# is not reused that fast.
_START_TOLERANCE = 1.5
_LEAST_FREE_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True)
class ProcessId:
    """A process that cannot be mistaken for a later one with the same pid."""

    pid: int
    started: float
    """Seconds between boot and start: unlike a date it does not move when the clock is set."""

    @classmethod
    def of(cls, pid: int) -> Self:
        """Return the identity of the living process *pid*; psutil's error when there is none."""
        return cls(pid, psutil.Process(pid).create_time() - psutil.boot_time())

    def alive(self) -> bool:
        """Tell whether this very process still runs; a zombie does not."""
        try:
            same = abs(self.of(self.pid).started - self.started) < _START_TOLERANCE
            return same and psutil.Process(self.pid).status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False


@dataclass(frozen=True)
class Endpoint:
    """Where a server listens, which process it is, and which process it ends with."""

    socket: str
    server: ProcessId
    owner: ProcessId

    def url(self, password: str) -> str:
        """Return the address for redis clients, credentials included."""
        return f"unix://:{password}@{quote(self.socket)}"


class ServerDirectory:
    """The private directory of one embedded server.

    Args:
        path: Where data, log, lock and password live. Created by :meth:`prepare`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.expanduser().resolve()
        self.log = self.path / "server.log"
        self._lock = self.path / "lock"
        self._password = self.path / "password"
        self._endpoint = self.path / "endpoint.json"

    def prepare(self) -> None:
        """Create the directory, or check that it is ours and closed to others. Idempotent.

        Raises:
            StorageError: It belongs to somebody else or is open to others while in other use.
            OSError: It cannot be created or written; see :func:`unusable`.
        """
        _make_private(self.path, keeps=self._lock.name)

    def check_space(self) -> None:
        """Refuse a disk that is as good as full.

        With ``appendfsync always`` a server ends at the first write that does not fit, so it would
        come up only to die.

        Raises:
            StoreUnavailable: ``STORAGE_FULL``.
        """
        if shutil.disk_usage(self.path).free < _LEAST_FREE_BYTES:
            raise unusable(self.path, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))

    def try_lock(self) -> int | None:
        """Return a descriptor that holds the directory's lock, or None when it is held."""
        descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        except OSError:
            os.close(descriptor)
            raise
        return descriptor

    def make_password(self) -> str:
        """Return the password, made on first use. It stays, so that URLs outlive restarts."""
        password = self.read_password()
        if password is None:
            password = secrets.token_hex(32)
            _write_private(self._password, password)
        return password

    def read_password(self) -> str | None:
        """Return the password, or None when no owner has made one yet."""
        try:
            return self._password.read_text(encoding="ascii") or None
        except FileNotFoundError:
            return None

    def write_endpoint(self, endpoint: Endpoint) -> None:
        """Publish *endpoint*, whole or not at all. Only under the lock."""
        _write_private(self._endpoint, json.dumps(asdict(endpoint)))

    def read_endpoint(self) -> Endpoint | None:
        """Return the last published endpoint, whether it lives or not; None when there is none."""
        try:
            data = json.loads(self._endpoint.read_bytes())
        except FileNotFoundError:
            return None
        server, owner = ProcessId(**data["server"]), ProcessId(**data["owner"])
        return Endpoint(data["socket"], server, owner)

    def make_socket_path(self) -> Path:
        """Return a path that fits the system's limit on sockets, in a private directory.

        A directory whose own path is too long gets a short one below the system's temporary
        directory, always the same, so that URLs outlive restarts.
        """
        path = self.path / "valkey.sock"
        if _fits(path):
            return path
        digest = hashlib.sha256(os.fsencode(self.path)).hexdigest()[:16]
        path = (
            Path(tempfile.gettempdir()).resolve() / f"raypool-{os.geteuid()}-{digest}" / path.name
        )
        if not _fits(path):
            raise create_error(
                ErrorCodes.STORAGE_UNAVAILABLE,
                f"The socket path {path} is too long: {_SOCKET_PATH_LIMIT} bytes fit.",
                recovery="Set TMPDIR or RAYPOOL_DATA_DIR to a shorter path.",
            )
        _make_private(path.parent, keeps=path.name)
        return path


def unusable(directory: Path, error: OSError) -> RaypoolError:
    """Return the one clear error for a directory that the system refused with *error*."""
    reason = os.strerror(error.errno) if error.errno else str(error)
    context = {"directory": str(directory), "cause": str(error)}
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return create_error(
            ErrorCodes.STORAGE_FULL,
            f"The disk of the embedded server's directory {directory} is full.",
            context,
            recovery="Free some space there, or set RAYPOOL_DATA_DIR to another disk.",
        )
    return create_error(
        ErrorCodes.STORAGE_UNAVAILABLE,
        f"The embedded server cannot use its directory {directory}: {reason}.",
        context,
        recovery="Set RAYPOOL_DATA_DIR to a directory on a local disk that this user can write.",
    )


def _fits(socket: Path) -> bool:
    return len(os.fsencode(socket)) <= _SOCKET_PATH_LIMIT


def _make_private(path: Path, *, keeps: str) -> None:
    """Make *path* a directory of this user, mode 0700; *keeps* is a file that marks it as ours."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    # lstat: a link that somebody else planted in a shared directory is not followed.
    found = path.lstat()
    if found.st_uid != os.geteuid() or not stat.S_ISDIR(found.st_mode):
        raise create_error(
            ErrorCodes.STORAGE_UNAVAILABLE,
            f"The directory {path} belongs to user id {found.st_uid}, not to this user"
            f" ({os.geteuid()}).",
            recovery="Set RAYPOOL_DATA_DIR to a directory of this user, or run as its owner.",
        )
    if stat.S_IMODE(found.st_mode) & 0o077:
        _close_to_others(path, keeps)


def _close_to_others(path: Path, keeps: str) -> None:
    """Tighten a directory that is empty or ours; one in other use is its owner's to decide on."""
    content = {entry.name for entry in path.iterdir()}
    if content and keeps not in content:
        raise create_error(
            ErrorCodes.STORAGE_UNAVAILABLE,
            f"The directory {path} is open to other users and holds other files.",
            recovery=f"Set RAYPOOL_DATA_DIR to an empty directory, or run: chmod 700 {path}",
        )
    path.chmod(0o700)


def _write_private(path: Path, text: str) -> None:
    """Replace *path* by *text*, mode 0600; readers see the old or the new, never a half."""
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)

"""When a write counts as done: at once, on replicas, or on the disks of replicas.

``WAIT`` and ``WAITAOF`` count what the *same connection* wrote before; on another they answer "all
there" without having looked. So script and wait go out in one pipeline, and a script that finds its
work done already writes something nevertheless.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from raypool.errors import ErrorCodes, RaypoolError, create_error
from raypool.store.server_check import ServerReport

Level = Literal["server", "replica", "replica_fsync"]

# What scripts answer when they wrote nothing: there is nothing to wait for.
_NOTHING_WRITTEN = {0, b"HELD", b"GONE", b"CONFLICT", b"AGAIN", b"FENCED", b"DIFFERS"}
_SHARE_OF_TIMEOUT = 0.6
_AOF_SINCE = {"Redis": (7, 2), "Valkey": (0, 0)}


@dataclass(frozen=True)
class Durability:
    """What a write has to have reached.

    Args:
        level: ``server``: what the server itself does. ``replica``: so many replicas have it in
            memory. ``replica_fsync``: the server and so many replicas have it on disk.
        replicas: How many.
    """

    level: Level = "server"
    replicas: int = 1

    @property
    def waits(self) -> bool:
        """Whether a write waits for more than the server's reply."""
        return self.level != "server"

    def command(self, socket_timeout: float) -> tuple[Any, ...]:
        """Return the command that waits.

        Args:
            socket_timeout: Seconds after which the client gives the connection up and sends the
                write again: the wait must end before.
        """
        ms = int(socket_timeout * _SHARE_OF_TIMEOUT * 1000)
        if self.level == "replica":
            return ("WAIT", self.replicas, ms)
        return ("WAITAOF", 1, self.replicas, ms)

    def check(self, reply: Any, counted: Any) -> None:
        """Compare what has the write with what has to.

        Args:
            reply: Of the script.
            counted: Reply of :meth:`command`.

        Raises:
            StoreUnavailable: ``STORAGE_NOT_REPLICATED``: it is written but not where it must be.
        """
        answer = next(iter(reply), None) if isinstance(reply, list) else reply
        if answer in _NOTHING_WRITTEN:
            return
        local, replicas = counted if isinstance(counted, Sequence) else (1, counted)
        if local < 1 or replicas < self.replicas:
            raise _too_few(self, local, replicas)

    def check_server(self, server: ServerReport) -> None:
        """Refuse a server that cannot keep the promise.

        Raises:
            StorageError: ``STORAGE_UNSUPPORTED``.
        """
        if self.level != "replica_fsync":
            return
        numbers = tuple(int(n) for n in server.version.split(".")[:2] if n.isdecimal())
        if numbers < _AOF_SINCE.get(server.server, (0, 0)):
            raise _unfit(f"{server.server} {server.version} has no WAITAOF: it came with Redis 7.2")
        if not server.persistence.startswith("aof"):
            raise _unfit("the server keeps no append-only file (appendonly no)")


def _unfit(why: str) -> RaypoolError:
    return create_error(
        ErrorCodes.STORAGE_UNSUPPORTED,
        f"RAYPOOL_DURABILITY=replica_fsync cannot be kept: {why}",
        recovery="Use RAYPOOL_DURABILITY=replica, or appendonly yes on Redis 7.2 or Valkey 8.",
    )


def _too_few(wanted: Durability, local: int, replicas: int) -> RaypoolError:
    disk = " on disk" if wanted.level == "replica_fsync" else ""
    own = "" if local else ", and the server itself has not"
    return create_error(
        ErrorCodes.STORAGE_NOT_REPLICATED,
        f"{replicas} of {wanted.replicas} replicas have the write{disk}{own}",
        {"durability": wanted.level, "replicas": replicas, "wanted": wanted.replicas},
    )

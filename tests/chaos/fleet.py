"""Fleets of a run's own, on an embedded server or on a Redis behind a link that can be cut."""

import contextlib
import os
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import SecretStr

from raypool.config import Settings
from raypool.store.crypto import Keyring
from tests.chaos.caller import Caller
from tests.chaos.link import Link
from tests.chaos.redis_server import RedisServer
from tests.chaos.targets import RUN_VARIABLE

LEASE_TTL_S = 6.0
SMALL_DISK = "96m"
"""Above what a server wants to find free before it starts."""


@dataclass(frozen=True)
class Fleet:
    """A fleet whose processes all carry its mark."""

    mark: str
    settings: Settings
    log: Path
    """What its scripts say on standard error."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """What else its scripts need in their environment."""

    async def caller(self) -> Caller:
        """Start a script that joins the fleet, or starts it."""
        variables = {**self.variables, RUN_VARIABLE: self.mark}
        caller = Caller(self.settings, variables, self.log)
        await caller.start()
        return caller

    def beside(self, directory: Path, start_timeout: float) -> "Fleet":
        """Return another cluster with the same Redis, its own data in *directory*.

        Who asks it for a business that this cluster holds is told so after *start_timeout* seconds.
        """
        mark = f"{self.mark}-beside"
        changed = {"data_dir": directory, "cluster": mark, "start_timeout": start_timeout}
        return Fleet(mark, self.settings.model_copy(update=changed), self.log)


@dataclass(frozen=True)
class RedisBehindLink:
    """A server of the run's own, and the only way that leads to it."""

    server: RedisServer
    link: Link

    @property
    def url(self) -> str:
        """The address of the link."""
        return f"redis://{self.link.host}:{self.link.port}"


@contextlib.contextmanager
def own_fleet(
    mark: str, redis_url: str | None = None, *, lease_ttl: float = LEASE_TTL_S, small: bool = False
) -> Iterator[Fleet]:
    """Describe a fleet; nothing runs yet. Its files are gone afterwards.

    Args:
        mark: Marks its processes, and is the prefix of its keys.
        redis_url: An embedded server if None.
        lease_ttl: Seconds.
        small: Whether its data lies on a small disk; needs root.
    """
    keys = os.environ.get("RAYPOOL_ENCRYPTION_KEYS") or Keyring.generate()
    with tempfile.TemporaryDirectory(prefix="raypool-chaos-") as directory:
        data = Path(directory) / "data"
        data.mkdir(mode=0o700)
        settings = Settings(
            redis_url=SecretStr(redis_url) if redis_url else None,
            redis_prefix=f"{mark}:",
            ray_address=None,
            encryption_keys=SecretStr(keys) if redis_url else None,
            session_ttl=3600,
            data_dir=data,
            dashboard=False,
            log_level="ERROR",
            lease_ttl=lease_ttl,
        )
        with small_disk(data) if small else contextlib.nullcontext():
            yield Fleet(mark, settings, Path(directory) / "scripts.log")


@contextlib.contextmanager
def small_disk(directory: Path) -> Iterator[None]:
    """Put a small disk where *directory* is."""
    options = f"size={SMALL_DISK},mode=0700"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", str(directory)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(directory)], check=True)


def may_mount() -> bool:
    """Tell whether this process may put a small disk somewhere."""
    with tempfile.TemporaryDirectory(prefix="raypool-chaos-") as directory:
        try:
            with small_disk(Path(directory)):
                return True
        except (OSError, subprocess.CalledProcessError):
            return False


@contextlib.asynccontextmanager
async def redis_behind_link(host: str = "127.0.0.1") -> AsyncIterator[RedisBehindLink]:
    """Run a server of our own, with a link to it that listens at *host*."""
    with tempfile.TemporaryDirectory(prefix="rp-") as directory:
        server = RedisServer(Path(directory))
        try:
            await server.start()
            async with Link(server.socket, host) as link:
                yield RedisBehindLink(server, link)
        finally:
            server.stop()

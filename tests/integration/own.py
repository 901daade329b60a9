"""Fleets of the tests' own, with settings of their own: each in a process, since a process has one Ray.

Each has a temporary directory of its own too, so that no other fleet's janitor looks after it.
"""

import inspect
import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing import get_context
from multiprocessing.managers import BaseManager
from pathlib import Path
from typing import Any

import raypool
from raypool.browser.processes import Ledger, LivingBrowser, ledgers, living_browsers
from raypool.config import Settings
from raypool.errors import NetworkError
from raypool.local import FleetPaths
from raypool.model import Lease
from raypool.store.endpoint import ServerDirectory
from tests.integration.scripts import descendants, environment, hosts, kill, until

LEASE_TTL = 10.0
RUN_TIMEOUT_S = 60.0
"""For a function of a fleet whose own limit is short; the machine may be busy."""


def fleet_settings(directory: str, **more: Any) -> Settings:
    """Return the settings of a local fleet of its own."""
    ours = {
        "redis_url": None,
        "ray_address": None,
        "redis_prefix": "test:",
        "encryption_keys": None,
        "data_dir": Path(directory),
        "dashboard": False,
        "log_level": "ERROR",
        "lease_ttl": LEASE_TTL,
    }
    return Settings(**{**ours, **more})


class _Driver:
    """The pool, in the process that is connected to its fleet; each caller has a thread there."""

    def __init__(self, settings: Settings, directory: str, patience: float) -> None:
        if os.environ.get("TMPDIR") != directory:  # the first here
            for name in [
                n for n in os.environ if n.startswith("RAY_")
            ]:  # of the fleet that all share
                del os.environ[name]
            os.environ["TMPDIR"], tempfile.tempdir = directory, None
        self._pool = _connected(settings)
        mine = self._pool._pool
        mine._settings = mine._settings.model_copy(update={"start_timeout": patience})

    def do(self, path: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call what *path* names, seen from the pool."""
        what: Any = self._pool
        for name in path.split("."):
            what = getattr(what, name)
        if path in {"run", "map"}:
            kwargs = {"timeout": RUN_TIMEOUT_S, **kwargs}
        return self.ask(partial(what, **kwargs), args)

    def ask(self, fn: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        """Call a function here."""
        value = fn(*args)
        if inspect.iscoroutine(value):
            value = self._pool._loop.call(value)
        return list(value) if isinstance(value, Iterator) else value

    def close(self) -> None:
        """Leave the fleet."""
        self._pool.close()


def _connected(settings: Settings) -> raypool.Pool:
    for _ in range(2):  # Ray gives its node 30 s to come up, however busy the machine is
        with suppress(NetworkError):
            return raypool.connect(settings)
    return raypool.connect(settings)


class _Manager(BaseManager):
    """Starts that process."""


_Manager.register("driver", _Driver)


def _outside(settings: Settings) -> dict[str, str]:
    """Return the variables that lead to a server which is not the fleet's own."""
    if settings.redis_url is None or settings.encryption_keys is None:
        return {}
    url, keys = settings.redis_url, settings.encryption_keys
    return {
        "REDIS_URL": url.get_secret_value(),
        "RAYPOOL_ENCRYPTION_KEYS": keys.get_secret_value(),
        "RAYPOOL_CLUSTER": settings.cluster,
    }


class _Path:
    """A pool, or something below it, whose methods are called in the driving process."""

    def __init__(self, driver: Any, path: str) -> None:
        self._driver, self._path = driver, path

    def __getattr__(self, name: str) -> "_Path":
        return _Path(self._driver, f"{self._path}.{name}" if self._path else name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._driver.do(self._path, args, kwargs)


class Fleet:
    """A local fleet, seen from outside."""

    def __init__(self, settings: Settings, directory: str, manager: Any) -> None:
        self.settings = settings
        self.env = {**environment(settings, **_outside(settings)), "TMPDIR": directory}
        self._directory, self._manager = directory, manager
        self._drivers: list[Any] = []
        self.pool = self.join(settings.start_timeout)
        self._driver = self._drivers[0]

    def join(self, patience: float) -> Any:
        """Return another pool of this fleet, whose callers wait *patience* seconds for an instance."""
        driver = self._manager.driver(self.settings, self._directory, patience)
        self._drivers.append(driver)
        return _Path(driver, "")

    def close(self) -> None:
        """Leave, and so bring it down."""
        for driver in reversed(self._drivers):
            driver.close()

    @property
    def host(self) -> int:
        """The process that owns it."""
        (host,) = hosts(self.settings.data_dir)
        return host

    @property
    def server(self) -> int:
        """Its embedded server."""
        endpoint = ServerDirectory(FleetPaths.of(self.settings).redis).read_endpoint()
        assert endpoint is not None
        return endpoint.server.pid

    @property
    def supervisor(self) -> int:
        """Its supervisor's process, as soon as it has one."""
        return self._actor("ray::supervisor")

    @property
    def janitor(self) -> int:
        """The process of its only node's janitor, as soon as it has one."""
        return self._actor("ray::janitor")

    def _actor(self, title: str) -> int:
        (pid,) = until(lambda: descendants(self.host, title), f"there is a {title}")
        return int(pid)

    def browsers(self, business_id: str) -> list[LivingBrowser]:
        """Return the browsers of a business that run in this fleet."""
        found = self._driver.ask(living_browsers, ())
        return [b for b in found if b.business_id == business_id and self._lives_here(b)]

    def _lives_here(self, browser: LivingBrowser) -> bool:
        return browser.directory is None or browser.directory.is_relative_to(self._directory)

    def ledgers(self, business_id: str) -> list[tuple[Path, Ledger]]:
        """Return the directories that incarnations of a business have."""
        found = self._driver.ask(ledgers, ())
        return [(path, entry) for path, entry in found if entry.business_id == business_id]

    def lease(self, business_id: str) -> Lease | None:
        """Return who holds a business, None when nobody does."""
        found: Lease | None = self.pool.sessions.leases.get(business_id)
        return found


@contextmanager
def fleet(**settings: Any) -> Iterator[Fleet]:
    """Run a local fleet with these settings for the block; nothing of it is left after it."""
    with tempfile.TemporaryDirectory(prefix="rp-", ignore_cleanup_errors=True) as directory:
        made = fleet_settings(directory, **settings)
        with _Manager(ctx=get_context("spawn")) as manager:
            try:
                own = Fleet(made, directory, manager)
                yield own
                own.close()
            finally:
                for host in hosts(made.data_dir):  # whatever went wrong: it goes, and in order
                    kill(host, signal.SIGTERM)

"""A Redis, a Ray, a Chromium or a directory that cannot be used: said at once, nothing left running."""

import asyncio
import base64
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

import raypool
from raypool.config import Settings
from raypool.errors import ErrorCodes, RaypoolError
from raypool.store.crypto import Keyring
from tests.contract.servers import PASSWORD, program, running
from tests.integration.conftest import fleet_settings
from tests.integration.scripts import closed_port, environment, hosts, script, until

KEY = base64.urlsafe_b64encode(bytes(32)).decode()
CONNECTS = """
began = time.monotonic()
try:
    with raypool.connect() as pool:
        pool.get_or_create_instance("business")
except raypool.RaypoolError as error:
    trouble(error)
say(seconds=time.monotonic() - began)
"""


@pytest.fixture
def directory() -> Iterator[Path]:
    """A data directory of the test's own, on a short path."""
    with tempfile.TemporaryDirectory(prefix="rp-") as path:
        yield Path(path)


@pytest.fixture(scope="module")
def redis_url() -> Iterator[str]:
    """A real Redis with a password, beside the fleet."""
    server = program("redis") or program("valkey")
    assert server is not None
    with tempfile.TemporaryDirectory(prefix="rp-") as path, running(server, Path(path)) as url:
        yield url


@pytest.fixture
def admin(redis_url: str) -> Iterator[Redis]:
    """The server's own door; it is empty and as it was after the test."""
    with Redis.from_url(redis_url) as client:
        yield client
        client.config_set("maxmemory", 0)
        client.replicaof("NO", "ONE")
        client.flushall()


def external(directory: Path, url: str, **more: Any) -> Settings:
    """Return the settings of a local fleet with a Redis of its own."""
    given = fleet_settings(str(directory)).model_dump()
    return Settings(**{**given, "redis_url": url, "encryption_keys": KEY, **more})


def refused(settings: Settings) -> RaypoolError:
    """Return the error of connecting; see that it left nothing running and is fit for people."""
    with pytest.raises(RaypoolError) as caught:
        raypool.connect(settings)
    error = caught.value
    until(lambda: not hosts(settings.data_dir), "no host is left", 10)
    assert PASSWORD not in f"{error} {error.recovery} {error.context}"
    assert error.recovery
    assert "Traceback" not in error.message
    return error


def test_an_address_where_nobody_listens(directory: Path) -> None:
    """Said within seconds; retryable, since it may come up."""
    began = time.monotonic()
    error = refused(external(directory, f"redis://127.0.0.1:{closed_port()}"))
    assert time.monotonic() - began < 20
    assert error.code is ErrorCodes.STORAGE_UNAVAILABLE
    assert isinstance(error, raypool.errors.StoreUnavailable)
    assert error.retryable
    assert "REDIS_URL" in error.recovery


@pytest.mark.parametrize("credentials", ["", ":wrong@"])
def test_credentials_that_the_server_refuses(
    credentials: str, directory: Path, redis_url: str
) -> None:
    """Not retryable: somebody has to correct them."""
    url = redis_url.replace(f":{PASSWORD}@", credentials)
    error = refused(external(directory, url))
    assert error.code is ErrorCodes.STORAGE_ACCESS_DENIED
    assert not error.retryable
    assert "REDIS_URL" in error.recovery


def test_a_read_only_replica(directory: Path, redis_url: str, admin: Redis) -> None:
    """It is told apart from one that is down, with what to do."""
    admin.replicaof("127.0.0.1", closed_port())
    error = refused(external(directory, redis_url))
    assert error.code is ErrorCodes.STORAGE_READ_ONLY
    assert "primary" in error.recovery


def test_a_server_that_is_full(directory: Path, redis_url: str, admin: Redis) -> None:
    """Before any browser is started for nothing."""
    admin.config_set("maxmemory", 1)
    error = refused(external(directory, redis_url))
    assert error.code is ErrorCodes.STORAGE_FULL
    assert "memory" in error.recovery


def test_a_key_that_did_not_write_the_data(directory: Path, redis_url: str, admin: Redis) -> None:
    """Refused at the door, before anything is written with the other key."""
    settings = external(directory, redis_url)
    asyncio.run(_create(settings))
    before = {key: admin.dump(key) for key in admin.keys()}
    assert before
    error = refused(settings.model_copy(update={"encryption_keys": _other_key()}))
    assert error.code is ErrorCodes.STORAGE_KEY_UNKNOWN
    assert "RAYPOOL_ENCRYPTION_KEYS" in error.recovery
    assert {key: admin.dump(key) for key in admin.keys()} == before


async def _create(settings: Settings) -> None:
    assert settings.encryption_keys is not None
    keyring = Keyring.parse(settings.encryption_keys)
    async with raypool.RedisSessionManager(settings, keyring) as manager:
        await manager.create_session("business")


def _other_key() -> Any:
    return Settings(encryption_keys=Keyring.generate()).encryption_keys


def test_a_redis_without_a_key(directory: Path, redis_url: str, admin: Redis) -> None:
    """Nothing is stored in plain; the command that makes a key is named."""
    error = refused(external(directory, redis_url, encryption_keys=None))
    assert error.code is ErrorCodes.CONFIG_ENCRYPTION_KEY
    assert "raypool keys generate" in error.recovery
    assert not admin.keys()


def test_a_directory_that_cannot_be_used(directory: Path) -> None:
    """A file stands where the data should go."""
    (directory / "taken").write_text("")
    error = refused(fleet_settings(str(directory / "taken" / "below")))
    assert error.code is ErrorCodes.CONFIG_INVALID
    assert "RAYPOOL_DATA_DIR" in error.recovery


def test_a_directory_without_permission(directory: Path) -> None:
    """The same for one that belongs to somebody else."""
    if os.geteuid() == 0:
        target = Path("/proc/1/raypool")  # not even root writes there
    else:
        directory.chmod(0o500)
        target = directory / "below"
    error = refused(fleet_settings(str(target)))
    assert error.code is ErrorCodes.CONFIG_INVALID
    assert str(target) in error.message


def _told(env: dict[str, str]) -> tuple[dict[str, Any], float]:
    with script(CONNECTS, env) as driver:
        error = driver.hear()
        seconds = driver.hear()["seconds"]
        assert driver.end() == 0
        assert "Traceback" not in driver.errors()
    return error, seconds


def test_a_cluster_where_nobody_listens(directory: Path, redis_url: str) -> None:
    """Ray itself would go on trying for minutes; we knock first."""
    address = f"127.0.0.1:{closed_port()}"
    more = {"RAYPOOL_RAY_ADDRESS": address, "REDIS_URL": redis_url, "RAYPOOL_ENCRYPTION_KEYS": KEY}
    error, seconds = _told(environment(fleet_settings(str(directory)), **more))
    assert error["code"] == "NETWORK_RAY_UNREACHABLE"
    assert address in error["message"]
    assert "RAYPOOL_RAY_ADDRESS" in error["recovery"]
    assert seconds < 30


def test_a_cluster_without_a_redis(directory: Path) -> None:
    """An embedded server could not be reached from its nodes."""
    with pytest.raises(raypool.errors.ConfigurationError, match="REDIS_URL is not") as caught:
        raypool.connect(Settings(ray_address="127.0.0.1:6379", data_dir=directory))
    assert "Set REDIS_URL" in caught.value.recovery


def test_a_chromium_that_is_not_there(directory: Path) -> None:
    """Told at once, not after the time that an instance may take to start."""
    missing = str(directory / "no-chromium")
    env = environment(fleet_settings(str(directory)), RAYPOOL_CHROMIUM=missing)
    error, seconds = _told(env)
    assert (error["kind"], error["code"]) == ("BrowserError", "BROWSER_NOT_FOUND")
    assert f"RAYPOOL_CHROMIUM={missing}" in error["message"]
    assert seconds < 80
    until(lambda: not hosts(directory), "no host is left", 10)

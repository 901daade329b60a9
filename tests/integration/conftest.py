"""One local fleet for all tests of a run; each test has a business of its own."""

import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydantic import SecretStr
from redis import Redis

import raypool
from raypool import local
from raypool.browser.processes import Ledger, ledgers
from raypool.cli import main
from raypool.config import Settings
from raypool.demo.flows import sign_in
from raypool.demo.site import DemoSite
from raypool.errors import RaypoolError
from raypool.model import Checkpoint
from raypool.spec import Probe
from raypool.store.crypto import Keyring
from tests.contract.servers import program, running
from tests.integration.own import Fleet, fleet, fleet_settings
from tests.integration.scripts import environment
from tests.sites.server import AllauthSite

Run = Callable[..., tuple[int, str, str]]


@dataclass(frozen=True)
class Valkey:
    """A server that is not a fleet's own, and the key to what lies in it."""

    url: SecretStr
    key: SecretStr

    @property
    def settings(self) -> dict[str, SecretStr]:
        """What makes a fleet use it."""
        return {"redis_url": self.url, "encryption_keys": self.key}

    def flush(self) -> None:
        """Lose everything. Seen in the same instant: whoever lives may write again in the next."""
        with Redis.from_url(self.url.get_secret_value()) as admin:
            assert admin.pipeline().flushall().dbsize().execute() == [True, 0]


@pytest.fixture(scope="session")
def settings() -> Iterator[Settings]:
    """Settings of the fleet that all tests share."""
    with tempfile.TemporaryDirectory(prefix="rp-") as directory:
        yield fleet_settings(directory)


@pytest.fixture(scope="session")
def pool(settings: Settings) -> Iterator[raypool.Pool]:
    """The fleet that all tests share."""
    with raypool.connect(settings) as pool:
        yield pool


@pytest.fixture(scope="session")
def quick() -> Iterator[Fleet]:
    """A fleet with short leases, for faults that reach further than one business."""
    with fleet(lease_ttl=4.0) as quick:
        yield quick


@pytest.fixture(scope="session")
def redis(settings: Settings, pool: raypool.Pool) -> Iterator[Redis]:
    """A look behind the fleet's back, into its embedded server."""
    member, joined = local.join(settings, print)
    member.close()
    assert joined.redis_url is not None
    with Redis.from_url(joined.redis_url.get_secret_value()) as client:
        yield client


@pytest.fixture(scope="session")
def site() -> Iterator[DemoSite]:
    """A site with a sign-in that counts."""
    with DemoSite() as site:
        yield site


@pytest.fixture(scope="session")
def allauth() -> Iterator[AllauthSite]:
    """A site that others wrote, with passwords and one-time codes."""
    with AllauthSite(users=2) as site:
        yield site


@pytest.fixture
def business(pool: raypool.Pool) -> Iterator[str]:
    """The id of a business that nobody has used; nothing of it is left after the test."""
    business_id = new_id()
    yield business_id
    forget(pool, business_id)


@pytest.fixture(scope="module")
def three(pool: raypool.Pool) -> Iterator[list[str]]:
    """Three businesses that the tests of a module share."""
    ids = [new_id() for _ in range(3)]
    yield ids
    for business_id in ids:
        forget(pool, business_id)


def new_id() -> str:
    """Return an id that nobody has used."""
    return f"b-{uuid.uuid4().hex[:8]}"


def forget(pool: raypool.Pool, business_id: str) -> None:
    """Stop a business and delete its records."""
    with suppress(RaypoolError):
        pool.remove_instance(f"business:{business_id}")
    for session in pool.sessions.get_sessions_by_business(business_id):
        pool.sessions.delete_session(session.id)


@dataclass(frozen=True)
class Account:
    """Somebody who is signed in at the demo's site, once."""

    business_id: str
    email: str
    site: DemoSite
    sign_ins: int

    @property
    def signed_in_again(self) -> int:
        """Sign-ins since then; 0 is what the fleet is for."""
        return self.site.sign_ins - self.sign_ins


@pytest.fixture
def account(pool: raypool.Pool, business: str, site: DemoSite) -> Account:
    """The business of the test, signed in."""
    return signed_in(pool, business, site)


@pytest.fixture(scope="session")
def valkey() -> Iterator[Valkey]:
    """A server of the tests' own, for fleets that share one."""
    with tempfile.TemporaryDirectory(prefix="rp-") as directory:
        server = program("valkey")
        assert server is not None
        with running(server, Path(directory)) as url:
            yield Valkey(SecretStr(url), SecretStr(Keyring.generate()))


@pytest.fixture(scope="session")
def east(valkey: Valkey) -> Iterator[Fleet]:
    """A fleet of cluster *east* on it."""
    with fleet(cluster="east", lease_ttl=4.0, **valkey.settings) as east:
        yield east


@pytest.fixture
def quick_account(quick: Fleet, site: DemoSite) -> Iterator[Account]:
    """A business of the quick fleet, signed in; nothing of it is left after the test."""
    account = signed_in(quick.pool, new_id(), site)
    yield account
    forget(quick.pool, account.business_id)


@pytest.fixture(scope="module")
def shared_account(pool: raypool.Pool, site: DemoSite) -> Iterator[Account]:
    """A business that the tests of a module share, signed in by the first of them."""
    account = signed_in(pool, new_id(), site)
    yield account
    forget(pool, account.business_id)


def signed_in(pool: raypool.Pool, business_id: str, site: DemoSite) -> Account:
    """Sign a business in."""
    email = f"owner@{business_id}.example"
    password = site.add_account(email)
    pool.get_or_create_instance(business_id, email=email, probe=Probe(cookie="session"))
    assert pool.run(business_id, sign_in, site.url, {email: password}) == email
    return Account(business_id, email, site, site.sign_ins)


@pytest.fixture(scope="session")
def stored(pool: raypool.Pool) -> Callable[[str], Checkpoint]:
    """Return the newest checkpoint of a business, as Redis holds it."""

    def read(business_id: str) -> Checkpoint:
        session = pool.sessions.get_active_session(business_id)
        found = pool._loop.call(pool._pool.sessions.checkpoints.load(session.id))
        assert found is not None
        return found

    return read


def ledger_of(business_id: str) -> Ledger:
    """Return what the directory of the business's incarnation says of its processes."""
    return next(entry for _, entry in ledgers() if entry.business_id == business_id)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command line in this process; gives exit code, standard output and error."""

    def run(env: dict[str, str], *args: str) -> tuple[int, str, str]:
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "argv", ["raypool", *args])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return run


@pytest.fixture
def nowhere() -> Iterator[dict[str, str]]:
    """An environment in which no fleet runs."""
    with tempfile.TemporaryDirectory(prefix="rp-") as directory:
        yield environment(fleet_settings(directory))


@pytest.fixture
def here(pool: raypool.Pool, settings: Settings) -> dict[str, str]:
    """The environment of the fleet that all tests share."""
    return environment(settings)

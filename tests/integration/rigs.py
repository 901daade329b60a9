"""A whole deployment on one machine: a Ray head, two workers, a Redis, a site, scripts at work."""

import json
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import psutil

from raypool import rays
from raypool.browser.processes import living_browsers
from raypool.demo.site import DemoSite
from raypool.store.crypto import Keyring
from tests.contract.servers import program, running
from tests.integration.clusters import Cluster, RayNode, cluster
from tests.integration.scripts import Script, script, until

LEASE_TTL = 5.0
WORK = """
async def write(page, url, value):
    if not page.url.startswith(url):
        await page.goto(f"{url}/posts")
    who = await page.locator("#who").inner_text(timeout=5000)
    await page.evaluate("value => { document.cookie = `kept=${value}` }", value)
    return [who, os.getpid()]

async def read(page, url):
    await page.goto(f"{url}/posts")
    cookies = {c["name"]: c["value"] for c in await page.context.cookies(url)}
    return [cookies.get("kept"), await page.locator("#who").inner_text(timeout=5000)]

url, accounts = sys.argv[1], json.loads(sys.argv[2])
with raypool.connect() as pool:
    for business, (email, password) in accounts.items():
        pool.get_or_create_instance(business, email=email, probe=raypool.Probe(cookie="session"))
        pool.run(business, sign_in, url, {email: password})
    for value in range(1, 10**6):
        for outcome in pool.map(write, list(accounts), url, str(value), timeout=15):
            error = None if outcome.ok else outcome.error.code
            say(business=outcome.business_id, value=value, ok=outcome.ok, told=outcome.value,
                error=error, at=time.monotonic())
"""
READ = (
    WORK.partition("url, accounts")[0]
    + """
url, businesses = sys.argv[1], sys.argv[2:]
with raypool.connect() as pool:
    for business in businesses:
        say(business=business, found=pool.run(business, read, url, timeout=60))
"""
)


@dataclass
class Log:
    """What a working script was told, as it was told."""

    acknowledged: dict[str, int] = field(default_factory=dict)
    last_ok: dict[str, float] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)

    def fresh_since(self, moment: float, businesses: Iterable[str]) -> bool:
        """Tell whether every business was acknowledged something after *moment* (monotonic)."""
        return all(self.last_ok.get(business, 0) > moment for business in businesses)

    def note(self, said: dict[str, Any]) -> None:
        business = said["business"]
        if not said["ok"]:
            self.errors.append(said["error"])
            return
        self.acknowledged[business] = said["value"]
        self.last_ok[business] = said["at"]


class Rig:
    """The deployment. Everything of it ends with :func:`rig`'s block.

    Args:
        made: Where the nodes are started.
        site: Where the businesses sign in.
        variables: What leads scripts and actors to Redis.
        head: Options of the head, also of one that is started in place of a lost one.
    """

    def __init__(
        self, made: Cluster, site: DemoSite, variables: Mapping[str, str], head: tuple[str, ...]
    ) -> None:
        self.cluster, self.site = made, site
        made.environment.update(variables)
        self.environment = {**made.environment, "RAYPOOL_RAY_ADDRESS": made.address}
        self._head = ("--num-cpus=0", *head)
        self.head = self.start_head()
        self.workers = self.start_workers()
        emails = {f"rig-{n}": f"owner{n}@example.com" for n in range(3)}
        self.accounts = {b: (email, site.add_account(email)) for b, email in emails.items()}

    def start_head(self) -> RayNode:
        """Start the head, or a new one at the same address."""
        return self.cluster.start_head(*self._head)

    def start_workers(self) -> list[RayNode]:
        """Start two nodes, each with room for every business."""
        options = ("--num-cpus=1", '--resources={"browser": 4}')
        nodes = [self.cluster.start_node(f"127.0.0.{n}", *options) for n in (3, 4)]
        for node in nodes:
            node.wait_started()
        return nodes

    def home(self) -> tuple[RayNode, RayNode]:
        """Return the worker that holds most of the businesses, and the other one."""
        least, most = sorted(self.workers, key=lambda node: len(_businesses(node)))
        return most, least

    @contextmanager
    def at_work(self) -> Iterator[Log]:
        """Sign every business in, then let a script write numbers for the block."""
        log = Log()
        with script(WORK, self.environment, self.site.url, json.dumps(self.accounts)) as worker:
            threading.Thread(target=_listen, args=(worker, log), daemon=True).start()
            until(lambda: len(log.last_ok) == len(self.accounts), "every business works", 100)
            yield log

    def read(self) -> dict[str, tuple[int, str]]:
        """Return what each business's browser holds: the last number, and who is signed in."""
        found = {}
        with script(READ, self.environment, self.site.url, *self.accounts) as reader:
            for _ in self.accounts:
                said = reader.hear()
                number, email = said["found"]
                found[said["business"]] = int(number), email
        return found


def _businesses(node: RayNode) -> list[psutil.Process]:
    return [p for p in node.processes() if p.name().startswith("ray::Business")]


def _listen(worker: Script, log: Log) -> None:
    assert worker.process.stdout is not None
    for line in worker.process.stdout:
        if line.startswith("{"):  # Ray, too, writes to a script's standard output
            log.note(json.loads(line))


def browsers() -> dict[str, set[int]]:
    """Return the incarnations (fencing tokens) of each business that have a living Chromium."""
    found: dict[str, set[int]] = {}
    for browser in living_browsers():
        if browser.business_id.startswith("rig-"):
            found.setdefault(browser.business_id, set()).add(browser.token)
    return found


@contextmanager
def watched() -> Iterator[list[str]]:
    """Note every business that has two living browsers at a time, for the block."""
    doubles: list[str] = []
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.05):
            doubles.extend(b for b, tokens in browsers().items() if len(tokens) > 1)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield doubles
    finally:
        over.set()
        watcher.join()


@contextmanager
def rig(*head: str, **variables: str) -> Iterator[Rig]:
    """Give a deployment with ray.env's settings, three accounts, and nobody signed in yet.

    Args:
        head: More options of the head.
        variables: More environment of every node.
    """
    with ExitStack() as stack:
        made = stack.enter_context(cluster({**rays.local_environment(), **variables}))
        server = program("redis") or program("valkey")
        assert server is not None
        directory = made.directory / "redis"
        directory.mkdir()
        url = stack.enter_context(running(server, directory, "--appendfsync", "always"))
        site = stack.enter_context(DemoSite())
        ours = {
            "REDIS_URL": url,
            "RAYPOOL_ENCRYPTION_KEYS": Keyring.generate(),
            "RAYPOOL_DATA_DIR": str(made.directory / "data"),
            "RAYPOOL_LEASE_TTL": str(LEASE_TTL),
            "RAYPOOL_LOG_LEVEL": "ERROR",
        }
        yield Rig(made, site, ours, head)

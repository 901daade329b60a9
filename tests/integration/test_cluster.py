"""A Ray cluster and a Redis that are not ours: raypool uses them, and leaves them as they are."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from raypool.browser.processes import living_browsers
from raypool.store.crypto import Keyring
from tests.contract.servers import program, running
from tests.integration.clusters import cluster
from tests.integration.scripts import RAYPOOL, until

JOB = """
async def where(page):
    await page.goto("about:blank")
    return page.url
"""


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The variables that lead to a Ray head and a Redis of their own."""
    server = program("redis") or program("valkey")
    assert server is not None
    variables = {
        "RAYPOOL_ENCRYPTION_KEYS": Keyring.generate(),
        "RAYPOOL_DATA_DIR": str(tmp_path / "data"),
    }
    with cluster(variables) as made, tempfile.TemporaryDirectory(prefix="rp-") as short:
        made.start_head("--num-cpus=2", '--resources={"browser": 4}')
        with running(server, Path(short)) as url:
            yield {**made.environment, "REDIS_URL": url, "RAYPOOL_RAY_ADDRESS": made.address}


STRANGER = """
import ray
ray.__version__ = "2.59.0"
import raypool
try:
    raypool.connect()
except raypool.RaypoolError as error:
    print(error.code, error.message, error.recovery, sep="\\n")
"""


def cli(environment: dict[str, str], *arguments: str) -> tuple[int, Any]:
    """Run one command with --json; return its exit code and what it printed."""
    done = subprocess.run(
        [*RAYPOOL, *arguments, "--json"],
        check=False,
        env=environment,
        capture_output=True,
        text=True,
        timeout=90,
    )
    lines = done.stdout.splitlines()
    return done.returncode, [json.loads(line) for line in lines] if lines else done.stderr


def browsers() -> set[str]:
    """Businesses of this test that have a running browser."""
    return {b.business_id for b in living_browsers() if b.business_id.startswith("cluster-")}


@pytest.mark.timeout(240)
def test_a_cluster_is_brought_up_used_looked_at_and_taken_down(
    environment: dict[str, str], tmp_path: Path
) -> None:
    """`up`, `run`, `status`, `down`; looking at a fleet that is down starts nothing; `up` restores."""
    job = tmp_path / "job.py"
    job.write_text(JOB)
    assert cli(environment, "up")[0] == 0
    code, outcomes = cli(environment, "run", f"{job}:where", "cluster-1", "cluster-2")
    assert (code, sorted(o["business_id"] for o in outcomes)) == (0, ["cluster-1", "cluster-2"])
    assert browsers() == {"cluster-1", "cluster-2"}

    code, (rows,) = cli(environment, "status")
    assert code == 0
    assert {row["business_id"]: row["phase"] for row in rows} == {
        "cluster-1": "ready", "cluster-2": "ready",
    }  # fmt: skip
    assert cli(environment, "down") == (0, [{"down": True, "unsaved": []}])
    until(lambda: not browsers(), "every browser is gone", 10)

    code, (rows,) = cli(environment, "status")
    assert code == 0
    assert {row["phase"] for row in rows} == {"absent"}
    assert browsers() == set()
    code, (told,) = cli(environment, "up")
    assert (code, told["wanted"]) == (0, 2)
    until(lambda: browsers() == {"cluster-1", "cluster-2"}, "what was desired is back", 60)
    assert cli(environment, "down")[0] == 0


@pytest.mark.timeout(240)
def test_a_cluster_of_another_version_is_refused(environment: dict[str, str]) -> None:
    """One sentence names both versions; nothing is started on the cluster."""
    done = subprocess.run(
        [sys.executable, "-c", STRANGER],
        env=environment,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    code, message, recovery = done.stdout.splitlines()
    assert code == "CONFIG_RAY_VERSION", done.stderr
    assert "2.59.0" in message
    assert "same Ray" in recovery
    code_of_status, (rows,) = cli(environment, "status")
    assert (code_of_status, rows) == (0, [])

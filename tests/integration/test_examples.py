"""The examples run, as they stand."""

import subprocess
import sys

import raypool
from raypool.config import Settings
from tests.integration.scripts import ROOT, environment


def test_the_quick_start_prints_what_each_page_calls_itself(
    pool: raypool.Pool, settings: Settings
) -> None:
    """`python examples/quickstart.py` is a script of its own on a fleet that runs already."""
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / "quickstart.py"],
        env=environment(settings),
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == ["bakery True hello", "florist True hello"]

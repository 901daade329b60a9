"""The fault suite, at its shortest: some faults of each stage that is quick, each once."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
KINDS = ("kill-actor", "kill-driver", "kill-chromium", "kill-supervisor")
ACKS = ("kill-actor", "kill-redis", "forgotten-sign-in")


@pytest.mark.timeout(600)
def test_businesses_outlive_one_fault_of_each_kind() -> None:
    """Nothing acknowledged and no sign-in is lost; each fault fired, and everything came back."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("CHAOS_")}
    environment |= {
        "CHAOS_STAGES": "acks,embedded",
        "CHAOS_KINDS": ",".join(KINDS),
        "CHAOS_ACKS": "1",
        "CHAOS_BUSINESSES": "2",
    }
    run = subprocess.run(
        [sys.executable, "-m", "tests.chaos"],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    report = json.loads(run.stdout.splitlines()[-1])
    fired = report["faults_fired"]
    assert set(fired) == {*KINDS, *ACKS}
    assert 0 < report["p50_recovery_s"] <= report["p95_recovery_s"]
    zero = ("acknowledged_lost", "double_owners", "stale_writes_accepted", "orphans", "signed_out")
    assert {name: report[name] for name in zero} == dict.fromkeys(zero, 0)

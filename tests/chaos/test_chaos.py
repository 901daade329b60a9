"""The fault suite, at its shortest: one fault of each kind, one acknowledged change."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.mark.timeout(240)
def test_businesses_outlive_one_fault_of_each_kind() -> None:
    """Actor, driver, Chromium and server are killed; nothing acknowledged and no sign-in is lost."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("CHAOS_")}
    environment |= {"CHAOS_STRIKES": "3", "CHAOS_ACKS": "1", "CHAOS_BUSINESSES": "2"}
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
    fired = report.pop("faults_fired")
    assert fired == {"kill-actor": 2, "kill-chromium": 1, "kill-driver": 1, "kill-server": 1}
    assert 0 < report.pop("p50_recovery_s") <= report.pop("p95_recovery_s")
    assert report == {
        "trials": 4,
        "acknowledged_lost": 0,
        "double_owners": 0,
        "stale_writes_accepted": 0,
        "orphans": 0,
        "signed_out": 0,
    }

"""Plant each bug in a copy of the tree and see that the suite finds it.

``python -m tests.chaos.planted [NAME …]``. First the same short runs go over the tree as it is, where
they must find nothing (``--no-control`` leaves that out). Exit 1 when a bug was not caught, or when
something was found where nothing is wrong.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tests.chaos.client import say
from tests.chaos.planted.bugs import BUGS, Bug

REPOSITORY = Path(__file__).resolve().parents[3]
PACKAGES = ("raypool", "actors", "tests", "pyproject.toml")
RUN_TIMEOUT_S = 900


def main() -> int:
    """Run the bugs that were named, or all."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.planted")
    parser.add_argument("names", nargs="*", choices=[*(b.name for b in BUGS), []])
    parser.add_argument("--no-control", action="store_true", help="only with the bugs planted")
    given = parser.parse_args()
    wanted = [bug for bug in BUGS if not given.names or bug.name in given.names]
    results = [] if given.no_control else [_control(bug) for bug in wanted]
    results += [_caught(bug) for bug in wanted]
    return 0 if all(results) else 1


def _control(bug: Bug) -> bool:
    code, violations = _suite(REPOSITORY, bug.environment)
    say(f"without {bug.name}: {'nothing found' if code == 0 else violations}")
    return code == 0


def _caught(bug: Bug) -> bool:
    with tempfile.TemporaryDirectory(prefix="planted-") as directory:
        plant(bug, Path(directory))
        code, violations = _suite(Path(directory), bug.environment)
    caught = code == 1 and any(bug.caught_by in violation for violation in violations)
    say(f"{'CAUGHT' if caught else 'NOT CAUGHT'} {bug.name}")
    for violation in violations:
        say(f"    {violation}")
    return caught


def plant(bug: Bug, directory: Path) -> None:
    """Copy the tree into *directory*, and the bug into the copy.

    Raises:
        ValueError: It does not fit any more.
    """
    ignored = shutil.ignore_patterns("__pycache__")
    for name in PACKAGES:
        source = REPOSITORY / name
        if source.is_dir():
            shutil.copytree(source, directory / name, ignore=ignored)
        else:
            shutil.copy(source, directory / name)
    for change in bug.changes:
        file = directory / change.file
        file.write_text(change.applied(file.read_text()))


def _suite(tree: Path, environment: Mapping[str, str]) -> tuple[int, list[str]]:
    """Run the suite of *tree*; return its exit code and its violations."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.chaos"],
        cwd=tree,
        env={**os.environ, **environment, "PYTHONPATH": str(tree)},
        capture_output=True,
        text=True,
        timeout=RUN_TIMEOUT_S,
        check=False,
    )
    lines = done.stderr.splitlines()
    mark = "VIOLATION "
    return done.returncode, [line.removeprefix(mark) for line in lines if line.startswith(mark)]


if __name__ == "__main__":
    sys.exit(main())

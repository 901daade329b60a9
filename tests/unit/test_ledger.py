"""The files of an instance directory: whatever lies there, reading it harms nobody."""

import json
import os
import tempfile
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from raypool.browser.ledger import (
    Ledger,
    directories,
    home,
    read_deadline,
    read_ledger,
    write_deadline,
    write_ledger,
)
from raypool.browser.proc import Process

LEDGER = Ledger(
    "b-1", 7, Process(10, 1.5), Process(11, 2.25), Process(12, 3.0), holder_id="h", world="w"
)


@pytest.fixture(autouse=True)
def _own_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def test_a_ledger_reads_as_written(tmp_path: Path) -> None:
    """Every field, and nothing else lies there."""
    write_ledger(tmp_path, LEDGER)
    assert read_ledger(tmp_path) == LEDGER
    assert [entry.name for entry in tmp_path.iterdir()] == ["owner.json"]


def test_a_ledger_of_an_older_version_is_read(tmp_path: Path) -> None:
    """Before there were holders and worlds; its pids count for here."""
    old = {k: v for k, v in asdict(LEDGER).items() if k not in {"holder_id", "world"}}
    (tmp_path / "owner.json").write_text(json.dumps(old))
    found = read_ledger(tmp_path)
    assert found is not None
    assert (found.holder_id, found.here) == ("", True)


@pytest.mark.parametrize(
    "change",
    [
        {"owner": {"pid": 0, "started": 1.0}},
        {"owner": {"pid": -1, "started": 1.0}},
        {"owner": {"pid": "self", "started": 1.0}},
        {"owner": {"pid": True, "started": 1.0}},
        {"owner": {"pid": 1.5, "started": 1.0}},
        {"owner": {"pid": 1, "started": "1"}},
        {"owner": None},
        {"browser": 5},
        {"token": "7"},
        {"token": -1},
        {"business_id": 5},
        {"business_id": "x" * 10_000},
        {"holder_id": ["h"]},
    ],
)
def test_a_ledger_with_a_hostile_field_is_no_ledger(change: dict[str, Any], tmp_path: Path) -> None:
    """A pid of 0 or -1 would be everybody."""
    (tmp_path / "owner.json").write_text(json.dumps({**asdict(LEDGER), **change}))
    assert read_ledger(tmp_path) is None


def test_a_file_that_is_no_small_plain_file_is_not_read(tmp_path: Path) -> None:
    """A link, a pipe, a directory, a file of gigabytes: none is followed, waited for or loaded."""
    write_ledger(tmp_path, LEDGER)
    file, real = tmp_path / "owner.json", tmp_path / "real.json"
    file.rename(real)
    file.symlink_to(real)
    assert read_ledger(tmp_path) is None
    file.unlink()
    os.mkfifo(file)
    assert read_ledger(tmp_path) is None
    file.unlink()
    file.mkdir()
    assert read_ledger(tmp_path) is None
    file.rmdir()
    with file.open("wb") as huge:
        huge.truncate(2**40)
    assert read_ledger(tmp_path) is None


def test_only_directories_of_our_own_are_looked_at(tmp_path: Path) -> None:
    """Not links to directories, not files, not what has another kind of name."""
    good = home() / f"{'0' * 12}-1"
    good.mkdir()
    (tmp_path / "target").mkdir()
    (home() / f"{'1' * 12}-1").symlink_to(tmp_path / "target")
    (home() / f"{'2' * 12}-1").write_text("")
    (home() / "something").mkdir()
    (home() / "fleet-123.sock").write_text("")
    assert directories() == [good]


@pytest.mark.parametrize("at", [0.0, 0.001, 12345.678, 1e9])
def test_a_deadline_reads_as_written(at: float, tmp_path: Path) -> None:
    """To the millisecond; a later one takes its place."""
    write_deadline(tmp_path, None)
    assert read_deadline(tmp_path) is None
    for moment in (at + 1, at):
        write_deadline(tmp_path, moment)
        assert read_deadline(tmp_path) == moment


def test_no_directory_is_no_deadline(tmp_path: Path) -> None:
    """Reading says none; writing says so, and makes nothing where a directory was removed."""
    assert read_deadline(tmp_path / "gone") is None
    with pytest.raises(OSError, match="No such file"):
        write_deadline(tmp_path / "gone", 1.0)
    with pytest.raises(OSError, match="No such file"):
        write_deadline(tmp_path, 1.0)


@pytest.mark.parametrize("text", ["", "1.0", "nan", "inf", "1.0 2.0", "x" * 40, "9" * 70_000])
def test_a_deadline_that_is_none_is_none(text: str, tmp_path: Path) -> None:
    """Half a file, or another content altogether."""
    (tmp_path / "deadline").write_text(text)
    assert read_deadline(tmp_path) is None
    (tmp_path / "deadline").write_text(f"{'nan':<20}" * 2)
    assert read_deadline(tmp_path) is None


def test_a_reader_never_sees_half_a_deadline(tmp_path: Path) -> None:
    """One thread writes, another reads: only moments that were written are ever seen."""
    moments = [1.0, 1e9 / 3, 777777777.777, 2.5]
    written = {round(moment, 3) for moment in moments}
    write_deadline(tmp_path, None)
    write_deadline(tmp_path, moments[0])
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            for moment in moments:
                write_deadline(tmp_path, moment)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        seen = {read_deadline(tmp_path) for _ in range(3000)}
    finally:
        stop.set()
        writer.join()
    assert len(seen & written) > 1, "the race was never on"
    assert seen <= written

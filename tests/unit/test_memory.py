"""A container's limit counts where it is smaller than the machine's memory."""

from pathlib import Path

import psutil
import pytest

from raypool.browser.memory import Memory, node_memory

MACHINE = psutil.virtual_memory().total
GIB = 2**30


def group(path: Path, names: tuple[str, str], limit: object, used: int, stat: str) -> None:
    path.mkdir(parents=True, exist_ok=True)
    (path / names[0]).write_text(f"{limit}\n")
    (path / names[1]).write_text(f"{used}\n")
    (path / "memory.stat").write_text(f"anon 5\n{stat}\nfile 7\n")


def v2(path: Path, limit: object, used: int, cache: int) -> None:
    group(path, ("memory.max", "memory.current"), limit, used, f"inactive_file {cache}")


def v1(path: Path, limit: object, used: int, cache: int) -> None:
    names = ("memory.limit_in_bytes", "memory.usage_in_bytes")
    group(path, names, limit, used, f"inactive_file 1\ntotal_inactive_file {cache}")


def test_without_a_limit_it_is_the_machines(tmp_path: Path) -> None:
    """No cgroups, an unlimited one, or one with less told than there is."""
    groups = tmp_path / "cgroup"
    assert node_memory(groups, tmp_path).total == MACHINE
    groups.write_text("0::/a\n")
    v2(tmp_path / "a", "max", 5, 1)
    assert node_memory(groups, tmp_path).total == MACHINE
    v2(tmp_path / "a", 2**62, 5, 1)
    assert node_memory(groups, tmp_path).total == MACHINE


def test_the_tightest_group_above_counts(tmp_path: Path) -> None:
    """Each may be limited; file cache that can be dropped is available."""
    groups = tmp_path / "cgroup"
    groups.write_text("0::/pod/container\n")
    v2(tmp_path / "pod", GIB, GIB // 2, GIB // 8)
    v2(tmp_path / "pod" / "container", "max", 1, 1)
    assert node_memory(groups, tmp_path) == Memory(GIB, GIB // 2 + GIB // 8)
    v2(tmp_path / "pod" / "container", GIB // 4, GIB // 8, 0)
    assert node_memory(groups, tmp_path) == Memory(GIB // 4, GIB // 8)


def test_the_older_kind_of_limit_counts(tmp_path: Path) -> None:
    """cgroup v1, beside other controllers; what is used up leaves nothing, not less."""
    groups = tmp_path / "cgroup"
    groups.write_text("3:cpu,cpuacct:/x\n5:memory:/docker/abc\n0::/\n")
    v1(tmp_path / "memory" / "docker" / "abc", GIB, GIB + 5, 0)
    assert node_memory(groups, tmp_path) == Memory(GIB, 0)


@pytest.mark.parametrize("text", ["", "nonsense", "0:", "0::/nowhere\n"])
def test_nonsense_is_no_limit(text: str, tmp_path: Path) -> None:
    """What cannot be read limits nothing."""
    groups = tmp_path / "cgroup"
    groups.write_text(text)
    assert node_memory(groups, tmp_path).total == MACHINE

"""The CPUs and the memory that a process may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cae_runtime.inference.cpu_limits import cgroup_memory, cgroup_quota, usable_cpus


def write_groups(folder: Path, files: dict[str, str], own: str) -> None:
    """A tree of control groups, and the file that names those of a process."""
    for name, text in files.items():
        path = folder / "groups" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    (folder / "own").write_text(own + "\n" if own else "")


@pytest.mark.parametrize(
    ("files", "own", "wanted"),
    [
        ({"cpu.max": "150000 100000"}, "0::/", 1.5),
        ({"cpu.max": "max 100000"}, "0::/", None),
        ({"a/cpu.max": "max 100000", "cpu.max": "300000 100000"}, "0::/a/b", 3.0),
        ({"a/b/cpu.max": "50000 100000", "a/cpu.max": "300000 100000"}, "0::/a/b", 0.5),
        ({"cpu.max": "200000 100000"}, "0::/only/on/the/host", 2.0),
        (
            {"cpu,cpuacct/x/cpu.cfs_quota_us": "250000", "cpu,cpuacct/x/cpu.cfs_period_us": "100000"},
            "5:memory:/\n4:cpu,cpuacct:/x",
            2.5,
        ),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, "4:cpu:/", None),
        ({"cpu.max": "nonsense"}, "0::/", None),
        ({}, "", None),
    ],
)
def test_the_cpu_quota_of_a_control_group_is_read(
    tmp_path: Path, files: dict[str, str], own: str, wanted: float | None
) -> None:
    write_groups(tmp_path, files, own)
    assert cgroup_quota(tmp_path / "groups", tmp_path / "own") == wanted
    assert cgroup_quota(tmp_path / "groups", tmp_path / "absent") is None


@pytest.mark.parametrize(
    ("files", "own", "wanted"),
    [
        ({"memory.max": "536870912"}, "0::/", 2**29),
        ({"memory.max": "max"}, "0::/", None),
        ({"a/memory.max": "1048576", "memory.max": "4096"}, "0::/a", 4096),
        ({"memory/x/memory.limit_in_bytes": "1048576"}, "9:memory:/x", 2**20),
        ({"memory/memory.limit_in_bytes": "9223372036854771712"}, "9:memory:/", None),
        ({"memory.max": "1048576"}, "9:pids:/", None),
        ({}, "", None),
    ],
)
def test_the_memory_limit_of_a_control_group_is_read(
    tmp_path: Path, files: dict[str, str], own: str, wanted: int | None
) -> None:
    write_groups(tmp_path, files, own)
    assert cgroup_memory(tmp_path / "groups", tmp_path / "own") == wanted


def test_usable_cpus_respects_affinity_and_quota(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    for quota, wanted in ((None, 8), (0.2, 1), (2.5, 3), (64.0, 8)):
        monkeypatch.setattr("cae_runtime.inference.cpu_limits.cgroup_quota", lambda quota=quota: quota)
        assert usable_cpus() == wanted

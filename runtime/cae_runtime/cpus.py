"""How many CPUs this process may use: its affinity mask and its control group's quota, not what the host has."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_GROUPS: Final = Path("/sys/fs/cgroup")
_OWN_GROUPS: Final = Path("/proc/self/cgroup")


def usable_cpus() -> int:
    """Return the number of threads that can really run at once, 1 or more."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cgroup_quota()
    return allowed if quota is None else max(1, min(allowed, math.ceil(quota)))


def one_cpu_each(threads: int) -> list[int]:
    """Return a CPU for each of so many threads where they take all CPUs of this process, else an empty list.

    Threads that take all CPUs lose nothing when each stays on its own, and gain after a pause, as between the frames of
    a camera: Linux would wake several on one CPU and spread them out only some 20 ms later.
    """
    allowed = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_setaffinity") else []
    return allowed if len(allowed) == threads == usable_cpus() else []


def cgroup_quota(groups: Path = _GROUPS, own: Path = _OWN_GROUPS) -> float | None:
    """Return the CPUs that Linux control groups (as containers use them) grant, None where there is no limit.

    Args:
        groups: where control groups are mounted.
        own: the file that names this process's groups.
    """
    return min(_quotas(groups, own), default=None)


def _quotas(groups: Path, own: Path) -> Iterator[float]:
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":  # version 2: one hierarchy, and every group above limits too
            for folder in _upwards(groups, path):
                yield from _quota(_words(folder / "cpu.max"))
        elif "cpu" in controllers.split(","):
            for mount in (controllers, "cpu"):  # the kernel's order of names, and the link that most systems have
                for folder in _upwards(groups / mount, path):
                    yield from _quota(_words(folder / "cpu.cfs_quota_us") + _words(folder / "cpu.cfs_period_us"))


def _upwards(root: Path, path: str) -> Iterator[Path]:
    """Yield the folders of a group and of those above it; inside a container the path may be the host's."""
    folder = root / path.lstrip("/")
    yield from (folder, *(parent for parent in folder.parents if parent.is_relative_to(root)))


def _quota(words: list[str]) -> Iterator[float]:
    """Yield quota / period of "200000 100000"; "max 100000" and "-1 100000" are no limit."""
    if len(words) == 2 and words[0].isdigit() and words[1].isdigit() and int(words[1]) > 0:
        yield int(words[0]) / int(words[1])


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []

"""The CPUs and memory that this process may use: affinity mask and cgroup limits, not the host's totals."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

THREADS_MAX: Final = 4096  # of a session
_GROUPS: Final = Path("/sys/fs/cgroup")
_OWN_GROUPS: Final = Path("/proc/self/cgroup")
_NO_LIMIT: Final = 2**60  # version 1 writes a larger number for no limit


def allowed_cpus() -> list[int]:
    """Return the indices of the CPUs that this process may use: its affinity mask on Linux, all CPUs elsewhere."""
    if sys.platform == "linux":
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def usable_cpus() -> int:
    """Return how many threads can actually run at once, 1 or more."""
    allowed = len(allowed_cpus())
    quota = cgroup_quota()
    return allowed if quota is None else max(1, min(allowed, math.ceil(quota)))


def one_cpu_each(threads: int) -> list[int]:
    """Return a CPU for each thread if the threads use all CPUs of this process, otherwise an empty list.

    If there is one thread per CPU, pinning costs nothing and helps after pauses, as between the frames of a camera:
    Linux would wake several threads on one CPU and spread them out only some 20 ms later.
    """
    if sys.platform != "linux":
        return []
    allowed = allowed_cpus()
    return allowed if len(allowed) == threads == usable_cpus() else []


def cgroup_quota(groups: Path = _GROUPS, own: Path = _OWN_GROUPS) -> float | None:
    """Return the CPUs that Linux cgroups (as in containers) grant, None if there is no limit.

    Args:
        groups: where cgroups are mounted.
        own: the file that names this process's cgroups.
    """
    found: list[float] = []
    for folder in _folders(groups, own, ""):  # version 2 keeps "200000 100000" or "max 100000" in one file
        found += _quota(_words(folder / "cpu.max"))
    for folder in _folders(groups, own, "cpu"):
        found += _quota(_words(folder / "cpu.cfs_quota_us") + _words(folder / "cpu.cfs_period_us"))
    return min(found, default=None)


def cgroup_memory(groups: Path = _GROUPS, own: Path = _OWN_GROUPS) -> int | None:
    """Return the bytes of memory that Linux cgroups grant, None if there is no limit.

    Args:
        groups: where cgroups are mounted.
        own: the file that names this process's cgroups.
    """
    files = [folder / "memory.max" for folder in _folders(groups, own, "")]
    files += [folder / "memory.limit_in_bytes" for folder in _folders(groups, own, "memory")]
    sizes = [int(word) for file in files for word in _words(file) if word.isdigit()]
    return min((size for size in sizes if size < _NO_LIMIT), default=None)


def usable_memory() -> int | None:
    """Return the memory of this machine in bytes, or the smaller cgroup limit; None if it is unknown."""
    sizes = [size for size in (cgroup_memory(), _memory_of_machine()) if size]
    return min(sizes, default=None)


def _memory_of_machine() -> int | None:
    if sys.platform == "win32":
        return None
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):  # a system that does not say
        return None


def _folders(groups: Path, own: Path, controller: str) -> Iterator[Path]:
    """Yield the folders of this process's cgroups and of their parents, whose limits count too.

    Args:
        groups: where cgroups are mounted.
        own: the file that names this process's cgroups.
        controller: the controller in cgroup version 1; empty for version 2, which has a single hierarchy.
    """
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == controller == "":
            yield from _upwards(groups, path)
        elif controller in controllers.split(",") and controller:
            for mount in {controllers, controller}:  # the kernel's order of the names, and the usual link
                yield from _upwards(groups / mount, path)


def _upwards(root: Path, path: str) -> Iterator[Path]:
    """Yield the folders of a cgroup and its parents; inside a container the path may be that of the host."""
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

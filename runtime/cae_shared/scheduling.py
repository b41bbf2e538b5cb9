"""How the system shares out its CPUs among this process and others."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_THREADS: Final = Path("/proc/self/task")


@contextlib.contextmanager
def usual_scheduling() -> Iterator[None]:
    """Take real-time scheduling back that a library gives itself and this thread meanwhile, as SVT-AV1 does for root.

    Threads that had it before keep it.

    A process of real-time scheduling keeps all others from its CPUs as long as it has something to compute.
    """
    if sys.platform != "linux":
        yield
        return
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    before = set(_real_time())
    try:
        yield
    finally:
        for thread in _real_time():
            with contextlib.suppress(OSError):  # it may have ended
                if thread not in before:
                    os.sched_setscheduler(thread, policy, parameters)


def _real_time() -> Iterator[int]:
    """Yield the threads of this process that have real-time scheduling."""
    if sys.platform != "linux":
        return
    for entry in _THREADS.iterdir():
        thread = int(entry.name)
        with contextlib.suppress(OSError):  # it may have ended
            if os.sched_getscheduler(thread) in (os.SCHED_FIFO, os.SCHED_RR):
                yield thread

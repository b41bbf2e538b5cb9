"""Threads that run a model in parallel, optionally pinned to one CPU each."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from typing import Any, Final

from cae_runtime.errors import UsageError
from cae_runtime.inference.forks import renew_after_fork

_REPORT_EVERY: Final = 0.1  # seconds


class WorkerThreads:
    """Threads that do the same work together.

    They start with the first work and end with `close`, or when this object is dropped. A forked child starts its own.

    Args:
        threads: how many.
        cpus: the CPU to pin each thread to; empty: no pinning.
    """

    def __init__(self, threads: int, cpus: Sequence[int] = ()) -> None:
        self._threads, self._cpus = threads, tuple(cpus)
        self._pool: ThreadPoolExecutor | None = None
        self._open()
        renew_after_fork(self)

    def __reduce__(self) -> tuple[Any, ...]:
        if self._pool is None:
            raise UsageError("this model was closed: it can be neither copied nor pickled")
        return type(self), (self._threads, self._cpus)

    def _open(self) -> None:
        # The threads keep their arguments alive: these must not refer to this object.
        self._pool = ThreadPoolExecutor(self._threads, "cae-worker", _stay, (iter(self._cpus),))

    def after_fork(self) -> None:
        """Forget the parent's threads, which this process does not have."""
        if self._pool is not None:
            self._open()

    @property
    def pool(self) -> ThreadPoolExecutor:
        """The executor.

        Raises:
            UsageError: the threads were closed.
        """
        if self._pool is None:
            raise UsageError("this model was closed: open it again to use it again")
        return self._pool

    def close(self) -> None:
        """End the threads after they finish their current work."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown()

    def run(
        self,
        work: Callable[[], None],
        threads: int,
        stop: Callable[[], None],
        report: Callable[[], object] | None = None,
    ) -> None:
        """Call `work` in several threads at once, and wait for all.

        A single call runs in the caller's thread, or with `report` in one of its own: it waits for no other work.

        Args:
            work: called by each thread.
            threads: how many, at most the size of the pool.
            stop: called if one of them fails or Ctrl-C is pressed, to make the others return soon.
            report: called ten times a second in the caller's thread meanwhile, and when all is done. What it raises
                stops the work.

        Raises:
            Exception: the first exception of `work` or `report`.
            UsageError: the threads were closed.
        """
        pool = self.pool
        if threads > 1:
            _watched([pool.submit(work) for _ in range(threads)], stop, report)
        elif report is None:
            work()
        else:
            with ThreadPoolExecutor(1, "cae-worker") as own:
                _watched([own.submit(work)], stop, report)
        if report is not None:
            report()


def _watched(calls: Sequence[Future[None]], stop: Callable[[], None], report: Callable[[], object] | None) -> None:
    """Wait for calls; see `WorkerThreads.run`."""
    try:
        while not _ended(calls, None if report is None else _REPORT_EVERY):
            if report is not None:
                report()
    finally:
        stop()
        wait([call for call in calls if not call.cancel()])
    for call in calls:
        if not call.cancelled():
            call.result()


def _ended(calls: Sequence[Future[None]], seconds: float | None) -> bool:
    """Wait at most so long; return whether all calls are done, or one has failed."""
    done, going = wait(calls, seconds, FIRST_EXCEPTION)
    return not going or any(call.exception() is not None for call in done)


def _stay(cpus: Iterator[int]) -> None:
    """Pin this thread to the next CPU, if there is one."""
    cpu = next(cpus, None)
    if cpu is not None and sys.platform == "linux":
        with suppress(OSError):  # no longer available to this process
            os.sched_setaffinity(0, {cpu})

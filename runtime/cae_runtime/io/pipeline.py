"""Work done by a few threads at once, with the results in order. NumPy, OpenCV and onnxruntime free the interpreter."""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Executor, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from typing import TypeVar

from cae_runtime.errors import UsageError
from cae_runtime.inference.forks import renew_after_fork

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(
    pool: Executor, function: Callable[[Item], Result], items: Iterable[Item], ahead: int, *, finish: bool = False
) -> Generator[Result, None, None]:
    """Yield `function(item)` of each item, in order, while the pool works ahead.

    Nothing is kept of an item or a result that has been handed on.

    Args:
        pool: what the function runs in.
        function: called once an item.
        items: taken from one by one, only as the work goes on.
        ahead: items that may be under way or wait for their turn while a result is in use; it bounds the memory.
        finish: when taking an item raises, or Ctrl-C is pressed while a result is waited for, yield the results of
            what was begun before that is raised.

    Yields:
        The results. What the function raises comes in its item's turn, and nothing is begun after that.
    """
    waiting: deque[Future[Result]] = deque()
    source = iter(items)
    stopped: BaseException | None = None
    try:
        while stopped is None:
            try:
                waiting.append(pool.submit(function, next(source)))
                if len(waiting) > ahead:
                    wait([waiting[0]])
            except StopIteration:
                break
            except (Exception, KeyboardInterrupt) as e:
                if not finish:
                    raise
                stopped = e
            else:
                if len(waiting) > ahead:
                    yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
        if stopped is not None:
            raise stopped
    finally:
        for future in waiting:
            future.cancel()


class SideBySide:
    """Threads that do the same work together.

    They start with the first work, and end with `close`, or when this object is dropped. A forked child starts its own.

    Args:
        threads: how many.
        cpus: one that each of them stays on; empty: the system moves them.
    """

    def __init__(self, threads: int, cpus: Sequence[int] = ()) -> None:
        self._threads, self._cpus = threads, tuple(cpus)
        self._pool: ThreadPoolExecutor | None = None
        self._open()
        renew_after_fork(self)

    def _open(self) -> None:
        # The threads hold what they begin with: nothing of it may hold this object.
        self._pool = ThreadPoolExecutor(self._threads, "cae-worker", _stay, (iter(self._cpus),))

    def after_fork(self) -> None:
        """Leave the parent's threads, which this process does not have."""
        if self._pool is not None:
            self._open()

    @property
    def pool(self) -> ThreadPoolExecutor:
        """What work is submitted to.

        Raises:
            UsageError: the threads were closed.
        """
        if self._pool is None:
            raise UsageError("this model was closed: open it anew to use it again")
        return self._pool

    def close(self) -> None:
        """End the threads, once they have done what was begun."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown()

    def run(self, work: Callable[[], None], threads: int, stop: Callable[[], None]) -> None:
        """Call `work` in several threads at once, and wait until all have returned; a single one is the caller's own.

        Args:
            work: what each thread calls.
            threads: how many, at most those that there are.
            stop: called when one of them fails or Ctrl-C is pressed, so that the others return soon.

        Raises:
            Exception: what `work` has raised first.
            UsageError: the threads were closed.
        """
        pool = self.pool
        if threads == 1:
            work()
            return
        calls = [pool.submit(work) for _ in range(threads)]
        try:
            wait(calls, return_when=FIRST_EXCEPTION)
        finally:
            stop()
            wait([call for call in calls if not call.cancel()])
        for call in calls:
            if not call.cancelled():
                call.result()


def _stay(cpus: Iterator[int]) -> None:
    """Keep this thread on the next of the CPUs, where there is one."""
    cpu = next(cpus, None)
    if cpu is not None and sys.platform == "linux":
        with suppress(OSError):  # no longer among this process's
            os.sched_setaffinity(0, {cpu})


class Room:
    """A bound on what is under way at once, in whatever unit; what is larger than the bound goes alone.

    Args:
        size: the bound.
    """

    def __init__(self, size: int) -> None:
        self._size, self._used, self._closed = size, 0, False
        self._change = threading.Condition()

    def take(self, size: int) -> int:
        """Wait until there is room for `size`, and return it."""
        with self._change:
            self._change.wait_for(lambda: self._closed or self._used == 0 or self._used + size <= self._size)
            self._used += size
        return size

    def give_back(self, size: int) -> None:
        """Free what was taken."""
        with self._change:
            self._used -= size
            self._change.notify_all()

    def close(self) -> None:
        """Let everybody in who waits, because the work is being ended."""
        with self._change:
            self._closed = True
            self._change.notify_all()

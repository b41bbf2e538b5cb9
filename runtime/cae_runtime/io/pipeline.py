"""Work done by a few threads at once, with the results in order. NumPy, OpenCV and onnxruntime free the interpreter."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Executor, Future, wait
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def prefetch_map(
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


class PixelBudget:
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

"""Parallel work with results in order. NumPy, OpenCV and onnxruntime release the interpreter lock."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Executor, Future, wait
from typing import Final, TypeVar

from cae_shared.signals import raise_if_lost

Item = TypeVar("Item")
Result = TypeVar("Result")

BYTES_AHEAD: Final = 2**28  # number of files that are read ahead from a store
FILES_AHEAD: Final = 8  # that are read from a store, or written to it, at a time
PIXELS_UNDER_WAY: Final = 2**26  # of pictures that are in memory at once; a larger one is processed alone


def prefetch_map(
    pool: Executor, function: Callable[[Item], Result], items: Iterable[Item], ahead: int, *, finish: bool = False
) -> Generator[Result, None, None]:
    """Yield `function(item)` for each item, in order, while the pool works ahead.

    Items and results are dropped as soon as they have been passed on.

    Args:
        pool: what the function runs in.
        function: called once per item.
        items: consumed one by one, as the work proceeds.
        ahead: the most items in progress or waiting while a result is in use; this bounds the memory.
        finish: if taking an item raises, or Ctrl-C is pressed while waiting for a result, first yield the results of
            items that were already started.

    Yields:
        The results. An exception of the function is raised in its item's turn; no further items are started.
    """
    waiting: deque[Future[Result]] = deque()
    source = iter(items)
    stopped: BaseException | None = None
    try:
        while stopped is None:
            try:
                raise_if_lost()
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


def started_ahead(
    pool: Executor,
    function: Callable[[Item], Result],
    items: Iterable[Item],
    ahead: int,
    weigh: Callable[[Result], int],
    expect: Callable[[Item], int],
) -> Generator[Callable[[], Result], None, None]:
    """Yield for each item, in order, a function that waits for `function(item)` and returns it.

    Calls for further items are started meanwhile, while the results that nobody has taken are not too heavy; those that
    are on their way count, too.

    Args:
        pool: what the calls run in.
        function: called once per item.
        items: consumed one by one.
        ahead: the most calls that are started beyond the item that was yielded.
        weigh: how many bytes a result has.
        expect: how many bytes the result of an item will have; 0 if nobody knows.
    """
    waiting: deque[tuple[Future[Result], int]] = deque()
    source = iter(items)
    try:
        while True:
            while len(waiting) <= ahead and (not waiting or sum(_weights(waiting, weigh)) < BYTES_AHEAD):
                try:
                    item = next(source)
                except StopIteration:
                    break
                waiting.append((pool.submit(function, item), expect(item)))
            if not waiting:
                return
            yield waiting.popleft()[0].result
    finally:
        for future, _ in waiting:
            future.cancel()


def _weights(waiting: Iterable[tuple[Future[Result], int]], weigh: Callable[[Result], int]) -> Iterator[int]:
    for future, expected in waiting:
        if not future.done():
            yield expected
        elif future.exception() is None:
            yield weigh(future.result())


class PixelBudget:
    """Limits the total size of items in progress, in any unit; an item larger than the limit runs alone.

    Args:
        size: the limit.
    """

    def __init__(self, size: int) -> None:
        self._size, self._used, self._closed = size, 0, False
        self._change = threading.Condition()

    def take(self, size: int) -> int:
        """Wait until `size` fits, reserve it, and return it."""
        with self._change:
            self._change.wait_for(lambda: self._closed or self._used == 0 or self._used + size <= self._size)
            self._used += size
        return size

    def give_back(self, size: int) -> None:
        """Release a reservation."""
        with self._change:
            self._used -= size
            self._change.notify_all()

    def close(self) -> None:
        """Admit all waiting threads, because the work is ending."""
        with self._change:
            self._closed = True
            self._change.notify_all()

"""Work done by a few threads at once, with the results in order. NumPy, OpenCV and onnxruntime free the interpreter."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(pool: Executor, function: Callable[[Item], Result], items: Iterable[Item], ahead: int) -> Iterator[Result]:
    """Yield `function(item)` of each item, in order, while the pool works ahead.

    Args:
        pool: what the function runs in.
        function: called once an item.
        items: taken from one by one, only as the work goes on.
        ahead: items that may be under way or wait for their turn while a result is in use; it bounds the memory.

    Yields:
        The results. What the function raises comes in its item's turn; nothing is begun after that.
    """
    waiting: deque[Future[Result]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()

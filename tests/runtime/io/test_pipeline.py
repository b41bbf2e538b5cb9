"""Parallel work with results in order, and how much of it is done ahead."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any

import pytest

from cae_runtime.io.pipeline import BYTES_AHEAD, FILES_AHEAD, PixelBudget, prefetch_map, started_ahead


class Idle(Executor):
    """Starts calls that never end."""

    def __init__(self) -> None:
        self.started: list[Future[Any]] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.started.append(Future())
        return self.started[-1]


@pytest.mark.parametrize(
    ("size", "count"), [(0, FILES_AHEAD + 1), (BYTES_AHEAD // 4, 4), (BYTES_AHEAD, 1), (BYTES_AHEAD * 2, 1)]
)
def test_read_ahead_counts_the_known_sizes_of_files_in_progress(size: int, count: int) -> None:
    pool = Idle()
    read = started_ahead(pool, str, range(100), FILES_AHEAD, len, lambda _: size)
    next(read)
    assert len(pool.started) == count
    pool.started[-1].set_result("small")  # now its own size counts
    next(read)
    assert len(pool.started) == count + (2 if size == BYTES_AHEAD // 4 else 1)
    read.close()


def test_prefetch_map_limits_waiting_items_and_keeps_the_order() -> None:
    begun, lock = [], threading.Lock()

    def square(number: int) -> int:
        with lock:
            begun.append(number)
        return number * number

    with ThreadPoolExecutor(3) as pool:
        results = prefetch_map(pool, square, iter(range(100)), ahead=4)
        assert [next(results) for _ in range(3)] == [0, 1, 4]
        pool.submit(lambda: None).result()
        assert max(begun) <= 6
        assert list(results) == [i * i for i in range(3, 100)]


def test_prefetch_map_raises_in_turn_and_starts_no_later_items() -> None:
    begun = []

    def fail_at_five(number: int) -> int:
        begun.append(number)
        if number == 5:
            raise ValueError("five")
        return number

    with ThreadPoolExecutor(1) as pool:
        results = prefetch_map(pool, fail_at_five, range(100), ahead=2)
        assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]
        with pytest.raises(ValueError, match="five"):
            next(results)
    assert max(begun) <= 8


def test_started_items_are_yielded_before_a_failure_of_the_source() -> None:
    def numbers(error: type[BaseException]) -> Iterator[int]:
        yield from range(3)
        raise error

    def take(results: Iterator[int], told: list[int]) -> None:
        told.extend(results)

    for error in (ValueError, KeyboardInterrupt):
        told: list[int] = []
        with ThreadPoolExecutor(2) as pool, pytest.raises(error):
            take(prefetch_map(pool, lambda number: number + 1, numbers(error), ahead=5, finish=True), told)
        assert told == [1, 2, 3]


def test_the_pixel_budget_admits_small_items_together_and_a_large_one_alone() -> None:
    room, order, waits = PixelBudget(10), [], threading.Event()

    class Watched(threading.Condition):
        def wait(self, timeout: float | None = None) -> bool:
            waits.set()
            return super().wait(timeout)

    room._change = Watched()

    def take(size: int) -> None:
        room.take(size)
        order.append(size)

    with ThreadPoolExecutor(3) as pool:
        take(6)
        waiting = pool.submit(take, 25)
        take(4)
        assert waits.wait(timeout=10)
        room.give_back(6)
        room.give_back(4)
        waiting.result(timeout=10)
        waits.clear()
        ended = pool.submit(take, 1)
        assert waits.wait(timeout=10)
        room.close()
        ended.result(timeout=10)
    assert order == [6, 4, 25, 1]

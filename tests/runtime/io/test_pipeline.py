"""How much is read ahead."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

import pytest

from cae_runtime.io.pipeline import BYTES_AHEAD, FILES_AHEAD, started_ahead


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

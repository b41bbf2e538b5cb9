"""Real-time scheduling set by a library is reverted, that of the program is kept."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator

import pytest

from cae_shared.scheduling import usual_scheduling

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such call")


class Waiting:
    """A thread that asks for real-time scheduling and waits."""

    def __init__(self) -> None:
        self._end, ready = threading.Event(), threading.Event()
        self.refused = False

        def work() -> None:
            try:
                os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
            except PermissionError:
                self.refused = True
            ready.set()
            self._end.wait()

        self._thread = threading.Thread(target=work)
        self._thread.start()
        ready.wait()
        self.number = self._thread.native_id or 0

    def end(self) -> None:
        self._end.set()
        self._thread.join()


@pytest.fixture
def threads() -> Iterator[list[Waiting]]:
    made: list[Waiting] = []
    yield made
    for each in made:
        each.end()


def test_only_threads_of_the_meantime_get_their_priority_back(threads: list[Waiting]) -> None:
    threads.append(Waiting())
    if threads[0].refused:
        pytest.skip("needs the right to real-time scheduling")
    with usual_scheduling():
        threads.append(Waiting())
    policies = [os.sched_getscheduler(each.number) for each in threads]
    assert policies == [os.SCHED_RR, os.SCHED_OTHER]

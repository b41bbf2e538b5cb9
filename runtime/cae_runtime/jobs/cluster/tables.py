"""Runs Ray Data: sends blocks of paths to workers, and receives tables of results."""

from __future__ import annotations

import contextlib
import pickle
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from cae_runtime.errors import ClusterError
from cae_runtime.jobs.cluster.blocks import Numbered
from cae_runtime.jobs.cluster.connection import Workers, node_has_died
from cae_runtime.jobs.cluster.worker import Worker

_WANTED: Final = {
    "enable_progress_bars": False,
    "print_on_execution_start": False,
    "execution_no_progress_timeout_s": -1,  # a long video may show no progress for a long time
    "max_consecutive_actor_init_deaths": 3,  # workers that die during their start
}
_WAIT: Final = 0.2  # seconds; on Windows, Ctrl-C is only noticed in between
_LOOK_EVERY: Final = 4.0
_ENDING: Final = 10.0
_LOST: Final = (
    "the node of the cluster on this machine has died: start it again, and repeat the command, which skips what is done"
)


class Tables:
    """The tables of results that workers return, one for each block, in the order in which they finish.

    A separate thread calls Ray: Ctrl-C arrives in the main thread, and would interrupt Ray before the workers could
    finish what they are writing.

    Args:
        ray: the module.
        blocks: the files.
        ledger: the actor of the `Ledger`.
        workers: the number of workers at first, and the CPUs and GPUs of each.
        look: called every few seconds while waiting.
    """

    def __init__(
        self, ray: Any, blocks: Sequence[Sequence[Numbered]], ledger: Any, workers: Workers, look: Callable[[], None]
    ) -> None:
        self._look = look
        self._arrived: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._ray = ray
        self._lost = False
        self._closed = threading.Event()
        context = ray.data.DataContext.get_current()
        self._before = {name: getattr(context, name) for name in _WANTED if hasattr(context, name)}
        _set(context, {name: _WANTED[name] for name in self._before})  # some releases of Ray lack some of them
        data = _worked(ray, blocks, ledger, workers)
        self._thread = threading.Thread(target=self._read, args=(data,), name="cae-cluster", daemon=True)
        self._thread.start()

    def _read(self, data: Any) -> None:
        try:
            tables = iter(data.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0))
            for table in tables:
                self._arrived.put(table)
                if self._closed.is_set():
                    break
            del tables  # ends the work of Ray
        except Exception as e:
            self._arrived.put(e)
        finally:
            self._arrived.put(None)

    def __iter__(self) -> Iterator[Any]:
        """Yield the tables.

        Raises:
            ClusterError: the node on this machine has died.
            Exception: what Ray raises.
        """
        looked = time.monotonic()
        while True:
            if time.monotonic() - looked > _LOOK_EVERY:
                looked = time.monotonic()
                if node_has_died(self._ray):
                    self._lost = True
                    raise ClusterError(_LOST)
                self._look()
            with contextlib.suppress(queue.Empty):
                arrived = self._arrived.get(timeout=_WAIT)
                if arrived is None:
                    return
                if isinstance(arrived, Exception):
                    raise arrived
                yield arrived

    def close(self) -> None:
        """End the work and restore Ray's settings; tell the workers to stop before calling this."""
        self._closed.set()
        if not self._lost:
            self._thread.join(_ENDING)
        _set(self._ray.data.DataContext.get_current(), self._before)


def _set(context: Any, values: Mapping[str, object]) -> None:
    for name, value in values.items():
        setattr(context, name, value)


def _worked(ray: Any, blocks: Sequence[Sequence[Numbered]], ledger: Any, workers: Workers) -> Any:
    """Return the data set of the results; it is evaluated lazily."""
    data = ray.data
    items = [{"block": number, "jobs": pickle.dumps(block)} for number, block in enumerate(blocks)]
    count = min(workers.count, len(blocks))
    pool = data.ActorPoolStrategy(min_size=1, initial_size=count, max_size=len(blocks))  # grows when nodes join
    return data.from_items(items, override_num_blocks=len(items)).map_batches(
        Worker, fn_constructor_args=(ledger,), batch_size=None, batch_format="pyarrow", compute=pool,
        num_cpus=workers.cpus, num_gpus=workers.gpus or None,
    )  # fmt: skip

"""Saves pictures of the window in a background thread, as `cae-run` writes them."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from queue import Empty, SimpleQueue
from typing import Final

from cae_runtime.jobs.paths import prepare_output
from cae_runtime.jobs.planning import Job
from cae_runtime.jobs.restore.images import restore_images
from cae_runtime.jobs.restore.options import RestoreOptions
from cae_runtime.jobs.restore.results import FileResult
from cae_runtime.tasks.restore import Restorer
from cae_shared.text import counted

_EXISTS: Final = "(overwrite=True replaces it)"


class Saver:
    """The background thread.

    Args:
        options: how pictures are written. Files that existed before are skipped unless `overwrite` is set.

    Attributes:
        failed: whether a picture could not be written.
    """

    def __init__(self, options: RestoreOptions) -> None:
        self._options = options
        self.failed = False
        self._under_way: list[Future[None]] = []
        self._mine: set[Job] = set()
        self._told: SimpleQueue[str] = SimpleQueue()
        self._stops = False
        self._thread = ThreadPoolExecutor(1, "cae-save")

    def save(self, jobs: Sequence[Job], restorer: Restorer, options: RestoreOptions) -> None:
        """Queue pictures to be cleaned by a restorer and written; of the options, only `strength` counts."""
        work = self._thread.submit(self._save, jobs, restorer, replace(self._options, strength=options.strength))
        self._under_way = [*(each for each in self._under_way if not each.done()), work]

    @property
    def busy(self) -> bool:
        """Whether a picture is being written, or waits for it."""
        return not all(work.done() for work in self._under_way)

    def messages(self) -> list[str]:
        """Return the messages for the user since the last call."""
        found = []
        while True:
            try:
                found.append(self._told.get_nowait())
            except Empty:
                return found

    def close(self) -> None:
        """Finish the current picture, and drop the waiting ones."""
        self._stops = True
        self._thread.shutdown()

    def _save(self, jobs: Sequence[Job], restorer: Restorer, options: RestoreOptions) -> None:
        results: list[FileResult] = []
        try:
            for output in dict.fromkeys(job.output.parent for job in jobs):
                prepare_output(output)
            for mine in (True, False):
                chosen = [job for job in jobs if (job in self._mine) == mine]
                for result in restore_images(restorer, chosen, replace(options, overwrite=options.overwrite or mine)):
                    results.append(result)
                    self._heed(result, jobs)
                    if self._stops:
                        return
        except Exception as e:  # any error: no other code looks at the result of this thread
            self.failed = True
            self._told.put(f"cannot be saved: {e}")
        finally:
            if len(jobs) > 1:
                done = sum(result.status == "done" for result in results)
                self._told.put(f"saved {done} of {counted(len(jobs), 'picture')}")

    def _heed(self, result: FileResult, jobs: Sequence[Job]) -> None:
        if result.status == "done":
            self._mine.update(job for job in jobs if str(job.output) == result.output)
            lost = f"; not kept: {', '.join(result.dropped)}" if result.dropped else ""
            self._told.put(f"saved {result.output}{lost}")
        elif result.status == "skipped":
            self._told.put(f"skipped: {result.output} exists {_EXISTS}")
        else:
            self.failed = True
            self._told.put(f"{result.source!r} {result.reason}")

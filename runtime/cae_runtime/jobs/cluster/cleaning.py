"""Pictures and videos that workers clean, or whose holes they fill."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from cae_runtime.arguments import Progress
from cae_runtime.inference.session import Session
from cae_runtime.io.image_files import Picture
from cae_runtime.jobs.cluster.blocks import Numbered, blocks_of
from cae_runtime.jobs.cluster.work import OpenedWork, Supervisor, Work
from cae_runtime.jobs.pictures import Change, Changed
from cae_runtime.jobs.planning import Job, Plan
from cae_runtime.jobs.restore.images import cleaning
from cae_runtime.jobs.restore.masks import filling
from cae_runtime.jobs.restore.options import RestoreOptions
from cae_runtime.jobs.restore.restore_files import clean_each, restorer_of
from cae_runtime.jobs.restore.results import FileResult
from cae_runtime.tasks.restore import Restorer


@dataclass(frozen=True)
class Cleaning(Work):
    """Cleans files as a local call does.

    Attributes:
        options: how.
        plan: the plan with its first files only.
    """

    options: RestoreOptions
    plan: Plan

    def opened(self, session: Session) -> OpenedWork:
        """Return the object that cleans files; see `Work`."""
        if self.options.fills:
            return _Cleaner(*filling(session, self.plan, self.options), self.options)
        restorer = restorer_of(session, self.options)
        return _Cleaner(restorer, cleaning(restorer, self.options), self.options)

    def blocks(self, jobs: Sequence[Job], workers: int) -> list[list[Numbered]]:
        """Divide the files into blocks of a few seconds of work."""
        return blocks_of(jobs, workers)


class _Cleaner(OpenedWork):
    def __init__(self, restorer: Restorer, change: Change, options: RestoreOptions) -> None:
        self._restorer, self._change, self._options = restorer, change, options

    def do(self, number: int, block: Sequence[Numbered], again: bool, worker: Supervisor) -> None:
        """Clean a block. Existing outputs are skipped, but in a repeated block they are written again.

        There they were written before the worker died or failed, and their results are not known.
        """
        left = [(file, job) for file, job in block if worker.known(file) is None]
        if not again:
            self._together(left, self._options, worker)
            return
        for file, job in left:
            worker.look()
            if reason := worker.begin(file):
                worker.hand_in(file, self.left_out(number, job, reason))
            else:
                self._together([(file, job)], replace(self._options, overwrite=True), worker)

    def left_out(self, number: int, job: Job, reason: str) -> FileResult:
        """Return the result of a file that is left out."""
        source, output, provider = str(job.source), str(job.output), self._restorer.provider
        return FileResult(source, output, "failed", reason, 0.0, None, None, provider, ())

    def _together(self, block: Sequence[Numbered], options: RestoreOptions, worker: Supervisor) -> None:
        """Clean files as a call without a cluster does."""
        number = {str(job.output): file for file, job in block}

        def hand_in(result: FileResult) -> None:
            worker.hand_in(number[result.output], result)

        def change(job: Job, picture: Picture, told: Progress | None) -> Changed:
            worker.look()
            return self._change(job, picture, told)

        cleaned = clean_each(
            [job for _, job in block], self._restorer, options, change,
            on_frame=lambda *_: worker.look(), on_part=lambda *_: worker.look(), on_result=hand_in,
        )  # fmt: skip
        with contextlib.closing(cleaned):
            for result in cleaned:
                hand_in(result)

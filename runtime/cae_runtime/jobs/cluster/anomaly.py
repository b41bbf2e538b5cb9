"""Anomalies among pictures, found by the workers of a cluster; the table and the sheet are those of a local call."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cae_runtime.inference.session import Session
from cae_runtime.jobs import anomaly
from cae_runtime.jobs.cluster.blocks import Numbered, blocks_of
from cae_runtime.jobs.cluster.engine import RayCluster, check_places
from cae_runtime.jobs.cluster.work import OpenedWork, Supervisor, Work
from cae_runtime.jobs.heat_maps.judge import Judge, Judged, judged
from cae_runtime.jobs.heat_maps.partial_scores import PARTS, parts_in, write_part
from cae_runtime.jobs.heat_maps.table import Verdict
from cae_runtime.jobs.heat_maps.threshold import identity_of_model
from cae_runtime.jobs.other_tasks import Outcome, Request
from cae_runtime.jobs.paths import prepare_output
from cae_runtime.jobs.planning import Job, Plan
from cae_runtime.jobs.progress import Progress
from cae_runtime.tasks.anomaly.detector import Detector


def run(session: Session, request: Request, cluster: RayCluster) -> Outcome:
    """Do what `jobs.anomaly.run` does by the workers of a cluster, which keep their rows until the table has them.

    Raises:
        UsageError: as there; or the output is a file.
        CaeRuntimeError: as there, and as `RayCluster.run` raises it.
    """
    return anomaly.run(session, request, partial(_judged, cluster, request.batch))


def _judged(
    cluster: RayCluster, batch: int | None, judge: Judge, plan: Plan, to_do: Sequence[Job], out: Path
) -> Iterator[Judged]:
    """Score pictures on a cluster; see `jobs.anomaly.Elsewhere`."""
    check_places(plan)
    prepare_output(out / PARTS)
    session = judge.detector.session
    work = Judging(
        out, max(parts_in(out), default=-1) + 1, identity_of_model(session, judge.region), batch, judge.threshold,
        judge.region, judge.raw_maps, judge.defect_masks,
    )  # fmt: skip
    with (
        Progress(len(to_do), "looking") as progress,
        contextlib.closing(cluster.run(to_do, work, session, out)) as results,
    ):
        for each in results:
            yield replace(each, verdict=replace(each.verdict, node=each.node))
            progress.on_file()


@dataclass(frozen=True)
class Judging(Work):
    """Scores pictures and writes their maps.

    Attributes:
        out: the folder of the heat maps.
        first: the number of the first part that is written.
        model: what identifies the model in the table.
        batch: as of `Detector`.
        threshold: as of `Judge`, like those that follow.
    """

    out: Path
    first: int
    model: str
    batch: int | None
    threshold: float
    region: NDArray[np.bool_] | None
    raw_maps: bool
    defect_masks: bool

    def opened(self, session: Session) -> OpenedWork:
        """Return the object that scores pictures; see `Work`."""
        detector = Detector(session, batch=self.batch)
        return _Judging(Judge(detector, self.threshold, self.region, self.raw_maps, self.defect_masks), self)

    def blocks(self, jobs: Sequence[Job], workers: int) -> list[list[Numbered]]:
        """Divide the pictures into blocks of a few seconds of work."""
        return blocks_of(jobs, workers)


class _Judging(OpenedWork):
    def __init__(self, judge: Judge, work: Judging) -> None:
        self._judge, self._work = judge, work

    def do(self, number: int, block: Sequence[Numbered], again: bool, worker: Supervisor) -> None:
        """Score the pictures of a block, and write a part of the table; after Ctrl-C, of those that are done."""
        files = {str(job.output): file for file, job in block}
        verdicts: list[Verdict] = [known.verdict for file, _ in block if (known := worker.known(file)) is not None]
        try:
            left = [each for each in block if worker.known(each[0]) is None]
            for picture in self.pictures(number, left, again, worker):
                result = judged(self._judge, picture)
                worker.hand_in(files[result.output], result)
                verdicts.append(result.verdict)
                worker.look()
        finally:
            work = self._work
            write_part(work.out, work.first + number, verdicts, work.threshold, work.model)

    def left_out(self, number: int, job: Job, reason: str) -> Judged:
        """Return the result of a picture that is left out."""
        return Judged(str(job.output), Verdict(str(job.source), "failed", reason))

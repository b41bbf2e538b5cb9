"""Task `anomaly`: where a picture differs from the good ones that a model was trained on, and whether it is one.

The model scores every pixel of a patch by how badly it is given back. Where patches overlap the scores are blended, as
cleaned patches are. A picture is as bad as its worst patch: its score is the largest mean over a patch. It is an
anomaly when that exceeds the threshold in the model's file, which a known share of good pictures did.
"""

from __future__ import annotations

import contextlib
import csv
import heapq
import io
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from cae_runtime.contact_sheet import Cell, contact_sheet, thumbnail, to_bgr
from cae_runtime.errors import ImageError, ProviderError, UsageError
from cae_runtime.images import write_file
from cae_runtime.patches import Grid
from cae_runtime.plan import is_folder, prepare_output
from cae_runtime.session import Session, open_for
from cae_runtime.tasks import Outcome, Request
from cae_runtime.tasks.pictures import NO_MEMORY, Opened, images_of, opened
from cae_runtime.tiles import Floats, Strips, window

HEEDED: Final = frozenset({"sources", "overlap"})
SHEET: Final = "sheet.png"
TABLE: Final = "scores.csv"
SUFFIX: Final = "_heat"
_SHEET_PICTURES, _SHEET_COLUMNS = 60, 6
_BAD, _GOOD = (40, 40, 220), (90, 170, 60)  # of frames, BGR
_FULL_HEAT: Final = 3.0  # times `threshold_pixel`: where the colours end
_OPACITY: Final = 0.65


@dataclass(frozen=True)
class Detection:
    """What a picture looks like to the detector.

    Attributes:
        score: of the picture, 0 or more; above the model's `threshold` it is an anomaly.
        heat: of each pixel, (H, W) float32, 0 or more.
        anomaly: whether `score` exceeds the threshold.
    """

    score: float
    heat: Floats
    anomaly: bool


class Detector:
    """Finds what is unlike the good pictures that a model of task `anomaly` was trained on.

    Args:
        model: the path of a file that `cae-export --anomaly` wrote, or an opened one.
        provider: as `cae_runtime.Restorer` takes it.
        threads: as there.
        overlap: pixels shared by neighbouring patches, 0..patch-1; None takes the model's recommendation, for which its
            threshold was found.
        batch: patches a call of the model; None takes 32 of 32x32.

    Attributes:
        session: the opened model; `session.spec.threshold` is that of `score`.

    Raises:
        ModelError: the model cannot be used, or its task is not `anomaly`.
        ProviderError: the provider that was named is not there or did not start.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | Session,
        *,
        provider: str = "auto",
        threads: int | None = None,
        overlap: int | None = None,
        batch: int | None = None,
    ) -> None:
        self.session = open_for("anomaly", model, provider, threads)
        self._overlap, self._batch = overlap, batch
        self._pool = ThreadPoolExecutor(self.session.workers, "cae-worker")

    def __call__(self, image: NDArray[Any]) -> Detection:
        """Score a picture.

        Args:
            image: as `cae_runtime.patches.Grid` takes it.

        Raises:
            ImageError, ProviderError, UsageError: as there.
        """
        grid, patch = Grid(self.session, image, overlap=self._overlap, batch=self._batch), self.session.spec.patch
        weights_y, weights_x = (window(starts, patch, grid.overlap) for starts in (grid.ys, grid.xs))
        heat = np.zeros((int(grid.ys[-1]) + patch, int(grid.xs[-1]) + patch), np.float32)
        score = 0.0
        strips: Strips | None = None
        with contextlib.closing(grid.run(self._pool)) as parts:
            for rows, columns, scores in parts:  # (ny, nx, 1, P, P)
                score = max(score, float(scores.mean(axis=(2, 3, 4), dtype=np.float64).max()))
                strips = strips or Strips(len(scores), 1, patch, grid.xs)
                strips.put(scores, weights_x[columns], columns.start)
                if columns.stop == len(grid.xs):
                    ys = grid.ys[rows]
                    heat[ys[0] : ys[-1] + patch] += strips.sum(ys - ys[0], weights_y[rows])[0]
                    strips = None
        height, width = grid.size
        threshold = self.session.spec.threshold or 0.0
        return Detection(score, heat[:height, :width], score > threshold)

    def overlay(self, image: NDArray[Any], heat: Floats) -> NDArray[np.uint8]:
        """Return a picture in grey with its heat in colours over it, uint8 (H, W, 3) BGR.

        What good pictures have too stays grey; red begins at three times what one in a thousand of their pixels
        exceeds.
        """
        grey = cv2.cvtColor(cv2.cvtColor(to_bgr(image), cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
        unit = self.session.spec.threshold_pixel or 1.0
        level = ((heat / unit - 1) / (_FULL_HEAT - 1)).clip(0, 1)
        colors = cv2.applyColorMap(np.rint((1 - level) * 255).astype(np.uint8), cv2.COLORMAP_AUTUMN)  # yellow to red
        share = (level > 0)[..., None] * np.float32(_OPACITY)
        mixed: NDArray[np.uint8] = np.rint(grey * (1 - share) + colors * share).astype(np.uint8)
        return mixed


@dataclass(frozen=True)
class Verdict:
    """What became of one picture; `score` and `anomaly` are None where it failed, `heat_map` is empty then."""

    source: str
    status: Literal["done", "failed"]
    reason: str = ""
    heat_map: str = ""
    score: float | None = None
    anomaly: bool | None = None


def run(session: Session, request: Request) -> Outcome:
    """Write to the folder `request.output` a heat map for each picture, the scores and a contact sheet, worst first.

    Raises:
        UsageError: sources without images, or an output that cannot be written.
        ModelError, ProviderError: as `Detector` raises them.
    """
    if is_folder(request.output, "output") is False:
        raise UsageError(f"output {str(request.output)!r} is a file: name a folder")
    plan = images_of(request.sources, request.output, suffix=SUFFIX, ext=".png")
    _refuse_one_name(plan.jobs)
    table, sheet = request.output / TABLE, request.output / SHEET
    plan = replace(plan, jobs=tuple(job for job in plan.jobs if job.source.resolve() != sheet.resolve()))
    if is_folder(table, "output") is not None and not request.overwrite:
        request.tell(f"skipped: {str(table)!r} exists (--overwrite replaces it)")
        return Outcome({"output": str(request.output), "skipped": True})
    detector = Detector(session, overlap=request.overlap, batch=request.batch)
    prepare_output(request.output)
    verdicts = [Verdict(str(at.path), "failed", at.reason) for at in plan.unreadable]
    worst: list[tuple[float, int, Cell]] = []
    for number, picture in enumerate(opened(plan, "looking")):
        verdict, cell = _judge(detector, picture)
        verdicts.append(verdict)
        if cell is not None and verdict.score is not None:
            keep = heapq.heappush if len(worst) < _SHEET_PICTURES else heapq.heappushpop
            keep(worst, (verdict.score, -number, cell))
    done = sorted((v for v in verdicts if v.score is not None), key=lambda v: -(v.score or 0))
    failed = [v for v in verdicts if v.status == "failed"]
    if done:
        cells = [cell for _, _, cell in sorted(worst, key=lambda entry: entry[:2], reverse=True)]
        write_file(sheet, _png(contact_sheet(cells, _SHEET_COLUMNS)))
        write_file(table, _csv(done, session.spec.threshold or 0.0))
    for verdict in failed:
        request.tell(f"failed: {verdict.source!r} {verdict.reason}")
    anomalies = sum(bool(verdict.anomaly) for verdict in done)
    rate = session.spec.false_alarms or 0.0
    request.tell(
        f"{anomalies} of {len(done)} images are anomalies: their score is above {session.spec.threshold:.4g}, as is "
        f"that of {rate:.1%} of good ones; {session.provider} -> {request.output}/"
    )
    return Outcome(
        {
            "output": str(request.output),
            "provider": session.provider,
            "threshold": session.spec.threshold,
            "false_alarms": session.spec.false_alarms,
            "anomalies": anomalies,
            "left_out": plan.left_out,
            "files": [asdict(verdict) for verdict in (*done, *failed)],
        },
        failed=bool(failed),
    )


def _judge(detector: Detector, picture: Opened) -> tuple[Verdict, Cell | None]:
    """Score a picture and write its heat map."""
    source, output = str(picture.job.source), picture.job.output
    if picture.pixels is None:
        return Verdict(source, "failed", picture.reason), None
    try:
        found = detector(picture.pixels)
        drawn = detector.overlay(picture.pixels, found.heat)
        write_file(output, _png(drawn))
    except (ImageError, ProviderError) as e:
        return Verdict(source, "failed", str(e)), None
    except MemoryError:
        return Verdict(source, "failed", NO_MEMORY), None
    caption = f"{found.score:.3g} {picture.job.source.name}"
    cell = Cell(thumbnail(drawn), caption, _BAD if found.anomaly else _GOOD)
    return Verdict(source, "done", "", str(output), found.score, found.anomaly), cell


def _refuse_one_name(jobs: Sequence[Any]) -> None:
    """Refuse pictures whose heat maps would have one name."""
    first: dict[str, Any] = {}
    for job in jobs:
        other = first.setdefault(str(job.output).casefold(), job)
        if other is not job:
            raise UsageError(f"{str(other.source)!r} and {str(job.source)!r} would both have the heat map "
                             f"{str(job.output)!r}: look at them in two calls")  # fmt: skip


def _csv(verdicts: Sequence[Verdict], threshold: float) -> bytes:
    text = io.StringIO(newline="")
    table = csv.writer(text)
    table.writerow(["path", "score", "threshold", "anomaly"])
    for verdict in verdicts:
        table.writerow([verdict.source, f"{verdict.score:.8g}", f"{threshold:.8g}", int(bool(verdict.anomaly))])
    return text.getvalue().encode()


def _png(image: NDArray[np.uint8]) -> bytes:
    return cv2.imencode(".png", image)[1].tobytes()

"""Task `anomaly`: where a picture differs from the good ones that a model was trained on, and whether it is one.

The model scores every pixel of a patch by how unusual it is. Where patches overlap the scores are blended, as
cleaned patches are. A picture is as bad as its worst patch: its score is the largest mean over a patch. It is an
anomaly when that exceeds the threshold in the model's file, which a known share of good pictures did.
"""

from __future__ import annotations

import csv
import heapq
import io
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from cae_runtime.arguments import check_image
from cae_runtime.inference.patch_model import PatchModel
from cae_runtime.inference.session import Session
from cae_runtime.inference.tiling import Floats, OverlapAdder, window
from cae_runtime.io.contact_sheet import Cell, contact_sheet, thumbnail, to_bgr
from cae_runtime.io.image_files import write_file
from cae_runtime.jobs.opened_images import Opened, images_of, opened, tried
from cae_runtime.jobs.planning import check_folder, is_folder, prepare_output, refuse_overwriting, to_do
from cae_runtime.jobs.report import failures
from cae_runtime.jobs.requests import Outcome, Request

HEEDED: Final = frozenset({"sources"})
SHEET: Final = "sheet.png"
TABLE: Final = "scores.csv"
ENDING: Final = "_heat.png"  # behind the name of the picture
_SHEET_PICTURES, _SHEET_COLUMNS = 60, 6
_BAD, _GOOD = (40, 40, 220), (90, 170, 60)  # of frames, BGR
_FULL_HEAT: Final = 3.0  # times `threshold_pixel`: where the colours end
_OPACITY: Final = 0.65
_BAND: Final = 256  # rows of a picture that are drawn at once
_OTHER_SIZE: Final = 1.25  # times the pixels that the thresholds were found on: worth a note


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


class Detector(PatchModel):
    """Finds what is unlike the good pictures that a model of task `anomaly` was trained on.

    Made of a file that `cae-export --anomaly` wrote, with the arguments, attributes and errors of `PatchModel`; the
    threshold of `score`, `session.spec.threshold`, was found for the recommended overlap.
    """

    task = "anomaly"

    def __call__(self, image: NDArray[Any]) -> Detection:
        """Score a picture.

        Args:
            image: as `cae_runtime.inference.patch_model.Grid` takes it.

        Raises:
            ImageError, ProviderError: as there.
        """
        grid, patch = self._grid(image), self.session.spec.patch
        weights_y, weights_x = (window(starts, patch, grid.overlap) for starts in (grid.ys, grid.xs))
        heat = np.zeros((int(grid.ys[-1]) + patch, int(grid.xs[-1]) + patch), np.float32)
        score = 0.0
        strips: OverlapAdder | None = None
        with self._over(grid) as parts:
            for rows, columns, scores in parts:  # (ny, nx, 1, P, P)
                score = max(score, float(scores.mean(axis=(2, 3, 4), dtype=np.float64).max()))
                strips = strips or OverlapAdder(len(scores), 1, patch, grid.xs)
                strips.put(scores, weights_x[columns], columns.start)
                if columns.stop == len(grid.xs):
                    ys = grid.ys[rows]
                    heat[ys[0] : ys[-1] + patch] += strips.sum(ys - ys[0], weights_y[rows])[0]
                    strips = None
        height, width = grid.size
        threshold = self.session.spec.threshold or 0.0
        return Detection(score, heat[:height, :width], score > threshold)

    def overlay(self, image: NDArray[Any], heat: Floats) -> NDArray[np.uint8]:
        """Return a picture in gray with its heat in colors over it, uint8 (H, W, 3) in the order of `color`.

        What good pictures have too stays gray; red begins at three times what one in a thousand of their pixels
        exceeds.
        """
        check_image(image)
        unit = self.session.spec.threshold_pixel or 1.0
        to_gray = cv2.COLOR_BGR2GRAY if self._bgr else cv2.COLOR_RGB2GRAY
        result = np.empty((*image.shape[:2], 3), np.uint8)
        for top in range(0, len(image), _BAND):  # what is made on the way is as small as a band
            rows = slice(top, top + _BAND)
            grey = cv2.cvtColor(cv2.cvtColor(to_bgr(image[rows]), to_gray), cv2.COLOR_GRAY2BGR)
            level = ((heat[rows] / unit - 1) / (_FULL_HEAT - 1)).clip(0, 1)
            colors = cv2.applyColorMap(np.rint((1 - level) * 255).astype(np.uint8), cv2.COLORMAP_AUTUMN)
            colors = colors if self._bgr else cv2.cvtColor(colors, cv2.COLOR_BGR2RGB)
            share = (level > 0)[..., None] * np.float32(_OPACITY)
            result[rows] = np.rint(grey * (1 - share) + colors * share)  # yellow to red
        return result


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
    check_folder(request.output)
    detector = Detector(session, batch=request.batch)
    table, sheet = request.output / TABLE, request.output / SHEET
    plan = images_of(request.sources, request.output, name_of=lambda source: source.name + ENDING)
    if is_folder(table, "output") is not None:  # an earlier call was here: its sheet is none of the pictures
        plan = replace(plan, jobs=tuple(job for job in plan.jobs if job.source.resolve() != sheet.resolve()))
    refuse_overwriting(plan.jobs, [table, sheet])
    outputs = [*(job.output for job in plan.jobs), sheet, table]
    if not request.overwrite and not to_do(outputs):
        request.tell(f"skipped: {str(table)!r} and all others exist (--overwrite replaces them)")
        return Outcome({"output": str(request.output), "skipped": True})
    prepare_output(request.output)
    verdicts = [Verdict(str(at.path), "failed", at.reason) for at in plan.unreadable]
    worst: list[tuple[float, int, Cell]] = []
    other_sizes = 0
    for number, picture in enumerate(opened(plan, "looking")):
        verdict, cell = _judge(detector, picture)
        verdicts.append(verdict)
        if cell is not None and verdict.score is not None and picture.pixels is not None:
            keep = heapq.heappush if len(worst) < _SHEET_PICTURES else heapq.heappushpop
            keep(worst, (verdict.score, -number, cell))
            times = math.prod(picture.pixels.shape[:2]) / (session.spec.threshold_size or 1)
            other_sizes += not 1 / _OTHER_SIZE <= times <= _OTHER_SIZE
    done = sorted((v for v in verdicts if v.score is not None), key=lambda v: -(v.score or 0))
    failed = [v for v in verdicts if v.status == "failed"]
    for line in failures([(verdict.source, verdict.reason) for verdict in failed], plan):
        request.tell(line)
    anomalies = sum(bool(verdict.anomaly) for verdict in done)
    if not done:  # nothing of an earlier call is to be taken for this one's
        table.unlink(missing_ok=True)
        sheet.unlink(missing_ok=True)
    if done:
        cells = [cell for _, _, cell in sorted(worst, key=lambda entry: entry[:2], reverse=True)]
        write_file(sheet, _png(contact_sheet(cells, _SHEET_COLUMNS)))
        write_file(table, _csv(done, session.spec.threshold or 0.0))
        if other_sizes:
            request.tell(
                f"note: {other_sizes} images are over 20% smaller or 25% larger than the {session.spec.threshold_size} "
                "pixels that the threshold was found on: the larger a picture, the higher its worst patch"
            )
        request.tell(
            f"{anomalies} of {len(done)} images are anomalies: their score is above {session.spec.threshold:.4g}, as "
            f"was that of {session.spec.false_alarms:.1%} of the {session.spec.threshold_images} good ones that it was "
            f"set by; {session.provider} -> {request.output}/"
        )
    return Outcome(
        {
            "output": str(request.output),
            "provider": session.provider,
            "threshold": session.spec.threshold,
            "false_alarms": session.spec.false_alarms,
            "anomalies": anomalies,
            "left_out": len(plan.left_out),
            "files": [asdict(verdict) for verdict in (*done, *failed)],
        },
        failed=bool(failed),
    )


def _judge(detector: Detector, picture: Opened) -> tuple[Verdict, Cell | None]:
    """Score a picture and write its heat map."""
    source, output, pixels = str(picture.job.source), picture.job.output, picture.pixels
    if pixels is None:
        output.unlink(missing_ok=True)  # of an earlier call
        return Verdict(source, "failed", picture.reason), None

    def judged() -> tuple[Detection, NDArray[np.uint8]]:
        found = detector(pixels)
        drawn = detector.overlay(pixels, found.heat)
        write_file(output, _png(drawn))
        return found, drawn

    result, reason = tried(judged)
    if result is None:
        return Verdict(source, "failed", reason), None
    found, drawn = result
    caption = f"{found.score:.3g} {picture.job.source.name}"
    cell = Cell(thumbnail(drawn), caption, _BAD if found.anomaly else _GOOD)
    return Verdict(source, "done", "", str(output), found.score, found.anomaly), cell


def _csv(verdicts: Sequence[Verdict], threshold: float) -> bytes:
    text = io.StringIO(newline="")
    table = csv.writer(text)
    table.writerow(["path", "score", "threshold", "anomaly"])
    for verdict in verdicts:
        table.writerow([verdict.source, f"{verdict.score:.8g}", f"{threshold:.8g}", int(bool(verdict.anomaly))])
    return text.getvalue().encode(errors="surrogateescape")


def _png(image: NDArray[np.uint8]) -> bytes:
    return cv2.imencode(".png", image)[1].tobytes()

"""Anomalies among images: a heat map each, a table of their scores, and a contact sheet with the worst first."""

from __future__ import annotations

import csv
import heapq
import io
import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from cae_runtime.inference.session import Session
from cae_runtime.io.contact_sheet import Cell, contact_sheet, thumbnail
from cae_runtime.io.image_files import write_file
from cae_runtime.jobs.failures import failures
from cae_runtime.jobs.opened_images import Opened, images_of, opened, tried
from cae_runtime.jobs.other_tasks import Outcome, Request
from cae_runtime.jobs.paths import check_folder, outputs_missing, path_kind, prepare_output
from cae_runtime.jobs.planning import Plan, refuse_overwriting
from cae_runtime.tasks.anomaly import Detection, Detector

_log = logging.getLogger(__name__)

SHEET: Final = "sheet.png"
TABLE: Final = "scores.csv"
ENDING: Final = "_heat.png"  # appended to the name of the picture
_SHEET_PICTURES, _SHEET_COLUMNS = 60, 6
_BAD, _GOOD = (40, 40, 220), (90, 170, 60)  # of frames, BGR
_OTHER_SIZE: Final = 1.25  # factor by which the size may differ from that of the threshold's pictures without a note


@dataclass(frozen=True)
class Verdict:
    """The result of one picture; if it failed, `score` and `anomaly` are None and `heat_map` is empty."""

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
    if path_kind(table, "output") != "missing":  # the sheet of an earlier call is not a source picture
        plan = replace(plan, jobs=tuple(job for job in plan.jobs if job.source.resolve() != sheet.resolve()))
    refuse_overwriting(plan.jobs, [table, sheet])
    outputs = [*(job.output for job in plan.jobs), sheet, table]
    if not request.overwrite and not outputs_missing(outputs):
        _log.info("skipped: %r and all others exist (overwrite=True replaces them)", str(table))
        return Outcome({"output": str(request.output), "skipped": True})
    prepare_output(request.output)
    found = _judge_all(detector, plan)
    for line in failures([(verdict.source, verdict.reason) for verdict in found.failed], plan):
        _log.info("%s", line)
    if found.done:
        write_file(sheet, _png(contact_sheet(found.cells, _SHEET_COLUMNS)))
        write_file(table, _csv(found.done, session.spec.threshold or 0.0))
        for line in _summary(found, session, request.output):
            _log.info("%s", line)
    else:  # remove outputs of an earlier call
        table.unlink(missing_ok=True)
        sheet.unlink(missing_ok=True)
    return Outcome(
        {
            "output": str(request.output),
            "provider": session.provider,
            "threshold": session.spec.threshold,
            "false_alarms": session.spec.false_alarms,
            "anomalies": found.anomalies,
            "left_out": len(plan.left_out),
            "files": [asdict(verdict) for verdict in (*found.done, *found.failed)],
        },
        failed=bool(found.failed),
    )


@dataclass(frozen=True)
class _Found:
    """The results of all pictures.

    Attributes:
        done: the verdicts, worst first.
        failed: the pictures that could not be read or scored.
        cells: the worst pictures for the sheet, worst first.
        other_sizes: how many differ in size from the pictures that the threshold was found on.
    """

    done: list[Verdict]
    failed: list[Verdict]
    cells: list[Cell]
    other_sizes: int

    @property
    def anomalies(self) -> int:
        return sum(bool(verdict.anomaly) for verdict in self.done)


def _judge_all(detector: Detector, plan: Plan) -> _Found:
    """Score all pictures of a plan and write their heat maps."""
    verdicts = [Verdict(str(at.path), "failed", at.reason) for at in plan.unreadable]
    worst: list[tuple[float, int, Cell]] = []
    other_sizes = 0
    for number, picture in enumerate(opened(plan, "looking")):
        verdict, cell = _judge(detector, picture)
        verdicts.append(verdict)
        if cell is not None and verdict.score is not None and picture.pixels is not None:
            keep = heapq.heappush if len(worst) < _SHEET_PICTURES else heapq.heappushpop
            keep(worst, (verdict.score, -number, cell))
            times = math.prod(picture.pixels.shape[:2]) / (detector.session.spec.threshold_size or 1)
            other_sizes += not 1 / _OTHER_SIZE <= times <= _OTHER_SIZE
    done = sorted((v for v in verdicts if v.score is not None), key=lambda v: -(v.score or 0))
    failed = [v for v in verdicts if v.status == "failed"]
    cells = [cell for _, _, cell in sorted(worst, key=lambda entry: entry[:2], reverse=True)]
    return _Found(done, failed, cells, other_sizes)


def _summary(found: _Found, session: Session, output: Path) -> Iterator[str]:
    """Yield the lines for the user."""
    spec = session.spec
    if found.other_sizes:
        yield (
            f"note: {found.other_sizes} images are over 20% smaller or 25% larger than the {spec.threshold_size} "
            "pixels that the threshold was found on: the larger a picture, the higher its worst patch"
        )
    yield (
        f"{found.anomalies} of {len(found.done)} images are anomalies: their score is above {spec.threshold:.4g}, as "
        f"was that of {spec.false_alarms:.1%} of the {spec.threshold_images} good ones that it was "
        f"set by; {session.provider} -> {output}/"
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

"""Sets the threshold of a detector anew, from more good pictures and without a training (`cae-export --calibrate`)."""

import contextlib
import logging
import os
from dataclasses import dataclass, replace
from pathlib import Path

import onnx

from cae_export.defaults import FALSE_ALARMS
from cae_export.detector.thresholds import Seen, Thresholds, seen, thresholds_of
from cae_export.errors import ArgumentTypeError, UsageError, require_flag, require_number
from cae_export.graphs.onnx_files import build_file
from cae_export.proved_file import check_output, written_whole
from cae_runtime import CaeRuntimeError, ImageError, ModelSpec, Session
from cae_runtime.jobs.opened_images import images_of, opened
from cae_runtime.tasks.anomaly import Detector
from cae_shared.paths import checked_path
from cae_shared.text import counted

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CalibrationReport:
    """The file with its new threshold.

    Attributes:
        path: the file.
        spec: its metadata.
        bytes: its size.
        notes: remarks for the user.
    """

    path: Path
    spec: ModelSpec
    bytes: int
    notes: tuple[str, ...]


def calibrate(
    model: str | os.PathLike[str],
    good: str | os.PathLike[str],
    output: str | os.PathLike[str] | None = None,
    *,
    false_alarms: float | None = None,
    overwrite: bool = False,
) -> CalibrationReport:
    """Write a copy of a detector with thresholds from other good pictures; the network stays the same.

    Args:
        model: a file of task `anomaly` that `export_part` wrote.
        good: a folder of good pictures (or one picture) that the model was not trained on: that cannot be checked.
        output: the file to write; by default `model-calibrated.onnx` beside the model.
        false_alarms: share of good pictures above the threshold; None takes that of the model.
        overwrite: whether an existing output is replaced, which may be the model itself.

    Raises:
        OutputExistsError: the output exists, and `overwrite` is not set.
        UsageError: a model or pictures that cannot be used, or an output that cannot be written (also a TypeError if
            an argument has the wrong type).
        RefusedError: the pictures are too few, also for `false_alarms`, or all of one color; nothing is written.
    """
    source, folder = (
        checked_path(name, path, wrong_type=ArgumentTypeError, empty=UsageError)
        for name, path in (("model", model), ("calibrate", good))
    )
    target = (
        source.with_name(f"{source.stem}-calibrated.onnx")
        if output is None
        else checked_path("output", output, wrong_type=ArgumentTypeError, empty=UsageError)
    )
    require_flag("overwrite", overwrite)
    if false_alarms is not None:
        require_number("false_alarms", false_alarms)
    check_output(target, overwrite)
    try:
        with contextlib.closing(Session(source, provider="cpu")) as session:
            spec = session.spec
            if spec.task != "anomaly":
                raise UsageError(
                    f"model {str(source)!r} is made for task {spec.task!r}: only a detector (anomaly) has a threshold"
                )
            found, failed = _scored(session, folder)
    except CaeRuntimeError as e:
        raise UsageError(str(e)) from e
    notes = [f"not counted: {counted(failed, 'picture')} that could not be read"] if failed else []
    if false_alarms is None:
        false_alarms = FALSE_ALARMS if spec.false_alarms is None else spec.false_alarms
    limits = thresholds_of(found, false_alarms, notes)
    changed = _changed(spec, limits, false_alarms, folder.resolve().name)
    notes = [*limits.notes, *_known(spec, changed)]
    content = build_file(onnx.load(source), changed).content
    written_whole(target, content)
    return CalibrationReport(target, changed, len(content), tuple(notes))


def _scored(session: Session, folder: Path) -> tuple[list[Seen], int]:
    """Score good pictures; also return how many could not be read."""
    plan = images_of([folder], folder, leave_out=False)
    found: list[Seen] = []
    failed = len(plan.unreadable)
    with Detector(session) as detector:
        for picture in opened(plan, "looking"):
            try:
                if picture.pixels is None:
                    raise ImageError(picture.reason)
                made = detector(picture.pixels, progress=picture.progress)
            except ImageError as e:
                _log.warning("%r %s", str(picture.job.source), e)
                failed += 1
            else:
                found.append(seen(picture.pixels, session.spec, made.score, made.heat, len(plan.jobs)))
    return found, failed


def _known(before: ModelSpec, after: ModelSpec) -> list[str]:
    """Warn if as many pictures of a folder of this name set the threshold before: they may be the training pictures."""
    if not f" {before.evaluated_on}".endswith(f" {after.evaluated_on}"):
        return []
    return [
        f"{after.evaluated_on} set the threshold of this file before: if they are the same pictures, they may be those "
        "that the detector was fitted to, and the new threshold is too low; use pictures that it was not trained on"
    ]


def _changed(spec: ModelSpec, limits: Thresholds, false_alarms: float, name: str) -> ModelSpec:
    return replace(
        spec, threshold=limits.picture, threshold_pixel=limits.pixel, threshold_size=limits.size,
        threshold_images=limits.images, good_scores=limits.scores, good_brightness=limits.brightness,
        false_alarms=false_alarms, evaluated_on=f"{counted(limits.images, 'image')} of {name}",
    )  # fmt: skip

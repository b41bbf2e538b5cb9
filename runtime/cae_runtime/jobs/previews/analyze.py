"""Measures the noise of images before and after cleaning; writes nothing."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Final

from numpy.typing import NDArray

from cae_runtime.arguments import Progress as Reported
from cae_runtime.inference.session import Session
from cae_runtime.jobs.failures import failures
from cae_runtime.jobs.opened_images import images_of, opened, tried
from cae_runtime.jobs.restore.options import RestoreOptions
from cae_runtime.jobs.restore.restore_files import restorer_of
from cae_runtime.places.address import Place
from cae_runtime.tasks.noise_levels import PartNoise, noise_by_part
from cae_runtime.tasks.restore import Restorer
from cae_runtime.tasks.strengths import FULL, Strengths

_log = logging.getLogger(__name__)

_DETAIL: Final = (
    "* Cleaning at full strength leaves more than half of it: nothing is flat here, and the figure is mostly detail of "
    "the picture, not noise."
)
_HEAD: Final = f"{'':10}{'share':>7}{'brightness':>14}{'color':>18}"


def analyze(
    session: Session, sources: Sequence[Place], options: RestoreOptions
) -> tuple[dict[str, Any], list[str], bool]:
    """Measure the noise of images.

    Args:
        session: the model that cleans the images.
        sources: images and folders.
        options: of these, only `strength`, `stretch`, `overlap` and `batch` are used.

    Returns:
        The report as a JSON object, the same report as lines of text, and whether an image failed.

    Raises:
        UsageError: see `images_of`.
        ModelError: the model's output patches do not have the size of its input.
    """
    plan = images_of(sources, Path())
    document: dict[str, Any] = {"model": session.name, "provider": session.provider, "files": []}
    lines: list[str] = []
    failed = [(str(at.path), at.reason) for at in plan.unreadable]
    with restorer_of(session, options) as restorer:
        for picture in opened(plan, "measuring"):
            reason, source = picture.reason, str(picture.job.source)
            if picture.pixels is not None and picture.pixels.dtype.kind == "f":
                reason = "has floating-point values, which are not levels of 255: it can be cleaned, but not analyzed"
            elif picture.pixels is not None:
                pixels = picture.pixels
                measure = partial(_parts, restorer, pixels, options.strength, picture.progress)
                parts, reason = tried(measure)
                if parts is not None:
                    height, width = pixels.shape[:2]
                    document["files"].append(
                        {"source": source, "width": width, "height": height, "parts": [asdict(each) for each in parts]}
                    )
                    lines += [f"{source!r}, {width}x{height} pixels", _HEAD, *map(_row, parts), ""]
                    continue
            failed.append((source, reason))
    for line in failures(failed, plan):
        _log.info("%s", line)
    document["failed"] = [{"source": source, "reason": reason} for source, reason in failed]
    if lines:
        lines.append(
            "Standard deviations in levels of 255, before -> after cleaning, in the flattest tenth of the blocks of "
            "16x16 pixels."
        )
    if any(part["detail"] for file in document["files"] for part in file["parts"]):
        lines.append(_DETAIL)
    return document, lines, bool(failed)


def _parts(restorer: Restorer, pixels: NDArray[Any], strength: Strengths, progress: Reported | None) -> list[PartNoise]:
    cleaned = restorer(pixels, strength=strength, progress=progress)
    return noise_by_part(pixels, cleaned, None if strength == FULL else restorer(pixels))


def _row(part: PartNoise) -> str:
    return (
        f"  {part.part:8}{part.share:6.0%} {_change(part.brightness_before, part.brightness_after)}"
        f"    {_change(part.color_before, part.color_after)}{'  *' if part.detail else ''}"
    )


def _change(before: float | None, after: float | None) -> str:
    return f"{'-':>14}" if before is None or after is None else f"{before:5.1f} -> {after:5.2f}"

"""Draws a contact sheet: each picture as a whole, and a detail of it at full size before and after cleaning."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from cae_runtime.errors import UsageError
from cae_runtime.inference.session import Session
from cae_runtime.io.contact_sheet import CELL, Cell, contact_sheet, thumbnail
from cae_runtime.io.encoding import encode
from cae_runtime.io.formats import FORMAT_OF_SUFFIX, HEIC
from cae_runtime.io.image_files import Picture, write_file
from cae_runtime.io.metadata import Metadata
from cae_runtime.jobs.failures import failures
from cae_runtime.jobs.opened_images import each_once, images_of, opened, tried
from cae_runtime.jobs.paths import identity_of, path_kind
from cae_runtime.jobs.planning import Plan
from cae_runtime.jobs.previews.screen_colors import seen_as
from cae_runtime.jobs.restore.options import RestoreOptions
from cae_runtime.jobs.restore.report import note_lines
from cae_runtime.jobs.restore.restore_files import restorer_of
from cae_runtime.places.address import Place
from cae_runtime.tasks import any_range
from cae_runtime.tasks.notes import Note
from cae_runtime.tasks.restore import Restorer
from cae_shared.text import counted

_log = logging.getLogger(__name__)

_MOST: Final = 300  # pictures on a sheet
_COLUMNS: Final = 6  # of thumbnails: two pictures in a row
_LOOKED_AT: Final = 64  # rows and columns of the reduced picture on which the detail is chosen


def draw_sheet(session: Session, sources: Sequence[Place], sheet: Path, options: RestoreOptions) -> bool:
    """Draw a before-and-after sheet of images. Only the details are cleaned, which takes a fraction of the time.

    Args:
        session: the model that cleans the details.
        sources: images and folders.
        sheet: the image file to write.
        options: of these, only `strength`, `stretch`, `overlap`, `batch`, `quality` and `overwrite` are used.

    Returns:
        Whether an image failed.

    Raises:
        UsageError: see `images_of`; or `sheet` has no image suffix, or exists and `overwrite` is not set.
        ImageError: the sheet cannot be written.
        ModelError: the model's output patches do not have the size of its input.
    """
    format = _checked(sheet, options.overwrite)
    plan = _without_sheet(each_once(images_of(sources, sheet.parent, leave_out=False)), sheet)
    failed = [(str(at.path), at.reason) for at in plan.unreadable]
    cells: list[Cell] = []
    notes: list[tuple[str, Note]] = []
    with restorer_of(session, options) as restorer:
        for line in restorer.remarks:
            _log.info("%s", line)
        for picture in opened(plan, "drawing", first=True):
            reason, source = picture.reason, picture.job.source
            if picture.pixels is not None:
                drawn, reason = tried(partial(_cells, restorer, source, picture.pixels, options))
                if drawn is not None:
                    cells += drawn
                    notes += [(str(source), note) for note in picture.notes]
                    continue
            failed.append((str(source), reason))
    for line in [*failures(failed, plan), *note_lines(notes)]:
        _log.info("%s", line)
    if cells:
        pixels = contact_sheet(cells, _COLUMNS)
        write_file(sheet, encode(Picture(pixels, format, Metadata(), lossless=False), format, options.quality)[0])
        _log.info("drew %s -> %s", counted(len(cells) // 3, "image"), sheet)
    return bool(failed)


def _checked(sheet: Path, overwrite: bool) -> str:
    """Return the format of the sheet."""
    format = FORMAT_OF_SUFFIX.get(sheet.suffix.lower())
    if format is None or format == HEIC:
        known = ", ".join(suffix for suffix, each in FORMAT_OF_SUFFIX.items() if each != HEIC)
        raise UsageError(f"sheet {str(sheet)!r}: an image's name must end in one of {known}")
    kind = path_kind(sheet, "output")
    if kind == "folder" or (kind == "file" and not overwrite):
        why = "is a folder: name a file" if kind == "folder" else "exists (overwrite=True replaces it)"
        raise UsageError(f"sheet {str(sheet)!r} {why}")
    return format


def _without_sheet(plan: Plan, sheet: Path) -> Plan:
    """Return a plan without an earlier sheet, and with no more images than a sheet shows."""
    jobs = [job for job in plan.jobs if identity_of(job.source) != identity_of(sheet) or not sheet.exists()]
    if len(jobs) > _MOST:
        _log.info("note: the sheet shows %s of %s images, from first to last", _MOST, len(jobs))
        jobs = [jobs[number * len(jobs) // _MOST] for number in range(_MOST)]
    return replace(plan, jobs=tuple(jobs))


def _cells(restorer: Restorer, source: Place, pixels: NDArray[Any], options: RestoreOptions) -> list[Cell]:
    """Return three cells: the whole picture, a detail of it, and the same detail cleaned."""
    seen = seen_as(pixels, pixels)
    top, left = detail_of(seen)
    reach = restorer.spec.patch
    first, start = max(0, top - reach), max(0, left - reach)
    around = np.ascontiguousarray(pixels[first : top + CELL + reach, start : left + CELL + reach])
    if pixels.dtype == np.float32:
        scale = any_range.scale_of(pixels[..., :3] if pixels.ndim == 3 else pixels)
        cleaned = seen_as(any_range.cleaned(restorer, around, options.strength, scale=scale), pixels)
    else:
        cleaned = seen_as(restorer(around, strength=options.strength), around)
    rows, columns = slice(top - first, top - first + CELL), slice(left - start, left - start + CELL)
    return [
        Cell(thumbnail(seen), source.name),
        Cell(seen[top : top + CELL, left : left + CELL], "original"),
        Cell(cleaned[rows, columns], "cleaned"),
    ]


def detail_of(pixels: NDArray[Any]) -> tuple[int, int]:
    """Return top and left of the detail with the most contrast; it has `CELL` pixels per side.

    Args:
        pixels: (H, W, 3), uint8, BGR.
    """
    height, width = pixels.shape[:2]
    scale = max(1.0, max(height, width) / _LOOKED_AT)
    size = max(1, round(width / scale)), max(1, round(height / scale))
    small = cv2.cvtColor(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2GRAY)
    side = max(1, round(CELL / scale))
    values = small.astype(np.float32)
    window = (min(side, size[0]), min(side, size[1]))
    mean = cv2.blur(values, window)
    spread = cv2.blur(values * values, window) - mean * mean
    row, column = np.unravel_index(int(np.argmax(spread)), spread.shape)
    top, left = (round((int(at) + 0.5) * scale - CELL / 2) for at in (row, column))
    return min(max(0, top), max(0, height - CELL)), min(max(0, left), max(0, width - CELL))

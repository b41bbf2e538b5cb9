"""Features of images: a table, a `.npz` or `.csv` file with one row per image or per patch, or a map of the images."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Set
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cae_runtime.arguments import Progress
from cae_runtime.errors import UsageError
from cae_runtime.inference.session import Session
from cae_runtime.inference.tiling import Floats
from cae_runtime.jobs.failures import failures
from cae_runtime.jobs.features.existing_table import Found, check_existing
from cae_runtime.jobs.features.picture_map import MAP, PictureMap, checked_projection
from cae_runtime.jobs.features.table import SUFFIXES, Rows, write_table
from cae_runtime.jobs.opened_images import Opened, each_once, images_of, opened, tried
from cae_runtime.jobs.other_tasks import Outcome, Request
from cae_runtime.jobs.paths import path_kind, prepare_output
from cae_runtime.jobs.planning import Plan, refuse_sources
from cae_runtime.places.address import Place
from cae_runtime.places.copies import local_copy, local_output
from cae_runtime.places.reasons import StoreError
from cae_runtime.tasks.encode import Encoder
from cae_shared.text import counted, listed

_log = logging.getLogger(__name__)

OUTPUTS: Final = (*SUFFIXES, MAP)


def run(session: Session, request: Request) -> Outcome:
    """Write the features of all pictures to `request.output`, a `.npz` or `.csv` file, or draw them as a `.png` map.

    The file appears when all pictures are done. A picture that cannot be read is left out, and the outcome says so. A
    picture that several sources name counts once. Of a table, only the codes of one picture are in memory at a time.

    Raises:
        UsageError: an output of another kind, one that cannot be written, sources without images, or a table that
            exists and was made by another model, or of other pictures.
        MissingExtraError: the projection needs a package that is not installed.
        ModelError, ProviderError: see `Encoder`.
    """
    output = request.output
    if output.suffix.lower() not in OUTPUTS:
        raise UsageError(
            f"output {str(output)!r}: task 'encode' writes features, to a file that ends in {listed(SUFFIXES, 'or')}, "
            f"or a map, to one that ends in {MAP}"
        )
    draws = output.suffix.lower() == MAP
    if draws and request.per_patch:
        raise UsageError("per_patch=True is for tables: a map shows whole images")
    if request.projection is not None and not draws:
        raise UsageError(f"projection is for maps, and output {str(output)!r} is a table: name a file with {MAP}")
    projection = checked_projection(request.projection or "pca")
    plan = each_once(images_of(request.sources, output.parent, leave_out=False))
    there = path_kind(output, "output")
    if there == "folder":
        raise UsageError(f"output {str(output)!r} is a folder: name a file")
    encoder = Encoder(session, overlap=request.overlap, batch=request.batch)
    if draws:
        return _draw(encoder, plan, request, projection, there == "file")
    if there == "file" and not request.overwrite:
        pictures = {str(job.source) for job in plan.jobs}
        anew = partial(_rows_anew, encoder, plan, request.per_patch)
        checked(output, pictures, request.per_patch, session.name, anew)
        _log.info("skipped: %r exists, with the rows of these pictures (overwrite=True replaces it)", str(output))
        return Outcome({"output": str(output), "skipped": True})
    prepare_output(output.parent)
    encoded = _Encoded(encoder, plan, request.per_patch)
    with written(output) as here:
        count, width = write_table(here, (rows for _, rows in encoded))
    done = encoded.images
    if done:
        what = counted(done, "image")
        what = f"{count} patches of {what}" if request.per_patch else what
        _log.info("%s, %s features each, %s -> %s", what, width, session.provider, output)
    return _outcome(encoded, request, {"rows": count, "features": width})


@contextlib.contextmanager
def written(output: Place) -> Iterator[Path]:
    """A block with a path to write to, from which a store gets its file.

    Raises:
        UsageError: the store does not take it.
    """
    try:
        with local_output(output) as here:
            yield here
    except StoreError as e:
        raise UsageError(f"output {str(output)!r} cannot be written: {e.strerror}") from e


def checked(
    output: Place,
    pictures: Set[str],
    per_patch: bool,
    model: str,
    make: Callable[[str], Floats | None],
    *,
    partly: bool = False,
) -> Found:
    """Do what `check_existing` does, also with a table in a store."""
    try:
        with local_copy(output) as here:
            try:
                return check_existing(here, pictures, per_patch, model, make, partly=partly)
            except UsageError as e:
                raise UsageError(str(e).replace(repr(str(here)), repr(str(output)))) from e
    except StoreError as e:
        raise UsageError(f"output {str(output)!r} cannot be read: {e.strerror}") from e


def _draw(encoder: Encoder, plan: Plan, request: Request, projection: str, exists: bool) -> Outcome:
    """Draw a map."""
    output = request.output
    refuse_sources(plan.jobs, [output])
    if exists and not request.overwrite:
        raise UsageError(f"output {str(output)!r} exists: overwrite=True draws it anew, or name another file")
    prepare_output(output.parent)
    encoded = _Encoded(encoder, plan, False)
    drawn = PictureMap(len(plan.jobs))
    for picture, rows in encoded:
        drawn.add(rows.path, picture, rows.values[0])
    extra: dict[str, Any] = {"projection": projection, "files": []}
    if encoded.images:
        with written(output) as here:
            extra["files"] = drawn.write(here, projection)
        _log.info(
            "%s on a map of %s features (%s)%s, %s -> %s",
            counted(encoded.images, "image"), drawn.width, projection,
            f", {drawn.shown} of them drawn and the others dots" if drawn.shown < encoded.images else "",
            encoder.session.provider, output,
        )  # fmt: skip
    return _outcome(encoded, request, extra)


class _Encoded:
    """The pictures of a plan with their rows, made while they are taken.

    Attributes:
        images: how many pictures have given rows so far.
        failed: sources and reasons of those that have not.
    """

    def __init__(self, encoder: Encoder, plan: Plan, per_patch: bool) -> None:
        self.session, self.plan = encoder.session, plan
        self._encoder, self._per_patch = encoder, per_patch
        self.images = 0
        self.failed = [{"source": str(at.path), "reason": at.reason} for at in plan.unreadable]

    def __iter__(self) -> Iterator[tuple[NDArray[Any], Rows]]:
        for picture in opened(self.plan, "encoding"):
            rows, reason = rows_of(self._encoder, picture, self._per_patch)
            if rows is not None and picture.pixels is not None:
                self.images += 1
                yield picture.pixels, rows
            if reason:
                self.failed.append({"source": str(picture.job.source), "reason": reason})


def _outcome(encoded: _Encoded, request: Request, more: dict[str, Any]) -> Outcome:
    """Report what failed, and return the outcome."""
    for line in failures([(failure["source"], failure["reason"]) for failure in encoded.failed], encoded.plan):
        _log.info("%s", line)
    return Outcome(
        {
            "output": str(request.output) if encoded.images else None,
            "provider": encoded.session.provider,
            "images": encoded.images,
            **more,
            "left_out": len(encoded.plan.left_out),
            "failed": encoded.failed,
        },
        failed=bool(encoded.failed),
    )


def _rows_anew(encoder: Encoder, plan: Plan, per_patch: bool, path: str) -> Floats | None:
    """The rows of one picture of the plan; None if it cannot be read."""
    job = next(job for job in plan.jobs if str(job.source) == path)
    alone = opened(replace(plan, jobs=(job,)), "checking")
    ((rows, _),) = (rows_of(encoder, picture, per_patch) for picture in alone)
    return None if rows is None else rows.values


def rows_of(encoder: Encoder, picture: Opened, per_patch: bool) -> tuple[Rows | None, str]:
    """Return the rows of a picture, or None and the reason for the failure."""
    pixels = picture.pixels
    if pixels is None:
        return None, picture.reason
    result, reason = tried(partial(_encoded, encoder, pixels, per_patch, picture.progress))
    return None if result is None else Rows(str(picture.job.source), *result), reason


def _encoded(
    encoder: Encoder, pixels: NDArray[Any], per_patch: bool, progress: Progress | None
) -> tuple[Floats, NDArray[np.int32] | None]:
    if not per_patch:
        return encoder(pixels, progress=progress)[None], None
    places, codes = encoder.patches(pixels, progress=progress)
    return codes, places

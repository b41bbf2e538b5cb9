"""Features of images in one table, a `.npz` or `.csv` file with one row per image or per patch."""

from __future__ import annotations

import contextlib
import csv
import io
import logging
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
from numpy.typing import NDArray

from cae_runtime.errors import UsageError
from cae_runtime.inference.session import Session
from cae_runtime.inference.tiling import Floats
from cae_runtime.jobs.failures import failures
from cae_runtime.jobs.opened_images import images_of, opened, tried
from cae_runtime.jobs.other_tasks import Outcome, Request
from cae_runtime.jobs.paths import path_kind, prepare_output
from cae_runtime.jobs.planning import Plan
from cae_runtime.tasks.encode import Encoder
from cae_shared.temporary import discard, temporary_beside

_log = logging.getLogger(__name__)

SUFFIXES: Final = (".npz", ".csv")


@dataclass(frozen=True)
class _Rows:
    """The rows of one picture: one, or one per patch with its position."""

    path: str
    values: Floats
    places: NDArray[np.int32] | None


def run(session: Session, request: Request) -> Outcome:
    """Write the features of all pictures to `request.output`, a `.npz` or `.csv` file.

    The file appears when all pictures are done. A picture that cannot be read has no row, and the outcome says so. Only
    the codes of one picture are in memory at a time.

    Raises:
        UsageError: an output of another kind, one that cannot be written, or sources without images.
        ModelError, ProviderError: as `Encoder` raises them.
    """
    output = request.output
    if output.suffix.lower() not in SUFFIXES:
        raise UsageError(
            f"output {str(output)!r}: task 'encode' writes features, to a file that ends in {' or '.join(SUFFIXES)}"
        )
    plan = images_of(request.sources, output.parent, leave_out=False)
    there = path_kind(output, "output")
    if there == "folder":
        raise UsageError(f"output {str(output)!r} is a folder: name a file")
    encoder = Encoder(session, overlap=request.overlap, batch=request.batch)
    if there == "file" and not request.overwrite:
        _log.info("skipped: %r exists (overwrite=True replaces it)", str(output))
        return Outcome({"output": str(output), "skipped": True})
    prepare_output(output.parent)
    table = _Table(encoder, plan, request.per_patch)
    count, width = _write(output, table)
    for line in failures([(failure["source"], failure["reason"]) for failure in table.failed], plan):
        _log.info("%s", line)
    done = table.images
    if done:
        what = f"{count} patches of {done}" if request.per_patch else f"{done}"
        _log.info("%s images, %s features each, %s -> %s", what, width, session.provider, output)
    return Outcome(
        {
            "output": str(output) if done else None,
            "provider": session.provider,
            "images": done,
            "rows": count,
            "features": width,
            "left_out": len(plan.left_out),
            "failed": table.failed,
        },
        failed=bool(table.failed),
    )


class _Table:
    """The rows of all pictures of a plan, made while they are taken.

    Attributes:
        images: how many pictures have given rows so far.
        failed: sources and reasons of those that have not.
    """

    def __init__(self, encoder: Encoder, plan: Plan, per_patch: bool) -> None:
        self._encoder, self._plan, self._per_patch = encoder, plan, per_patch
        self.images = 0
        self.failed = [{"source": str(at.path), "reason": at.reason} for at in plan.unreadable]

    def __iter__(self) -> Iterator[_Rows]:
        for picture in opened(self._plan, "encoding"):
            path, pixels, reason = str(picture.job.source), picture.pixels, picture.reason
            if pixels is not None:
                result, reason = tried(partial(_encoded, self._encoder, pixels, self._per_patch))
                if result is not None:
                    self.images += 1
                    yield _Rows(path, *result)
            if reason:
                self.failed.append({"source": path, "reason": reason})


def _write(output: Path, table: _Table) -> tuple[int, int]:
    """Write a table, completely or not at all; return how many rows and features it has."""
    hidden = temporary_beside(output)
    write = _write_csv if output.suffix.lower() == ".csv" else _write_npz
    try:
        with hidden.open("xb") as file:
            size = write(file, iter(table), output.parent)
        if table.images:
            hidden.replace(output)
    except OSError as e:
        raise UsageError(f"output {str(output)!r} cannot be written: {e.strerror or e}") from e
    finally:
        discard(hidden)
    return size


def _encoded(encoder: Encoder, pixels: NDArray[Any], per_patch: bool) -> tuple[Floats, NDArray[np.int32] | None]:
    if not per_patch:
        return encoder(pixels)[None], None
    places, codes = encoder.patches(pixels)
    return codes, places


def _write_csv(file: IO[bytes], rows: Iterator[_Rows], _folder: Path) -> tuple[int, int]:
    """Write a table with a header; return how many rows and features it has."""
    text = io.TextIOWrapper(file, encoding="utf-8", errors="surrogateescape", newline="")
    table = csv.writer(text)
    count = width = 0
    for part in rows:
        if not count:
            width = part.values.shape[1]
            table.writerow(["path", *([] if part.places is None else ["x", "y"]), *(f"f{i}" for i in range(width))])
        places = [[]] * len(part.values) if part.places is None else part.places.tolist()
        for place, values in zip(places, part.values, strict=True):
            table.writerow([part.path, *place, *(f"{value:.8g}" for value in values.tolist())])
        count += len(part.values)
    text.flush()
    text.detach()
    return count, width


def _write_npz(file: IO[bytes], rows: Iterator[_Rows], folder: Path) -> tuple[int, int]:
    """Write `features` (N, D) float32, `paths` (N,) and, of patches, `places` (N, 2) as x and y; return N and D.

    Rows wait in temporary files in `folder` until their number is known.
    """
    counts: list[tuple[str, int]] = []
    width = 0
    with tempfile.TemporaryFile(dir=folder) as features, tempfile.TemporaryFile(dir=folder) as places:
        for part in rows:
            width = part.values.shape[1]
            features.write(part.values.data)
            if part.places is not None:
                places.write(part.places.data)
            counts.append((part.path, len(part.values)))
        count = sum(number for _, number in counts)
        longest = max((len(path) for path, _ in counts), default=1)
        with zipfile.ZipFile(file, "w", allowZip64=True) as archive:
            _copy(archive, "features", features, np.float32, (count, width))
            if places.tell():
                _copy(archive, "places", places, np.int32, (count, 2))
            with _member(archive, "paths", np.dtype(f"<U{longest}"), (count,)) as member:
                for path, number in counts:
                    member.write(np.full(number, path, f"<U{longest}").data)
    return count, width


def _copy(archive: zipfile.ZipFile, name: str, source: IO[bytes], dtype: type, shape: tuple[int, ...]) -> None:
    source.seek(0)
    with _member(archive, name, np.dtype(dtype), shape) as member:
        shutil.copyfileobj(source, member, 2**20)


@contextlib.contextmanager
def _member(archive: zipfile.ZipFile, name: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Iterator[IO[bytes]]:
    """An array of an `.npz` file, open for its values."""
    with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(member, header)
        yield member

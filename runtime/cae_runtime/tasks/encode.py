"""Task `encode`: pictures into rows of features, as scikit-learn takes them.

A row a picture is the mean of its codes, over its patches and over the places within each code, so that pictures of any
size have rows of one length. A row a patch is the whole code, in its own order, with the place of the patch.
"""

from __future__ import annotations

import contextlib
import csv
import io
import math
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
from numpy.typing import NDArray

from cae_runtime.errors import UsageError
from cae_runtime.inference.patch_model import PatchModel
from cae_runtime.inference.session import Session
from cae_runtime.inference.tiling import Floats
from cae_runtime.jobs.opened_images import images_of, opened, tried
from cae_runtime.jobs.planning import is_folder, prepare_output
from cae_runtime.jobs.report import failures as failure_lines
from cae_runtime.jobs.requests import Outcome, Request
from cae_shared.temporary import discard, temporary_beside

HEEDED: Final = frozenset({"sources", "overlap", "per_patch"})
SUFFIXES: Final = (".npz", ".csv")


class Encoder(PatchModel):
    """Gives the codes of pictures with a model of task `encode`.

    Made of a file that `cae-export --part encoder` wrote, with the arguments, attributes and errors of `PatchModel`;
    `session.code_shape` is the shape of one code.
    """

    task = "encode"

    def patches(self, image: NDArray[Any]) -> tuple[NDArray[np.int32], Floats]:
        """Return where the patches of a picture begin, (N, 2) as x and y, and their codes, (N, D) float32.

        Args:
            image: as `cae_runtime.inference.patch_model.Grid` takes it.

        Raises:
            ImageError, ProviderError: as there.
        """
        grid = self._grid(image)
        rows, columns = len(grid.ys), len(grid.xs)
        codes = np.empty((rows, columns, math.prod(self.session.code_shape)), np.float32)
        with self._over(grid) as parts:
            for y, x, part in parts:
                codes[y, x] = part.reshape(*part.shape[:2], -1)
        places = np.empty((rows, columns, 2), np.int32)
        places[..., 0], places[..., 1] = grid.xs, grid.ys[:, None]
        return places.reshape(-1, 2), codes.reshape(rows * columns, -1)

    def __call__(self, image: NDArray[Any]) -> Floats:
        """Return one row of features for a picture, (F,) float32: the mean over its patches, and over places in a code.

        Args:
            image: as `cae_runtime.inference.patch_model.Grid` takes it.

        Raises:
            ImageError, ProviderError: as there.
        """
        grid = self._grid(image)
        total = np.zeros(self.session.code_shape[0])
        count = 0
        with self._over(grid) as parts:
            for *_, codes in parts:  # (ny, nx, F, ...)
                codes = codes.reshape(-1, codes.shape[2], math.prod(codes.shape[3:]))
                total += codes.mean(axis=2, dtype=np.float64).sum(axis=0)
                count += len(codes)
        mean: Floats = (total / count).astype(np.float32)
        return mean


@dataclass(frozen=True)
class _Rows:
    """What one picture gives: a row, or one a patch with its place."""

    path: str
    values: Floats
    places: NDArray[np.int32] | None


def run(session: Session, request: Request) -> Outcome:
    """Write the features of all pictures to `request.output`, a `.npz` or `.csv` file.

    The file appears when all are done; a picture that cannot be read has no row, and the outcome says so. Memory is
    used for the codes of one picture, not for those of all.

    Raises:
        UsageError: an output of another kind, one that cannot be written, or sources without images.
        ModelError, ProviderError: as `Encoder` raises them.
    """
    suffix = request.output.suffix.lower()
    if suffix not in SUFFIXES:
        raise UsageError(
            f"output {str(request.output)!r}: task 'encode' writes features, to a file that ends in "
            f"{' or '.join(SUFFIXES)}"
        )
    plan = images_of(request.sources, request.output.parent, leave_out=False)
    there = is_folder(request.output, "output")
    if there:
        raise UsageError(f"output {str(request.output)!r} is a folder: name a file")
    encoder = Encoder(session, overlap=request.overlap, batch=request.batch)
    if there is not None and not request.overwrite:
        request.tell(f"skipped: {str(request.output)!r} exists (--overwrite replaces it)")
        return Outcome({"output": str(request.output), "skipped": True})
    prepare_output(request.output.parent)
    failures = [{"source": str(at.path), "reason": at.reason} for at in plan.unreadable]
    done = 0

    def rows() -> Iterator[_Rows]:
        nonlocal done
        for picture in opened(plan, "encoding"):
            path, pixels, reason = str(picture.job.source), picture.pixels, picture.reason
            if pixels is not None:
                result, reason = tried(lambda pixels=pixels: _encoded(encoder, pixels, request.per_patch))  # type: ignore[misc]
                if result is not None:
                    done += 1
                    yield _Rows(path, *result)
            if reason:
                failures.append({"source": path, "reason": reason})

    partial = temporary_beside(request.output)
    try:
        with partial.open("xb") as file:
            count, width = (_write_csv if suffix == ".csv" else _write_npz)(file, rows(), request.output.parent)
        if done:
            partial.replace(request.output)
    except OSError as e:
        raise UsageError(f"output {str(request.output)!r} cannot be written: {e.strerror or e}") from e
    finally:
        discard(partial)
    for line in failure_lines([(failure["source"], failure["reason"]) for failure in failures], plan):
        request.tell(line)
    if done:
        what = f"{count} patches of {done}" if request.per_patch else f"{done}"
        request.tell(f"{what} images, {width} features each, {session.provider} -> {request.output}")
    return Outcome(
        {
            "output": str(request.output) if done else None,
            "provider": session.provider,
            "images": done,
            "rows": count,
            "features": width,
            "left_out": len(plan.left_out),
            "failed": failures,
        },
        failed=bool(failures),
    )


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

    What is written waits in files of its own in `folder` until the number of rows is known.
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

"""Task `encode`: pictures into rows of features, as scikit-learn takes them.

A row a picture is the mean of its codes, over its patches and over the places within each code, so that pictures of any
size have rows of one length. A row a patch is the whole code, in its own order, with the place of the patch.
"""

from __future__ import annotations

import contextlib
import csv
import io
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import IO, Any, Final

import numpy as np
from numpy.typing import NDArray

from cae_runtime.errors import ImageError, ProviderError, UsageError
from cae_runtime.patches import Grid
from cae_runtime.plan import is_folder, prepare_output
from cae_runtime.session import Session, open_for
from cae_runtime.tasks import Outcome, Request
from cae_runtime.tasks.pictures import NO_MEMORY, images_of, opened
from cae_runtime.tiles import Floats

HEEDED: Final = frozenset({"sources", "overlap", "per_patch"})
SUFFIXES: Final = (".npz", ".csv")


class Encoder:
    """Gives the codes of pictures with a model of task `encode`.

    Args:
        model: the path of a file that `cae-export --part encoder` wrote, or an opened one.
        provider: as `cae_runtime.Restorer` takes it.
        threads: as there.
        overlap: pixels shared by neighbouring patches, 0..patch-1; None takes the model's recommendation.
        batch: patches a call of the model; None takes 32 of 32x32.

    Attributes:
        session: the opened model; `session.code_shape` is the shape of one code.

    Raises:
        ModelError: the model cannot be used, or its task is not `encode`.
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
        self.session = open_for("encode", model, provider, threads)
        self._overlap, self._batch = overlap, batch
        self._pool = ThreadPoolExecutor(self.session.workers, "cae-worker")

    def patches(self, image: NDArray[Any]) -> tuple[NDArray[np.intp], Floats]:
        """Return where the patches of a picture begin, (N, 2) as x and y, and their codes, (N, D) float32.

        Args:
            image: as `cae_runtime.patches.Grid` takes it.

        Raises:
            ImageError, ProviderError, UsageError: as there.
        """
        grid = Grid(self.session, image, overlap=self._overlap, batch=self._batch)
        with contextlib.closing(grid.run(self._pool)) as parts:
            codes = np.concatenate([codes.reshape(codes.shape[0] * codes.shape[1], -1) for *_, codes in parts])
        ys, xs = np.meshgrid(grid.ys, grid.xs, indexing="ij")
        return np.stack((xs.ravel(), ys.ravel()), axis=1), codes

    def __call__(self, image: NDArray[Any]) -> Floats:
        """Return one row of features for a picture, (F,) float32: the mean over its patches, and over places in a code.

        Args:
            image: as `cae_runtime.patches.Grid` takes it.

        Raises:
            ImageError, ProviderError, UsageError: as there.
        """
        grid = Grid(self.session, image, overlap=self._overlap, batch=self._batch)
        total = np.zeros(self.session.code_shape[0])
        count = 0
        with contextlib.closing(grid.run(self._pool)) as parts:
            for *_, codes in parts:  # (ny, nx, F, ...)
                codes = codes.reshape(-1, codes.shape[2], int(np.prod(codes.shape[3:])))
                total += codes.mean(axis=2, dtype=np.float64).sum(axis=0)
                count += len(codes)
        mean: Floats = (total / count).astype(np.float32)
        return mean


@dataclass(frozen=True)
class _Row:
    path: str
    place: tuple[int, int] | None
    values: Floats


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
    plan = images_of(request.sources, request.output.parent)
    there = is_folder(request.output, "output")
    if there:
        raise UsageError(f"output {str(request.output)!r} is a folder: name a file")
    if there is not None and not request.overwrite:
        request.tell(f"skipped: {str(request.output)!r} exists (--overwrite replaces it)")
        return Outcome({"output": str(request.output), "skipped": True})
    encoder = Encoder(session, overlap=request.overlap, batch=request.batch)
    prepare_output(request.output.parent)
    failures = [{"source": str(at.path), "reason": at.reason} for at in plan.unreadable]
    done = 0

    def rows() -> Iterator[_Row]:
        nonlocal done
        for picture in opened(plan, "encoding"):
            path, reason = str(picture.job.source), picture.reason
            try:
                if picture.pixels is not None:
                    if request.per_patch:
                        places, codes = encoder.patches(picture.pixels)
                        for (x, y), code in zip(places.tolist(), codes, strict=True):
                            yield _Row(path, (x, y), code)
                    else:
                        yield _Row(path, None, encoder(picture.pixels))
                    done += 1
            except (ImageError, ProviderError) as e:
                reason = str(e)
            except MemoryError:
                reason = NO_MEMORY
            if reason:
                failures.append({"source": path, "reason": reason})

    partial = request.output.with_name(f".{os.urandom(8).hex()}.partial")
    try:
        with partial.open("xb") as file:
            count, width = (_write_csv if suffix == ".csv" else _write_npz)(file, rows())
        if done:
            partial.replace(request.output)
    except OSError as e:
        raise UsageError(f"output {str(request.output)!r} cannot be written: {e.strerror or e}") from e
    finally:
        partial.unlink(missing_ok=True)
    for failure in failures:
        request.tell(f"failed: {failure['source']!r} {failure['reason']}")
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
            "left_out": plan.left_out,
            "failed": failures,
        },
        failed=bool(failures),
    )


def _write_csv(file: IO[bytes], rows: Iterator[_Row]) -> tuple[int, int]:
    """Write a table with a header; return how many rows and features it has."""
    text = io.TextIOWrapper(file, encoding="utf-8", newline="")
    table = csv.writer(text)
    count = width = 0
    for row in rows:
        if not count:
            width = len(row.values)
            table.writerow(["path", *(["x", "y"] if row.place else []), *(f"f{i}" for i in range(width))])
        table.writerow([row.path, *(row.place or ()), *(f"{value:.8g}" for value in row.values.tolist())])
        count += 1
    text.flush()
    text.detach()
    return count, width


def _write_npz(file: IO[bytes], rows: Iterator[_Row]) -> tuple[int, int]:
    """Write `features` (N, D) float32, `paths` (N,) and, of patches, `places` (N, 2) as x and y; return N and D.

    The features wait in a file of their own until their number is known.
    """
    paths: list[str] = []
    places: list[tuple[int, int]] = []
    width = 0
    with tempfile.TemporaryFile() as waiting:
        for row in rows:
            width = len(row.values)
            waiting.write(row.values.tobytes())
            paths.append(row.path)
            places += [row.place] if row.place else []
        waiting.seek(0)
        with zipfile.ZipFile(file, "w", allowZip64=True) as archive:
            with archive.open("features.npy", "w", force_zip64=True) as member:
                header = {"descr": "<f4", "fortran_order": False, "shape": (len(paths), width)}
                np.lib.format.write_array_header_1_0(member, header)
                shutil.copyfileobj(waiting, member, 2**20)
            _add(archive, "paths", np.array(paths, dtype=str))
            if places:
                _add(archive, "places", np.array(places, dtype=np.int64))
    return len(paths), width


def _add(archive: zipfile.ZipFile, name: str, values: NDArray[Any] | Sequence[str]) -> None:
    with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
        np.lib.format.write_array(member, np.asarray(values), allow_pickle=False)

"""Tables of features, `.npz` or `.csv`, with one row per picture or per patch."""

from __future__ import annotations

import contextlib
import csv
import io
import shutil
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
from numpy.typing import NDArray

from cae_runtime.errors import RanOutError, UsageError
from cae_runtime.inference.tiling import Floats
from cae_shared.limits import has_run_out
from cae_shared.temporary import discard, rename, temporary_beside

SUFFIXES: Final = (".npz", ".csv")


@dataclass(frozen=True)
class Rows:
    """The rows of one picture.

    Attributes:
        path: the picture.
        values: (N, D) float32, one row, or one per patch.
        places: of patches, (N, 2) as x and y; None for a picture as a whole.
    """

    path: str
    values: Floats
    places: NDArray[np.int32] | None


def write_table(output: Path, rows: Iterable[Rows]) -> tuple[int, int]:
    """Write a table, completely or not at all; return how many rows and features it has. Without rows there is none.

    Raises:
        UsageError: the file cannot be written.
        RanOutError: disk space ran out.
    """
    write = _write_csv if output.suffix.lower() == ".csv" else _write_npz
    hidden = temporary_beside(output)
    try:
        with hidden.open("xb") as file:
            size = write(file, iter(rows), output.parent)
        if size[0]:
            rename(hidden, output)
    except OSError as e:
        raise not_written(output, e) from e
    finally:
        discard(hidden)
    return size


def read_rows(table: Path) -> list[Rows]:
    """Return the rows of a `.npz` table, picture by picture.

    Raises:
        OSError, ValueError, KeyError: it is none, or cannot be read.
    """
    with np.load(table, allow_pickle=False) as arrays:
        paths, features = arrays["paths"], arrays["features"]
        places = arrays.get("places")
    begins = [0, *(np.flatnonzero(paths[1:] != paths[:-1]) + 1).tolist(), len(paths)]
    return [
        Rows(str(paths[begin]), features[begin:end], None if places is None else places[begin:end])
        for begin, end in pairwise(begins)
    ]


def not_written(output: Path, error: OSError) -> UsageError:
    """Return the error that says why an output cannot be written."""
    kind = RanOutError if has_run_out(error) else UsageError
    return kind(f"output {str(output)!r} cannot be written: {error.strerror or error}")


def header(per_patch: bool) -> list[str]:
    """Return the names of a CSV's columns before those of the features."""
    return ["path", "x", "y"] if per_patch else ["path"]


def _write_csv(file: IO[bytes], rows: Iterator[Rows], _folder: Path) -> tuple[int, int]:
    """Write a table with a header; return how many rows and features it has."""
    text = io.TextIOWrapper(file, encoding="utf-8", errors="surrogateescape", newline="")
    table = csv.writer(text, lineterminator="\n")
    count = width = 0
    for part in rows:
        if not count:
            width = part.values.shape[1]
            table.writerow([*header(part.places is not None), *(f"f{i}" for i in range(width))])
        places = [[]] * len(part.values) if part.places is None else part.places.tolist()
        for place, values in zip(places, part.values, strict=True):
            table.writerow([part.path, *place, *(f"{value:.8g}" for value in values.tolist())])
        count += len(part.values)
    text.flush()
    text.detach()
    return count, width


def _write_npz(file: IO[bytes], rows: Iterator[Rows], folder: Path) -> tuple[int, int]:
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

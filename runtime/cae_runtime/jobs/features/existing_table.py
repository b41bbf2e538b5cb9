"""Finds out whether a table of features that exists is the one that a call would write again."""

from __future__ import annotations

import csv
import zipfile
from collections import Counter
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import IO, Final

import numpy as np

from cae_runtime.errors import UsageError
from cae_runtime.inference.tiling import Floats
from cae_runtime.jobs.features.table import header

_ALIKE: Final = 0.002  # relative: arithmetic of other machines differs less, other models differ more
_WHAT_TO_DO: Final = "overwrite=True writes it anew, or name another file"


@dataclass(frozen=True)
class Found:
    """What a table holds.

    Attributes:
        rows: how many rows each picture has.
        per_patch: whether there is a row per patch.
        first: the picture of the first row.
        values: its rows, (N, D) float32.
    """

    rows: Mapping[str, int]
    per_patch: bool
    first: str
    values: Floats


def check_existing(
    output: Path,
    pictures: Set[str],
    per_patch: bool,
    model: str,
    make: Callable[[str], Floats | None],
    *,
    partly: bool = False,
) -> Found:
    """Refuse a table that this call would not write itself: one of another model or of other pictures, or no table.

    The rows of its first picture are computed again and compared. Returns what the table holds.

    Args:
        output: the table.
        pictures: the paths that have rows in the table of this call.
        per_patch: whether this call writes a row per patch.
        model: the model's name.
        make: makes the rows of a picture anew, (N, D) float32; None if it cannot be read.
        partly: whether pictures may be missing.

    Raises:
        UsageError: it is such a table.
    """
    found = read_head(output)
    if found.per_patch != per_patch:
        rows = "patch" if found.per_patch else "image"
        raise UsageError(f"output {str(output)!r} exists, with a row for each {rows}: {_WHAT_TO_DO}")
    missing, others = sorted(pictures - found.rows.keys()), sorted(found.rows.keys() - pictures)
    if partly:
        missing = []
    if missing or others:
        reasons = []
        if missing:
            reasons.append(f"it has no row of {_some(missing)} (a new picture, or one that failed)")
        if others:
            reasons.append(f"it has rows of others, {_some(others)}")
        raise UsageError(f"output {str(output)!r} exists, but {' and '.join(reasons)}: {_WHAT_TO_DO}")
    made = make(found.first)
    if made is not None and not _alike(made, found.values):
        raise UsageError(
            f"output {str(output)!r} exists, but another model or overlap made it, or its pictures have changed: model "
            f"{model!r} gives another row for {found.first!r}: {_WHAT_TO_DO}"
        )
    return found


def read_head(output: Path) -> Found:
    """Read which pictures a table has, and the rows of the first one.

    Raises:
        UsageError: it is no table of features, or cannot be read.
    """
    try:
        return (_head_of_csv if output.suffix.lower() == ".csv" else _head_of_npz)(output)
    except OSError as e:
        raise UsageError(f"output {str(output)!r} cannot be read: {e.strerror or e}") from e
    except Exception as e:  # NumPy's reader may raise anything on a damaged header
        raise UsageError(f"output {str(output)!r} exists, and is not a table of features: {_WHAT_TO_DO}") from e


def _head_of_csv(output: Path) -> Found:
    with output.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        rows = csv.reader(file)
        names = next(rows)
        per_patch = names[:3] == header(True)
        begin = len(header(per_patch))
        if names[:begin] != header(per_patch) or names[begin:] != [f"f{i}" for i in range(len(names) - begin)]:
            raise ValueError(names)
        row = next(rows)
        first, count, values = row[0], Counter([row[0]]), [row[begin:]]
        for row in rows:
            count[row[0]] += 1
            if row[0] == first:
                values.append(row[begin:])
    return Found(count, per_patch, first, np.array(values, np.float32))


def _head_of_npz(output: Path) -> Found:
    with zipfile.ZipFile(output) as archive:
        with archive.open("paths.npy") as member:
            paths = np.lib.format.read_array(member, allow_pickle=False)
        first = str(paths[0])
        count = sum(1 for _ in takewhile(lambda path: path == first, paths))
        with archive.open("features.npy") as member:
            values = _first_rows(member, count)
        return Found(Counter(paths.tolist()), "places.npy" in archive.namelist(), first, values)


def _first_rows(member: IO[bytes], count: int) -> Floats:
    """The first rows of a table whose rest stays on disk."""
    np.lib.format.read_magic(member)
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(member)
    if fortran or dtype != np.float32 or len(shape) != 2:
        raise ValueError(shape)
    data = member.read(count * shape[1] * dtype.itemsize)
    return np.frombuffer(data, np.float32).reshape(count, shape[1])


def _alike(made: Floats, found: Floats) -> bool:
    if made.shape != found.shape:
        return False
    size = max(float(np.linalg.norm(made)), float(np.linalg.norm(found)))
    return float(np.linalg.norm(made - found)) <= _ALIKE * size


def _some(paths: list[str]) -> str:
    more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
    return f"{paths[0]!r}{more}"

"""The scores of a call that has not ended, in `scores.parts/part-00000.csv` and so on.

Workers of a cluster write them as they go, and a call without a cluster if it is interrupted. They are tables like
`scores.csv`, which takes their rows when the call ends, or the next one if it did not.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from cae_runtime.errors import UsageError
from cae_runtime.io.image_files import write_file
from cae_runtime.jobs.heat_maps.table import Verdict, written_table

PARTS: Final = "scores.parts"
_PART: Final = re.compile(r"part-(\d{5,})\.csv")


def parts_in(folder: Path) -> dict[int, Path]:
    """Return the parts below a folder of heat maps, by their numbers.

    Raises:
        UsageError: they cannot be accessed.
    """
    try:
        places = list((folder / PARTS).iterdir()) if has_begun(folder) else []
    except OSError as e:
        raise UsageError(f"output folder {str(folder / PARTS)!r} cannot be accessed: {e.strerror}") from e
    return dict(sorted((int(match[1]), path) for path in places if (match := _PART.fullmatch(path.name))))


def has_begun(folder: Path) -> bool:
    """Return whether a call has begun to score into a folder, and has not ended."""
    return (folder / PARTS).is_dir()


def write_part(folder: Path, number: int, verdicts: Iterable[Verdict], threshold: float, model: str) -> None:
    """Write the rows of pictures that have a score.

    Raises:
        ImageError: they cannot be written.
    """
    scored = [verdict for verdict in verdicts if verdict.score is not None]
    if scored:
        write_file(folder / PARTS / f"part-{number:05}.csv", written_table(scored, threshold, folder, model))


def remove_parts(folder: Path) -> None:
    """Remove all parts."""
    shutil.rmtree(folder / PARTS, ignore_errors=True)

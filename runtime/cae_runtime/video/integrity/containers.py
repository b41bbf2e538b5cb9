"""Checks whether a video file is complete according to the headers of its container.

Only headers are read: boxes of MP4 and MOV, elements of Matroska and WebM, chunks of AVI. Damage inside a frame's data
is found by the decoder, not here.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from cae_runtime.video.integrity import avi, matroska, mp4


@dataclass(frozen=True)
class _Container:
    """The checks for one container; both functions take the open file and its size in bytes."""

    is_cut_off: Callable[[BinaryIO, int], bool | None]
    holes_in: Callable[[BinaryIO, int, int], list[int]]


_BY_SIGNATURE: Final = {
    matroska.SIGNATURE: _Container(matroska.is_cut_off, matroska.holes_in),
    avi.SIGNATURE: _Container(avi.is_cut_off, avi.holes_in),
}
_MP4: Final = _Container(mp4.is_cut_off, mp4.holes_in)  # begins with a length


def is_cut_off(path: Path) -> bool | None:
    """Return whether a file ends before its container does.

    Returns:
        True or False; None if the container does not say how long it is, or has more than 100,000 parts.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        return _container_of(file).is_cut_off(file, _size(file))


def holes_in(path: Path, parts_max: int) -> list[int]:
    """Return the positions where a part should begin but does not, in increasing order.

    For Matroska, this finds all such positions, and blocks whose flags are damaged; for the other formats, only the
    first one. An MP4 or MOV has one table of all frames, so holes between its boxes matter only if it is fragmented.

    Args:
        path: the file.
        parts_max: the most parts to read; each needs a seek and a read.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        return _container_of(file).holes_in(file, _size(file), parts_max)


def _container_of(file: BinaryIO) -> _Container:
    return _BY_SIGNATURE.get(file.read(4), _MP4)


def _size(file: BinaryIO) -> int:
    return os.fstat(file.fileno()).st_size

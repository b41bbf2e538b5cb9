"""How far a video file is whole, by what its container announces.

Only headers are read: boxes of MP4 and MOV, elements of Matroska and WebM, chunks of AVI. Damage inside a frame's
data is not seen here: the decoder finds it.
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
    """How the files of one container are read; both functions take the open file and its size in bytes."""

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

    In Matroska these are all, and the blocks whose flags are damaged; in the other formats it is the first one. MP4 and
    MOV have one table of all frames: holes between their boxes matter only if the file is fragmented.

    Args:
        path: the file.
        parts_max: how many parts to read at most; each needs a seek and a read.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        return _container_of(file).holes_in(file, _size(file), parts_max)


def _container_of(file: BinaryIO) -> _Container:
    return _BY_SIGNATURE.get(file.read(4), _MP4)


def _size(file: BinaryIO) -> int:
    return os.fstat(file.fileno()).st_size

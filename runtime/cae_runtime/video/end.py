"""Whether a video file is cut off: what its container announces, compared with where the file ends.

Only the headers of the outermost parts are read: boxes of MP4 and MOV, elements of Matroska and WebM, chunks of AVI.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO, Final

_EBML: Final = 0x1A45DFA3
_OF_MP4: Final = {b"moov", b"mdat", b"moof"}  # the boxes that pictures and sound are lost with
_RIFF_SLACK: Final = 8  # bytes: some programs count the header twice
_PARTS_MAX: Final = 100_000  # each is a seek and a read; recordings have a few thousand


def is_cut_off(path: Path) -> bool | None:
    """Tell whether a file ends before its container does.

    Returns:
        True or False; None where the container does not say how long it is, or has more than 100,000 parts.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        start = file.read(12)
        if start[:4] == _EBML.to_bytes(4, "big"):
            return _matroska(file, size)
        if start[:4] == b"RIFF":
            return _riff(file, size)
        return _mp4(file, size)


def _matroska(file: BinaryIO, size: int) -> bool | None:
    """Go from element to element; one of unknown length, as live recordings have them, is entered."""
    position, known = 0, False
    for _ in range(_PARTS_MAX):
        if position >= size:
            return False if known else None
        file.seek(position)
        head = file.read(12)
        identity, used = ebml_number(head, keep_marker=True)
        length, more = ebml_number(head[used:])
        if not used or not more:  # the header itself is cut off
            return True
        unknown = length == (1 << 7 * more) - 1
        position += used + more
        if unknown:
            continue
        known |= identity != _EBML
        position += length
        if position > size:
            return True
    return None


def ebml_number(data: bytes, keep_marker: bool = False) -> tuple[int, int]:
    """Read a number of variable length; return it and how many bytes it takes, 0 where they are not all there."""
    if not data or not data[0]:
        return 0, 0
    count = 9 - data[0].bit_length()
    if len(data) < count:
        return 0, 0
    value = int.from_bytes(data[:count], "big")
    return (value if keep_marker else value & ((1 << 7 * count) - 1)), count


def _riff(file: BinaryIO, size: int) -> bool | None:
    position, known = 0, False
    for _ in range(_PARTS_MAX):
        if position + 8 > size:
            return False if known else None
        file.seek(position)
        head = file.read(8)
        length = int.from_bytes(head[4:], "little")
        if head[:4] != b"RIFF" or not length:  # a recorder that was switched off has not filled it in
            return False if known else None
        position += 8 + length + length % 2
        known = True
        if position > size + _RIFF_SLACK:
            return True
    return None


def _mp4(file: BinaryIO, size: int) -> bool | None:
    position, known = 0, False
    for _ in range(_PARTS_MAX):
        if position + 8 > size:
            return False if known else None
        file.seek(position)
        head = file.read(16)
        length, kind = int.from_bytes(head[:4], "big"), head[4:8]
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        if length < 8:  # 0: up to the end of the file
            return False if known else None
        position += length
        known |= kind in _OF_MP4
        if position > size:
            return kind in _OF_MP4 or None
    return None

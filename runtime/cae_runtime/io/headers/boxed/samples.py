"""Where the frames of the tracks of an image sequence lie (ISO/IEC 14496-12, 8.7)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from cae_runtime.errors import ImageError
from cae_runtime.io.headers.boxed.boxes import Box, Fields, boxes, first

DAMAGED: Final = "is damaged: its number of frames is missing"
_ENTRY: Final = struct.Struct(">III")  # the first chunk that it is on, samples of each, and what describes them


def tables(data: bytes) -> Iterator[Box]:
    """Yield the table of samples of each track.

    Raises:
        ImageError: a track has none, or there is no track.
    """
    tracks = [box for box in boxes(data, *inside(data, b"moov", 0, len(data))) if box.name == b"trak"]
    if not tracks:
        raise ImageError(DAMAGED)
    for track in tracks:
        start, end = track.start, track.end
        for name in (b"mdia", b"minf", b"stbl"):
            start, end = inside(data, name, start, end)
        yield Box(b"stbl", start, end)


def inside(data: bytes, name: bytes, start: int, end: int) -> tuple[int, int]:
    """Return where the content of the first box of a name starts and ends.

    Raises:
        ImageError: there is none.
    """
    box = first(data, name, start, end)
    if box is None:
        raise ImageError(DAMAGED)
    return box.start, box.end


def frame_size(data: bytes, table: Box) -> tuple[int, int]:
    """Return the width and height that a track announces."""
    entries, _ = inside(data, b"stsd", table.start, table.end)
    fields = Fields(data, entries + 40, table.end)  # behind the count, and what every sample entry begins with
    return fields.number(2), fields.number(2)


def count(data: bytes, table: Box) -> int:
    """Return how many samples a track has."""
    start, end = inside(data, b"stsz", table.start, table.end)
    return Fields(data, start + 8, end).number(4)


def places(data: bytes, table: Box) -> Iterator[tuple[int, int]]:
    """Yield where each sample of a track starts and ends in the file.

    Raises:
        ImageError: a sample is not in the file.
    """
    start, end = inside(data, b"stsz", table.start, table.end)
    fields = Fields(data, start + 4, end)
    all_alike = fields.number(4)
    left = fields.number(4)
    per_chunk = _per_chunk(data, table)
    for number, at in enumerate(_chunks(data, table), start=1):
        for _ in range(min(left, per_chunk(number))):
            size = all_alike or fields.number(4)
            if at + size > len(data):
                raise ImageError("is truncated: the end of the AVIF is missing")
            yield at, at + size
            at += size
            left -= 1
        if not left:
            return
    raise ImageError(DAMAGED)


class _per_chunk:  # noqa: N801 - used like a function
    """Returns how many samples a chunk has; chunks are asked for in order."""

    def __init__(self, data: bytes, table: Box) -> None:
        start, end = inside(data, b"stsc", table.start, table.end)
        fields = Fields(data, start + 4, end)
        self._left = fields.number(4)
        self._data, self._at, self._end, self._samples = data, fields.at, end, 0

    def __call__(self, chunk: int) -> int:
        while self._left and self._at + _ENTRY.size <= self._end:
            begin, samples, _ = _ENTRY.unpack_from(self._data, self._at)
            if begin > chunk:
                break
            self._samples = samples
            self._at += _ENTRY.size
            self._left -= 1
        return self._samples


def _chunks(data: bytes, table: Box) -> Iterator[int]:
    """Yield where each chunk starts."""
    wide = 4 if first(data, b"stco", table.start, table.end) else 8
    start, end = inside(data, b"stco" if wide == 4 else b"co64", table.start, table.end)
    fields = Fields(data, start + 4, end)
    for _ in range(fields.number(4)):
        yield fields.number(wide)

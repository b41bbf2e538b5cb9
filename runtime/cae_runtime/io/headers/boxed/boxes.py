"""Boxes of the ISO base media file format (ISO/IEC 14496-12): length, name, content, which may be boxes again."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from cae_runtime.errors import ImageError

BOXES_MAX: Final = 2**16  # in one file; pictures have tens, or a few hundred where they consist of tiles
_LARGE, _TO_THE_END = 1, 0  # lengths with a meaning of their own


@dataclass(frozen=True)
class Box:
    """One box: its name, and where its content starts and ends in the file."""

    name: bytes
    start: int
    end: int


def boxes(data: bytes, start: int, end: int) -> Iterator[Box]:
    """Yield the boxes between two positions of a file, in order.

    Raises:
        ImageError: a box is longer than what contains it: the file is truncated, or damaged.
        struct.error: there are not enough bytes for a box.
    """
    count = 0
    while start < end:
        length, name = struct.unpack_from(">I4s", data, start)
        content = start + 8
        if length == _LARGE:
            length, content = struct.unpack_from(">Q", data, content)[0], content + 8
        stop = end if length == _TO_THE_END else start + length
        if stop > end or stop < content:
            raise ImageError("is truncated or damaged: it ends inside a box")
        count += 1
        if count > BOXES_MAX:
            raise ImageError(f"has more than {BOXES_MAX} boxes, the limit")
        yield Box(name, content, stop)
        start = stop


def first(data: bytes, name: bytes, start: int, end: int) -> Box | None:
    """Return the first box of a name; None if there is none."""
    return next((box for box in boxes(data, start, end) if box.name == name), None)


class Fields:
    """Reads big-endian numbers of a box one after the other.

    Args:
        data: the whole file.
        start: where the first number is.
        end: where the box ends.
    """

    def __init__(self, data: bytes, start: int, end: int) -> None:
        self._data, self.at, self._end = data, start, end

    def number(self, size: int) -> int:
        """Return the next number of `size` bytes; one of no bytes is 0.

        Raises:
            ImageError: the box ends before it.
        """
        if self.at + size > self._end:
            raise ImageError("is truncated or damaged: it ends inside a box")
        value = int.from_bytes(self._data[self.at : self.at + size], "big")
        self.at += size
        return value

    def text(self) -> bytes:
        """Return the next text, which ends with a zero byte or with the box."""
        end = self._data.find(b"\0", self.at, self._end)
        end = self._end if end < 0 else end
        value = self._data[self.at : end]
        self.at = end + 1
        return value

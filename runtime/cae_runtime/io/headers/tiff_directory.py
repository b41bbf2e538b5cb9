"""The directories of TIFFs, and of EXIF blocks, which are TIFFs too: all entries with their values."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

ORIENTATION: Final = 274
# Type number -> struct letter (text and undefined bytes are bytes). A rational is two of these numbers.
LETTERS: Final = {
    1: "B", 2: "B", 3: "H", 4: "I", 5: "I", 6: "b", 7: "B", 8: "h", 9: "i", 10: "i", 11: "f", 12: "d", 13: "I",
    16: "Q", 17: "q", 18: "Q",
}  # fmt: skip
RATIONALS: Final = {5, 10}
_TEXT: Final = {2, 7}
_WHOLE: Final = {1, 3, 4, 13, 16, 18}  # unsigned
_NUMBERS_MAX: Final = 2**16  # values of one tag; longer ones are read as arrays
# Exceptions from reading a file with invalid offsets.
DAMAGED: Final = (struct.error, IndexError, OverflowError, ValueError, KeyError)


@dataclass(frozen=True)
class Entry:
    """One entry of a directory.

    Attributes:
        tag: the tag's number.
        kind: the type's number, 1 BYTE to 18 IFD8.
        count: how many values there are (bytes of text).
        data: the bytes of the values; shorter than `count` says if the file is truncated, empty if the type is unknown.
        order: `<` or `>`.
    """

    tag: int
    kind: int
    count: int
    data: memoryview
    order: str

    def numbers(self) -> tuple[int | float, ...]:
        """Return the values: for a rational its numerator and denominator, for text its bytes.

        Raises:
            struct.error: the file ends before them.
            KeyError: the type is unknown.
            ValueError: there are more than 65536.
        """
        if self.count > _NUMBERS_MAX:
            raise ValueError(f"tag {self.tag} has {self.count} values")
        if self.kind in _TEXT:
            return tuple(self.data)
        numbers = self.count * (1 + (self.kind in RATIONALS))
        return struct.unpack_from(f"{self.order}{numbers}{LETTERS[self.kind]}", self.data)


@dataclass(frozen=True)
class Directory:
    """A directory of a TIFF.

    Attributes:
        entries: in file order; a damaged or hostile file may contain a tag twice.
        following: offset of the next directory, 0 if there is none.
    """

    entries: tuple[Entry, ...]
    following: int

    def __contains__(self, tag: int) -> bool:
        return any(entry.tag == tag for entry in self.entries)

    def get(self, tag: int) -> Entry | None:
        """Return the first entry of a tag, None if there is none."""
        return next((entry for entry in self.entries if entry.tag == tag), None)

    def number(self, tag: int, default: int) -> int:
        """Return the first value of a tag as an integer, `default` if there is none.

        Raises:
            struct.error: the file ends before it.
            KeyError: its type is unknown.
        """
        entry = self.get(tag)
        return default if entry is None or entry.count == 0 else int(entry.numbers()[0])

    def numbers(self, tag: int, default: tuple[int, ...]) -> tuple[int, ...]:
        """Return all values of a tag as integers; raises as `number`."""
        entry = self.get(tag)
        return default if entry is None else tuple(map(int, entry.numbers()))

    def array(self, tag: int) -> NDArray[Any]:
        """Return all values of an integer tag as an unsigned array; empty if it is missing.

        Raises:
            ValueError: the file ends before them.
            KeyError: they are not whole numbers.
        """
        entry = self.get(tag)
        if entry is None:
            return np.zeros(0, np.uint64)
        if entry.kind not in _WHOLE:
            raise KeyError(entry.kind)
        return np.frombuffer(entry.data, entry.order + LETTERS[entry.kind], entry.count).astype(np.uint64)


def byte_order(data: bytes | bytearray) -> tuple[str, bool, int]:
    """Return `<` or `>`, whether it is a BigTIFF, and the offset of the first directory; raises one of DAMAGED."""
    order = {b"II": "<", b"MM": ">"}[bytes(data[:2])]
    big = struct.unpack_from(order + "H", data, 2)[0] == 43
    offset: int = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)[0]
    return order, big, offset


def directory(data: bytes | bytearray, offset: int | None = None) -> Directory:
    """Read a directory of a TIFF or of an EXIF block.

    Args:
        data: the whole file; if it is a bytearray, the data of the entries can be changed.
        offset: where the directory is; None is the first one.

    Raises:
        struct.error, IndexError, OverflowError, ValueError, KeyError: (DAMAGED) it is missing or incomplete.
    """
    order, big, first = byte_order(data)
    offset = first if offset is None else offset
    view = memoryview(data)
    count = struct.unpack_from(order + ("Q" if big else "H"), data, offset)[0]
    offset += 8 if big else 2
    entries = []
    for _ in range(min(count, 0xFFFF)):
        tag, kind, length = struct.unpack_from(order + ("HHQ" if big else "HHI"), data, offset)
        size = length * size_of(kind)
        place = offset + (12 if big else 8)
        if size > (8 if big else 4):
            place = struct.unpack_from(order + ("Q" if big else "I"), data, place)[0]
        entries.append(Entry(tag, kind, length, view[place : place + size], order))
        offset += 20 if big else 12
    following: int = struct.unpack_from(order + ("Q" if big else "I"), data, offset)[0]
    return Directory(tuple(entries), following)


def size_of(kind: int) -> int:
    """Return the size of one value of a type in bytes, 0 for an unknown type."""
    return struct.calcsize("<" + LETTERS[kind]) * (1 + (kind in RATIONALS)) if kind in LETTERS else 0

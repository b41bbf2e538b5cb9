"""Reads the size of pictures from AV1 data, since a file's header may state a smaller one (AV1 specification, 5.5)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from cae_runtime.errors import ImageError

_SEQUENCE_HEADER: Final = 1
_UNITS_MAX: Final = 2**17  # of a file; a picture or frame has a few
_TIMES_MAX: Final = 4  # how often each byte may be read; once in usual files
_CUT: Final = "is truncated or damaged: its AV1 data ends too early"


class _Bits:
    """Reads numbers of any number of bits."""

    def __init__(self, data: bytes) -> None:
        self._value, self._left = int.from_bytes(data, "big"), 8 * len(data)

    def take(self, bits: int) -> int:
        self._left -= bits
        if self._left < 0:
            raise ImageError(_CUT)
        return (self._value >> self._left) & ((1 << bits) - 1)

    def skip_long(self) -> None:
        """Skip a number of variable length (uvlc)."""
        zeros = 0
        while not self.take(1):
            zeros += 1
        if zeros < 32:
            self.take(zeros)


class CodedSizes:
    """Finds how large the pictures of a file are. What is read is limited for the whole file.

    Args:
        file: the whole file.
    """

    def __init__(self, file: bytes) -> None:
        self._file, self._units, self._bytes = file, _UNITS_MAX, _TIMES_MAX * len(file)
        self._known: dict[tuple[tuple[int, int], ...], tuple[int, int]] = {}

    def of(self, extents: Iterable[tuple[int, int]]) -> tuple[int, int]:
        """Return the greatest width and height in the sequence headers of AV1 data: no frame of it is larger.

        Args:
            extents: where the parts of the data start and end in the file.

        Returns:
            The width and height; (0, 0) if the data has no such header.

        Raises:
            ImageError: the data is truncated or damaged, or there is too much of it in this file.
        """
        key = tuple(extents)
        if key not in self._known:
            self._bytes -= sum(end - start for start, end in key)
            if self._bytes < 0:
                raise ImageError("is damaged: the parts of its pictures overlap")
            width, height = 0, 0
            for wide, high in self._read(b"".join(self._file[start:end] for start, end in key)):
                width, height = max(width, wide), max(height, high)
            self._known[key] = width, height
        return self._known[key]

    def _read(self, data: bytes) -> Iterator[tuple[int, int]]:
        at = 0
        while at < len(data):
            self._units -= 1
            if self._units < 0:
                raise ImageError(f"is an AVIF of more than {_UNITS_MAX} units of AV1 data, the limit")
            head = data[at]
            at += 2 if head & 4 else 1
            size = len(data) - at
            if head & 2:
                size, at = _length(data, at)
            if at + size > len(data):
                raise ImageError(_CUT)
            if (head >> 3) & 15 == _SEQUENCE_HEADER:
                yield _size(_Bits(data[at : at + min(size, 512)]))
            at += size


def _length(data: bytes, at: int) -> tuple[int, int]:
    """Return a length in groups of 7 bits (leb128), and where it ends."""
    value = 0
    for group in range(8):
        if at + group >= len(data):
            raise ImageError(_CUT)
        value |= (data[at + group] & 0x7F) << (7 * group)
        if not data[at + group] & 0x80:
            return value, at + group + 1
    raise ImageError(_CUT)


def _size(bits: _Bits) -> tuple[int, int]:
    bits.take(4)  # profile, and whether it is a still picture
    if bits.take(1):  # with a reduced header
        bits.take(5)
    else:
        _skip_operating_points(bits)
    wide, high = bits.take(4) + 1, bits.take(4) + 1
    return bits.take(wide) + 1, bits.take(high) + 1


def _skip_operating_points(bits: _Bits) -> None:
    delay_bits = 0
    if bits.take(1):  # timing
        bits.take(64)
        if bits.take(1):
            bits.skip_long()
        if bits.take(1):  # decoder model
            delay_bits = bits.take(5) + 1
            bits.take(42)
    delays = bits.take(1)
    for _ in range(bits.take(5) + 1):
        bits.take(12)
        if bits.take(5) > 7:  # level
            bits.take(1)
        if delay_bits and bits.take(1):
            bits.take(2 * delay_bits + 1)
        if delays and bits.take(1):
            bits.take(4)

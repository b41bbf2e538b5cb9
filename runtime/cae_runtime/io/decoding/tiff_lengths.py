"""Checks that a strip or tile of a TIFF decodes to the expected number of bytes: neither fewer nor more.

libtiff stops when a strip is full and ignores the rest.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from cae_runtime.io.headers.tiff_kinds import DEFLATE, OLD_DEFLATE, PACKBITS

_AT_ONCE: Final = 2**18  # coded bytes
_DECODED_AT_ONCE: Final = 2**20
REVERSED: Final = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_PADDING: Final = b"\0\x80"
# of PackBits, by the first byte of a run: bytes of the run, and bytes that it decodes to
_STEPS: Final = [head + 2 if head < 128 else 2 - (head == 128) for head in range(256)]
_GROWTH: Final = [head + 1 if head < 128 else (257 - head) * (head != 128) for head in range(256)]


def has_length(part: memoryview, compression: int, least: int, most: int, fill_order: int) -> bool:
    """Return whether a strip or tile is complete.

    Args:
        part: its compressed bytes.
        compression: a key of `CHECKED`.
        least: how many of its decoded bytes are visible.
        most: the most bytes it may decode to; more than `least` if the last strip is stored with all of its rows.
        fill_order: 2 if the bits of each byte are reversed, otherwise 1.
    """
    coded = bytes(part).translate(REVERSED) if fill_order == 2 else part
    return CHECKED[compression](coded, least, most)


def _inflates(coded: bytes | memoryview, least: int, most: int) -> bool:
    """Return whether a zlib stream is complete, has a correct checksum and a length within two limits."""
    stream, length = zlib.decompressobj(), 0
    try:
        for at in range(0, len(coded), _AT_ONCE):
            rest: bytes | memoryview = coded[at : at + _AT_ONCE]
            while rest and not stream.eof and length <= most:
                length += len(stream.decompress(rest, _DECODED_AT_ONCE))
                rest = stream.unconsumed_tail
        while not stream.eof and length <= most and (more := stream.decompress(b"", _DECODED_AT_ONCE)):
            length += len(more)
    except zlib.error:
        return False
    return stream.eof and least <= length <= most


def _unpacks(coded: bytes | memoryview, least: int, most: int) -> bool:
    """Return whether PackBits data ends at one of two lengths, followed by nothing but padding."""
    data, step, grown = bytes(coded), _STEPS, _GROWTH
    at = length = 0
    for wanted in (least, most):
        with suppress(IndexError):  # the end of the data
            while length < wanted:
                head = data[at]
                at += step[head]
                length += grown[head]
        if length == wanted and at <= len(data) and not data[at:].strip(_PADDING):
            return True
    return False


CHECKED: Final[dict[int, Callable[[bytes | memoryview, int, int], bool]]] = {
    DEFLATE: _inflates,
    OLD_DEFLATE: _inflates,
    PACKBITS: _unpacks,
}

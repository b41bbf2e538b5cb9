"""Whether a strip or tile of a TIFF decodes to as many bytes as it should: too many are damage as too few are.

libtiff stops where a strip is full and says nothing of the rest.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Final

from cae_runtime.io.headers.tiff_kinds import DEFLATE, OLD_DEFLATE, PACKBITS

_AT_ONCE: Final = 2**18  # coded bytes
_DECODED_AT_ONCE: Final = 2**20
REVERSED: Final = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_PADDING: Final = b"\0\x80"


def has_length(part: memoryview, compression: int, least: int, most: int, fill_order: int) -> bool:
    """Tell whether a strip or tile is whole.

    Args:
        part: its coded bytes.
        compression: a key of `CHECKED`.
        least: how many bytes of it are seen.
        most: how many it may decode to; more than `least` where the last strip is stored with all of its rows.
        fill_order: 2 where the bits of each byte are reversed, else 1.
    """
    coded = bytes(part).translate(REVERSED) if fill_order == 2 else part
    return CHECKED[compression](coded, least, most)


def _inflates(coded: bytes | memoryview, least: int, most: int) -> bool:
    """Tell whether a zlib stream has an end, its checksum is right and its length is between two numbers."""
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
    """Tell whether runs (PackBits) end at one of two lengths, with nothing but padding behind."""
    at = length = 0
    for wanted in (least, most):
        while length < wanted and at < len(coded):
            head = coded[at]
            if head < 128:
                at, length = at + head + 2, length + head + 1
            elif head > 128:
                at, length = at + 2, length + 257 - head
            else:
                at += 1
        if length == wanted and at <= len(coded) and not bytes(coded[at:]).strip(_PADDING):
            return True
    return False


CHECKED: Final[dict[int, Callable[[bytes | memoryview, int, int], bool]]] = {
    DEFLATE: _inflates,
    OLD_DEFLATE: _inflates,
    PACKBITS: _unpacks,
}

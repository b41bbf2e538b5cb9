"""Finds lossless WebPs whose end was overwritten: libwebp decodes any bits, and stops when the picture is full."""

from __future__ import annotations

import struct
from typing import Final

from cae_runtime.io.headers.webp import chunks

_TAIL: Final = 16  # equal bytes at the end, which compressed data hardly ever have
_LESS: Final = 8  # even; a whole file has up to two bytes that the decoder does not need


def without_end(data: bytes) -> bytes | None:
    """Return a lossless WebP without its last 8 bytes: if this still can be decoded, the file is damaged.

    Returns:
        The shorter file; None if there is no reason for suspicion.
    """
    for chunk in chunks(data):
        start, end = chunk.start, chunk.end
        if chunk.name == b"VP8L" and end - start > 2 * _TAIL and len(set(data[end - _TAIL : end])) == 1:
            less = end - _LESS
            sizes = [struct.pack("<I", size) for size in (struct.unpack_from("<I", data, 4)[0] - _LESS, less - start)]
            return b"".join([data[:4], sizes[0], data[8 : start - 4], sizes[1], data[start:less], data[end:]])
    return None

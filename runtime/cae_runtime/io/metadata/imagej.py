"""ImageJ's own metadata (tags 50838 and 50839), whose numbers and texts are in the byte order of the file."""

from __future__ import annotations

import struct
from typing import Final

import numpy as np

LENGTHS: Final = 50838  # size of the header in METADATA, and of each item
METADATA: Final = 50839
_MAGIC: Final = b"IJIJ"
# By kind of item: bytes per number. Regions (ROI) always have the same byte order.
_NUMBERS: Final = {b"info": 2, b"labl": 2, b"prop": 2, b"rang": 8, b"luts": 1, b"plot": 1, b"roi ": 1, b"over": 1}


def in_little_endian(block: bytes, lengths: tuple[int, ...]) -> bytes | None:
    """Convert the contents of METADATA from a big-endian TIFF to little-endian order.

    Args:
        block: the contents.
        lengths: the numbers of LENGTHS.

    Returns:
        The converted contents, or None if they cannot be parsed.
    """
    if block[:4] != _MAGIC or not lengths or sum(lengths) != len(block) or lengths[0] % 8 != 4:
        return None
    kinds: list[bytes] = []
    header = _MAGIC[::-1]
    for kind, count in struct.iter_unpack(">4sI", block[4 : lengths[0]]):
        if kind not in _NUMBERS or len(kinds) + count > len(lengths) - 1:
            return None
        kinds += [kind] * count
        header += kind[::-1] + struct.pack("<I", count)
    if len(kinds) != len(lengths) - 1:
        return None
    parts, at = [header], lengths[0]
    for kind, length in zip(kinds, lengths[1:], strict=True):
        size = _NUMBERS[kind]
        if length % size:
            return None
        parts.append(np.frombuffer(block[at : at + length], f">u{size}").astype(f"<u{size}").tobytes())
        at += length
    return b"".join(parts)

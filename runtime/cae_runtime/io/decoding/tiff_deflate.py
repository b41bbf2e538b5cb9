"""Deflate strips and tiles of a TIFF, inflated once, with their checksums and lengths checked.

libtiff does not verify checksums, and stops when a strip is full. So zlib inflates the data, and OpenCV gets a TIFF
with the same bytes in uncompressed Deflate blocks, which takes hardly any time.

Source: RFC 1950 and 1951, zlib and Deflate: stored blocks.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Final

from cae_runtime.errors import ImageError
from cae_runtime.io.decoding.tiff import most_bytes, parts_of
from cae_runtime.io.decoding.tiff_lengths import REVERSED
from cae_runtime.io.headers.tiff import STRIP_BYTES, STRIPS, TILE_BYTES, TILES, TiffHeader
from cae_runtime.io.headers.tiff_directory import ORIENTATION
from cae_runtime.io.headers.tiff_kinds import DEFLATE, OLD_DEFLATE
from cae_runtime.io.metadata.tag_names import STORAGE
from cae_runtime.io.metadata.tiff_tags import Directory, exif_block, longs
from cae_runtime.io.metadata.tiff_tags import read as read_tags

_PIXELS_MAX: Final = 2**26  # of what is inflated as a whole, which takes memory
_HEADER: Final = b"\x78\x01"
_BLOCK: Final = 0xFFFF  # bytes that a stored block holds at most; the complement of its length is beside that
_CHECKSUM: Final = 4  # bytes


def serves(header: TiffHeader) -> bool:
    """Return whether `inflated` is for such a TIFF; `cae_runtime.io.decoding.tiff.check_coded` is for the others."""
    pixels = max(header.pixels, len(header.starts) * header.part_width * header.part_height)
    return header.kind.compression in (DEFLATE, OLD_DEFLATE) and pixels <= _PIXELS_MAX


def inflated(data: bytes, header: TiffHeader) -> bytearray:
    """Return a TIFF of the same pixels whose strips or tiles are stored without compression.

    Args:
        data: the whole file, which `cae_runtime.io.decoding.tiff.check` took.
        header: its header.

    Raises:
        ImageError: a strip or tile does not decode to as many bytes as it should, or has a wrong checksum.
    """
    offsets_tag, counts_tag = (TILES, TILE_BYTES) if header.tiled else (STRIPS, STRIP_BYTES)
    tags = {tag: value for tag, value in read_tags(data).values.items() if tag in STORAGE | {ORIENTATION}}
    parts = list(parts_of(data, header))
    room = longs(*[0] * len(parts))
    start = len(exif_block(Directory({**tags, offsets_tag: room, counts_tag: room})))
    file, offsets, counts = bytearray(start), [], []
    most, reversed_bits = most_bytes(header), header.fill_order == 2
    for part, least in parts:
        offsets.append(len(file))
        for piece in _stored(bytes(part).translate(REVERSED) if reversed_bits else part, least, most):
            file += bytes(piece).translate(REVERSED) if reversed_bits else piece
        counts.append(len(file) - offsets[-1])
    order = ">" if data.startswith(b"MM") else "<"  # the checksum of the pixels too
    file[:start] = exif_block(Directory({**tags, offsets_tag: longs(*offsets), counts_tag: longs(*counts)}), order)
    return file


def _stored(coded: bytes | memoryview, least: int, most: int) -> Iterator[bytes | memoryview]:
    """Yield the pieces of a zlib stream that has the content and the checksum of another, without compression."""
    stream = zlib.decompressobj()
    try:
        plain = memoryview(stream.decompress(coded, most + 1))
    except zlib.error:
        plain = memoryview(b"")
    if not stream.eof or not least <= len(plain) <= most:
        raise ImageError("is damaged: parts of its TIFF data are missing or wrong")
    yield _HEADER
    for at in range(0, max(1, len(plain)), _BLOCK):
        block = plain[at : at + _BLOCK]
        yield struct.pack("<BHH", at + _BLOCK >= len(plain), len(block), len(block) ^ _BLOCK)
        yield block
    end = len(coded) - len(stream.unused_data)
    yield coded[end - _CHECKSUM : end]

"""Converts uncompressed tiles of a TIFF to strips.

OpenCV rejects uncompressed tiles of 8 bits and less unless their size in bytes is a multiple of 1024.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from cae_runtime.errors import ImageError
from cae_runtime.io.headers.tiff import (
    ROWS_PER_STRIP,
    STRIP_BYTES,
    STRIPS,
    TILE_BYTES,
    TILE_LENGTH,
    TILE_WIDTH,
    TILES,
    TiffHeader,
)
from cae_runtime.io.headers.tiff_directory import ORIENTATION
from cae_runtime.io.headers.tiff_kinds import SEPARATE
from cae_runtime.io.metadata.tag_names import STORAGE
from cae_runtime.io.metadata.tiff_tags import Directory, exif_block, longs
from cae_runtime.io.metadata.tiff_tags import read as read_tags

_STRIP_BYTES: Final = 2**20


def as_strips(data: bytes, header: TiffHeader) -> bytes:
    """Convert a TIFF of uncompressed tiles to one with strips.

    Args:
        data: the whole file, which `cae_runtime.io.decoding.tiff.check` took; of at most 8 bits per sample.
        header: its header.

    Raises:
        ImageError: the rows of its tiles do not end at a byte.
    """
    kind = header.kind
    planes, samples = (kind.samples, 1) if kind.planes == SEPARATE else (1, kind.samples)
    bits = samples * kind.bits  # of a pixel
    if header.part_width * bits % 8:
        raise ImageError(f"has tiles {header.part_width} pixels wide, which are not read: TIFFs have multiples of 16")
    across, rows, row_bytes = -(-header.width // header.part_width), header.part_height, header.part_width * bits // 8
    pixels = np.empty((planes, header.height, -(-header.width * bits // 8)), np.uint8)
    coded, starts = np.frombuffer(data, np.uint8), iter(header.starts.tolist())
    for plane in pixels:
        for top in range(0, header.height, rows):
            place = plane[top : top + rows]
            for column in range(across):
                part = place[:, column * row_bytes : (column + 1) * row_bytes]
                start = next(starts)
                tile = coded[start : start + rows * row_bytes].reshape(rows, row_bytes)
                part[:] = tile[: part.shape[0], : part.shape[1]]
    own = {TILE_WIDTH, TILE_LENGTH, TILES, TILE_BYTES}
    tags = {tag: value for tag, value in read_tags(data).values.items() if tag in STORAGE - own | {ORIENTATION}}
    height = max(1, _STRIP_BYTES // pixels.shape[2])
    offsets = np.arange(0, pixels[0].size, height * pixels.shape[2])
    counts = np.diff(offsets, append=pixels[0].size)
    offsets = np.concatenate([plane * pixels[0].size + offsets for plane in range(planes)])
    tags |= {ROWS_PER_STRIP: longs(height), STRIP_BYTES: longs(*np.tile(counts, planes))}
    start = len(exif_block(Directory({**tags, STRIPS: longs(*offsets)})))
    tags[STRIPS] = longs(*(offsets + start))
    return exif_block(Directory(tags)) + pixels.data

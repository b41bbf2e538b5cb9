"""Checks that the compressed data of a TIFF is complete.

For up to 8 bits, OpenCV lets libtiff convert to RGBA, which leaves missing data black and reports it only on stderr
(see `messages`). If there was a message, LZW strips and tiles are decoded again as rows of 16-bit gray, which raises an
error if data is missing. For Deflate and PackBits see `tiff_lengths`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

import cv2
import numpy as np

from cae_runtime.errors import ImageError
from cae_runtime.io.decoding import jpeg as jpeg_data
from cae_runtime.io.decoding.tiff_lengths import CHECKED, has_length
from cae_runtime.io.headers import jpeg as jpeg_header
from cae_runtime.io.headers.jpeg import PIXELS_OF_SCANS_MAX
from cae_runtime.io.headers.tiff import (
    BITS,
    COMPRESSION,
    FILL_ORDER,
    LENGTH,
    PHOTOMETRIC,
    ROWS_PER_STRIP,
    SAMPLES,
    STRIP_BYTES,
    STRIPS,
    WIDTH,
    TiffHeader,
)  # fmt: skip
from cae_runtime.io.headers.tiff_kinds import (
    BLACK_ZERO,
    JPEG,
    LZW,
    RAW,
    SEPARATE,
    YCBCR,
    through_rgba,
)

_AT_ONCE: Final = 2**23  # bytes, compressed or decompressed, that stay in the cache
_ROWS_MAX: Final = 2**16
_WIDTH_MAX: Final = 2**19
_LONG: Final = 4


def check(data: bytes, header: TiffHeader) -> None:
    """Refuse a TIFF with missing strips or tiles, without decoding them.

    Raises:
        ImageError: something is missing.
    """
    if len(header.starts) < _number_of_parts(header):
        raise ImageError(
            f"is damaged: {len(header.starts)} of its {_number_of_parts(header)} strips or tiles are there"
        )
    sizes = _sizes(header)
    starts, counts = (array[: len(sizes)] for array in (header.starts, header.counts))
    if len(counts) == 0 and header.kind.compression == RAW:  # old programs left them out
        counts = sizes
    if len(counts) < len(sizes):
        raise ImageError(f"is damaged: the lengths of {len(counts)} of its {len(sizes)} strips or tiles are there")
    if (starts > len(data)).any() or (counts > len(data)).any() or (starts + counts > len(data)).any():
        raise ImageError("is truncated: the end of the TIFF is missing")
    if int(counts.sum()) > max(len(data), 2 * int(sizes.sum())):  # equal tiles may share their data
        raise ImageError("is damaged: its strips or tiles overlap")
    if header.kind.compression == RAW and (counts < sizes).any():
        raise ImageError("is damaged: parts of its TIFF data are missing")


def parts_of(data: bytes, header: TiffHeader) -> Iterator[tuple[memoryview, int]]:
    """Yield the compressed data of each strip or tile of a TIFF with lengths, and its decoded size in bytes.

    For the last strip of a plane, only visible rows count.
    """
    sizes = _sizes(header).tolist()
    starts, counts = (array[: len(sizes)].tolist() for array in (header.starts, header.counts))
    view = memoryview(data)
    for at, count, size in zip(starts, counts, sizes, strict=True):
        yield view[at : at + count], size


def most_bytes(header: TiffHeader) -> int:
    """Return the decoded size in bytes of a strip or tile with all of its rows."""
    return _size(header, header.part_pixels // header.part_width)


def check_coded(data: bytes, header: TiffHeader) -> None:
    """Refuse a TIFF whose strips or tiles do not decode to all of their bytes; `check` has taken it.

    Raises:
        ImageError: something is missing.
    """
    if header.kind.compression == RAW or (
        header.kind.compression not in CHECKED and not through_rgba(header.kind) and not header.refusal
    ):
        return
    parts = parts_of(data, header)
    if header.kind.compression in CHECKED:
        most = most_bytes(header)
        whole = all(has_length(part, header.kind.compression, size, most, header.fill_order) for part, size in parts)
    elif header.kind.compression == LZW:
        whole = all(_decode(header, group, size) for group, size in _grouped(parts))
    elif header.kind.compression == JPEG:
        whole = _jpegs_are_whole((part for part, _ in parts), header)
    else:
        whole = True
    if not whole:
        raise ImageError("is damaged: parts of its TIFF data are missing or wrong")


def _number_of_parts(header: TiffHeader) -> int:
    planes = header.kind.samples if header.kind.planes == SEPARATE else 1
    return planes * -(-header.width // header.part_width) * -(-header.height // header.part_height)


def _sizes(header: TiffHeader) -> np.ndarray:
    """Return the decoded size in bytes of each strip or tile."""
    kind, rows = header.kind, header.part_height
    across, down = -(-header.width // header.part_width), -(-header.height // rows)
    planes = kind.samples if kind.planes == SEPARATE else 1
    sizes = np.full((planes, down, across), _size(header, rows), np.uint64)
    if not header.tiled and header.height % rows:
        sizes[:, -1] = _size(header, header.height % rows)
    return sizes.reshape(-1)


def _size(header: TiffHeader, rows: int) -> int:
    """Return the decoded size in bytes of a strip or tile with this many rows."""
    kind = header.kind
    if kind.colors == YCBCR and kind.compression != JPEG:
        wide, high = kind.subsampling
        units = -(-header.part_width // wide) * -(-rows // high)
        return units * (wide * high + 2)  # two color values for each unit
    samples = 1 if kind.planes == SEPARATE else kind.samples
    return rows * -(-header.part_width * samples * kind.bits // 8)


def _grouped(parts: Iterator[tuple[memoryview, int]]) -> Iterator[tuple[list[memoryview], int]]:
    """Yield groups of parts of equal decoded size, with a limited number of bytes."""
    group: list[memoryview] = []
    size = coded = 0
    for part, wanted in parts:
        full = max((len(group) + 1) * size, coded + len(part)) > _AT_ONCE or len(group) == _ROWS_MAX
        if group and (wanted != size or full):
            yield group, size
            group, coded = [], 0
        group.append(part)
        size, coded = wanted, coded + len(part)
    if group:
        yield group, size


def _decode(header: TiffHeader, parts: list[memoryview], size: int) -> bool:
    """Return whether each of the parts decodes to (nearly) `size` bytes: as strips of 16-bit gray."""
    rows = size // 2 // _WIDTH_MAX + 1
    width = size // 2 // rows
    if width == 0:
        return True
    entries = {
        WIDTH: [width], LENGTH: [rows * len(parts)], BITS: [16], COMPRESSION: [header.kind.compression],
        PHOTOMETRIC: [BLACK_ZERO], FILL_ORDER: [header.fill_order], STRIPS: [0] * len(parts), SAMPLES: [1],
        ROWS_PER_STRIP: [rows], STRIP_BYTES: list(map(len, parts)),
    }  # fmt: skip
    behind = 8 + 2 + 12 * len(entries) + 4
    at = behind + 8 * len(parts)
    for i, part in enumerate(parts):
        entries[STRIPS][i] = at
        at += len(part)
    directory, arrays = struct.pack("<H", len(entries)), b""
    for tag, values in sorted(entries.items()):
        place = values[0]
        if len(values) > 1:
            place, arrays = behind + len(arrays), arrays + struct.pack(f"<{len(values)}I", *values)
        directory += struct.pack("<HHII", tag, _LONG, len(values), place)
    file = b"".join([b"II*\0", struct.pack("<I", 8), directory, bytes(4), arrays.ljust(8 * len(parts), b"\0"), *parts])
    return _decodes(file, cv2.IMREAD_UNCHANGED)


def _jpegs_are_whole(parts: Iterator[memoryview], tiff: TiffHeader) -> bool:
    """Return whether each part is a complete JPEG.

    Raises:
        ImageError: decoding all of their scans would take very long.
    """
    pixels = 0
    for part in parts:
        file = b"".join((tiff.jpeg_tables[:-2], part[2:])) if tiff.jpeg_tables else bytes(part)
        try:
            header = jpeg_header.read(file)
            if header.width > tiff.part_width or header.height > tiff.part_height:
                return False
            jpeg_data.check(file, header)
        except (ImageError, struct.error, IndexError, ValueError):
            return False
        pixels += len(header.scans) * header.width * header.height
        if pixels > PIXELS_OF_SCANS_MAX:
            raise ImageError(
                f"is a TIFF of JPEGs whose scans have more than {PIXELS_OF_SCANS_MAX} pixels together, the limit: "
                "it would take very long"
            )
        one_scan = jpeg_data.has_one_scan(header)
        if one_scan and not _decodes(jpeg_data.without_end(file, header), cv2.IMREAD_REDUCED_GRAYSCALE_8):
            return False
    return True


def _decodes(file: bytes, flags: int) -> bool:
    try:
        return cv2.imdecode(np.frombuffer(file, np.uint8), flags) is not None
    except cv2.error:
        return False

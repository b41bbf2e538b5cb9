"""The header of TIFF files: their first directory."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, cast

from numpy.typing import NDArray

from cae_runtime.errors import ImageError
from cae_runtime.io.formats import TIFF
from cae_runtime.io.headers.header import Header
from cae_runtime.io.headers.tiff_directory import ORIENTATION, Directory, byte_order, directory
from cae_runtime.io.headers.tiff_kinds import BLACK_ZERO, CMYK, CONTIGUOUS, FLOAT, UNSIGNED, YCBCR, Kind, read_by_opencv

SIGNATURES: Final = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
WIDTH, LENGTH, BITS, COMPRESSION, PHOTOMETRIC, STRIPS, SAMPLES = 256, 257, 258, 259, 262, 273, 277
ROWS_PER_STRIP, STRIP_BYTES, PLANES, PREDICTOR, COLOR_MAP, FILL_ORDER = 278, 279, 284, 317, 320, 266
TILE_WIDTH, TILE_LENGTH, TILES, TILE_BYTES, EXTRA_SAMPLES, SAMPLE_FORMAT = 322, 323, 324, 325, 338, 339
_INKS, _USUAL_INKS = 332, 1  # which inks: CMYK
JPEG_TABLES, _SUBSAMPLING, _DEPTH, _TILE_DEPTH = 347, 530, 32997, 32998
_STRUCTURE: Final = {
    WIDTH, LENGTH, BITS, COMPRESSION, PHOTOMETRIC, STRIPS, ORIENTATION, SAMPLES, ROWS_PER_STRIP, STRIP_BYTES, PLANES,
    PREDICTOR, COLOR_MAP, TILE_WIDTH, TILE_LENGTH, TILES, TILE_BYTES, EXTRA_SAMPLES, SAMPLE_FORMAT, JPEG_TABLES,
    FILL_ORDER, _SUBSAMPLING, _DEPTH, _TILE_DEPTH,
}  # fmt: skip
_FLOAT_BITS: Final = 32  # of floating-point TIFFs as they are written
_PAGES_MAX: Final = 2**12
_FURTHER_IMAGES: Final = 330  # SubIFDs


@dataclass(frozen=True, kw_only=True)
class TiffHeader(Header):
    """The header of a TIFF.

    Attributes:
        kind: what decides how it is decoded.
        part_width: width of a tile or strip in pixels.
        part_height: its height; the last strip may have fewer rows.
        tiled: it has tiles, not strips.
        starts: offset of the compressed data of each tile or strip.
        counts: compressed size of each in bytes; empty if the file does not say.
        fill_order: 2 if the bits of each byte are reversed, otherwise 1.
        jpeg_tables: tables that the JPEGs in the tiles or strips share.
        directory: all entries of its first page.
    """

    kind: Kind
    part_width: int
    part_height: int
    tiled: bool
    starts: NDArray[Any]
    counts: NDArray[Any]
    fill_order: int
    jpeg_tables: bytes
    directory: Directory

    @property
    def pixels(self) -> int:
        """The number of pixels for which decoding needs memory; pages may have different sizes."""
        return max(self.width * self.height, self.part_pixels)


def read(data: bytes, *, alone: bool = False) -> TiffHeader:
    """Read the header of a TIFF; see `cae_runtime.io.headers.inspect.inspect`.

    Args:
        data: the whole file.
        alone: whether only the first page counts.
    """
    page = directory(data)
    _check_directory(page)
    sizes = [(page.number(WIDTH, 0), page.number(LENGTH, 0))]
    if page.following and not alone:
        sizes += _sizes_of_pages(data)[1:]
    width, height = page.number(WIDTH, 0), page.number(LENGTH, 0)
    tiled = TILES in page
    part_width, part_height = (page.number(TILE_WIDTH, 0), page.number(TILE_LENGTH, 0)) if tiled else (
        width, min(page.number(ROWS_PER_STRIP, height), height) or height)  # fmt: skip
    if part_width < 1 or part_height < 1:
        raise ImageError(f"is damaged: its tiles or strips have {part_width}x{part_height} pixels")
    kind = _kind(page, tiled, part_width * part_height)
    tables = page.get(JPEG_TABLES)
    return TiffHeader(
        TIFF,
        width,
        height,
        part_pixels=max(
            part_width * max(part_height, 0 if tiled else _rows_announced(page, height)),
            sum(wide * high for wide, high in sizes) if len(sizes) > 1 else 0,
        ),
        frames=len(sizes),
        refusal="" if read_by_opencv(kind) else f"is a TIFF that OpenCV would decode wrong ({kind})",
        cmyk=kind.colors == CMYK,
        kind=kind,
        part_width=part_width,
        part_height=part_height,
        tiled=tiled,
        starts=page.array(TILES if tiled else STRIPS),
        counts=page.array(TILE_BYTES if tiled else STRIP_BYTES),
        fill_order=page.number(FILL_ORDER, 1),
        jpeg_tables=b"" if tables is None else bytes(tables.data),
        directory=page,
        bits=kind.bits if kind.values == FLOAT and kind.bits != _FLOAT_BITS else 0,
    )


def with_unspecified_samples(data: bytes | bytearray) -> bytes:
    """Return a TIFF in which extra samples are not declared as alpha."""
    changed = bytearray(data)
    entry = directory(changed).get(EXTRA_SAMPLES)
    if entry:
        entry.data[:] = bytes(len(entry.data))
        entry.data.release()
    return bytes(changed)


def offsets_of_pages(data: bytes) -> list[int]:
    """Return where the directory of each page is.

    Raises:
        ImageError: there are more than 4096 pages, or they go in a circle.
    """
    offset = byte_order(data)[2]
    found: list[int] = []
    while offset:
        if offset in found or len(found) == _PAGES_MAX:
            raise ImageError(f"is damaged: its pages go in a circle, or there are more than {_PAGES_MAX}")
        found.append(offset)
        offset = directory(data, offset).following
    return found


def pages_of(data: bytes) -> Iterator[bytes]:
    """Yield, for each page of a TIFF, the file with this page as its first one, until the next is asked for.

    The pages behind it are still in the file: `read` with `alone` leaves them out.
    """
    order, big, _ = byte_order(data)
    place, letter = (8, "Q") if big else (4, "I")
    file = bytearray(data)  # is changed in place: a copy for each page would take long
    for offset in offsets_of_pages(data):
        struct.pack_into(order + letter, file, place, offset)
        yield cast(bytes, file)


def _sizes_of_pages(data: bytes) -> list[tuple[int, int]]:
    pages = [directory(data, offset) for offset in offsets_of_pages(data)]
    return [(page.number(WIDTH, 0), page.number(LENGTH, 0)) for page in pages]


def _check_directory(page: Directory) -> None:
    """Refuse files that are not a single plain image."""
    tags = [entry.tag for entry in page.entries]
    twice = [tag for tag in sorted(_STRUCTURE) if tags.count(tag) > 1]
    if twice:
        raise ImageError(f"is damaged: its TIFF tag {twice[0]} occurs twice")
    if _FURTHER_IMAGES in page:
        raise ImageError(
            "has further images behind its first (SubIFDs), as camera raw files have: only single images are read"
        )
    if page.number(_DEPTH, 1) != 1 or page.number(_TILE_DEPTH, 1) != 1:
        raise ImageError("is a TIFF of a volume: only single images are read")
    if page.number(PHOTOMETRIC, 0) == CMYK and page.number(_INKS, _USUAL_INKS) != _USUAL_INKS:
        raise ImageError("is a TIFF of other inks than CMYK, which is not read")
    if PHOTOMETRIC not in page:
        raise ImageError("is damaged: its kind of colors is missing")


def _kind(page: Directory, tiled: bool, part_pixels: int) -> Kind:
    bits = page.numbers(BITS, (1,))
    values = page.numbers(SAMPLE_FORMAT, (UNSIGNED,))
    samples, colors = page.number(SAMPLES, 1), page.number(PHOTOMETRIC, BLACK_ZERO)
    if len(set(bits)) > 1 or len(set(values)) > 1:
        raise ImageError("is a TIFF whose channels have different depths, which is not read")
    part_bytes = part_pixels * (4 if bits[0] <= 8 else samples * 2)
    planes = page.number(PLANES, CONTIGUOUS)
    together = samples if planes == CONTIGUOUS else 1
    return Kind(
        colors,
        bits[0],
        samples,
        planes,
        page.number(COMPRESSION, 1),
        page.number(PREDICTOR, 1),
        values[0],
        page.numbers(EXTRA_SAMPLES, ()),
        page.number(ORIENTATION, 1),
        part_pixels * together * bits[0] // 8 if tiled else 0,
        part_bytes,
        page.numbers(_SUBSAMPLING, (2, 2)) if colors == YCBCR else (1, 1),
    )


def _rows_announced(page: Directory, height: int) -> int:
    """Return for how many rows a decoder allocates memory: more than `height` if a strip claims more."""
    rows = page.number(ROWS_PER_STRIP, height)
    return height if rows == 2**32 - 1 else rows

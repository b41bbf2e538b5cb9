"""Kinds of TIFF that OpenCV decodes correctly; `tests/runtime/io/tiff/test_tiff.py` compares it with tifffile."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cae_shared.text import listed

RAW, CCITT, GROUP_3, GROUP_4, LZW, JPEG, DEFLATE, PACKBITS, OLD_DEFLATE = 1, 2, 3, 4, 5, 7, 8, 32773, 32946
WHITE_ZERO, BLACK_ZERO, RGB, PALETTE, CMYK, YCBCR = 0, 1, 2, 3, 5, 6
UNSIGNED: Final = 1
FLOAT: Final = 3
FLOATING_POINT: Final = 3  # a predictor
CONTIGUOUS, SEPARATE = 1, 2
PREDICTED: Final = frozenset({LZW, DEFLATE, OLD_DEFLATE})  # compressions that support a predictor
HORIZONTAL: Final = 2
NO_ALPHA, PREMULTIPLIED, ALPHA = 0, 1, 2
_BYTES: Final = frozenset({RAW, LZW, DEFLATE, OLD_DEFLATE, PACKBITS})
_SUBSAMPLINGS: Final = frozenset({(1, 1), (1, 2), (2, 1), (2, 2), (4, 1), (4, 2), (4, 4)})
_SCANLINES: Final = 2**30 * 95 // 100  # bytes of a strip from which on OpenCV reads row by row and ignores orientation

COLORS: Final = {
    WHITE_ZERO: "gray with white as zero",
    BLACK_ZERO: "gray",
    RGB: "RGB",
    PALETTE: "palette colors",
    4: "a transparency mask",
    CMYK: "CMYK",
    YCBCR: "YCbCr",
    8: "CIELAB",
    9: "ICCLAB",
    10: "ITULAB",
}
COMPRESSIONS: Final = {
    RAW: "no compression",
    CCITT: "CCITT",
    GROUP_3: "CCITT",
    GROUP_4: "CCITT",
    LZW: "LZW",
    6: "old-style JPEG",
    JPEG: "JPEG",
    DEFLATE: "Deflate",
    OLD_DEFLATE: "Deflate",
    PACKBITS: "PackBits",
    33003: "JPEG 2000",
    33005: "JPEG 2000",
    34712: "JPEG 2000",
    34887: "LERC",
    34925: "LZMA",
    50000: "ZSTD",
    50001: "WebP",
    50002: "JPEG XL",
    52546: "JPEG XL",
}


# Numbers of samples that tifffile decodes.
_BY_TIFFFILE: Final = {
    WHITE_ZERO: (1,), BLACK_ZERO: (1, 2), PALETTE: (1,), RGB: (3, 4), YCBCR: (3,), CMYK: (4,)
}  # fmt: skip
# Compressions that imagecodecs decodes into a buffer of known size; other embedded images could have any size.
_BY_IMAGECODECS: Final = _BYTES | {CCITT, GROUP_3, GROUP_4, JPEG, 34925, 50000}


@dataclass(frozen=True)
class Kind:
    """The properties that decide whether a TIFF is decoded correctly.

    Attributes:
        colors: photometric interpretation, a key of COLORS or another number.
        bits: bits per sample.
        samples: samples per pixel.
        planes: CONTIGUOUS, or SEPARATE for one plane per sample.
        compression: a key of COMPRESSIONS or another number.
        predictor: 1 for none, HORIZONTAL, 3 for floating point.
        values: sample format: UNSIGNED, 2 for signed, 3 for floating point, ...
        extra: the kinds of samples beyond gray or RGB: NO_ALPHA (unspecified), PREMULTIPLIED, ALPHA.
        orientation: 1..8.
        tile_bytes: bytes of a tile, 0 if it has strips.
        part_bytes: decoded bytes of a strip or tile.
        subsampling: how many pixels share a color, horizontally and vertically; for YCbCr only.
    """

    colors: int
    bits: int
    samples: int
    planes: int = CONTIGUOUS
    compression: int = RAW
    predictor: int = 1
    values: int = UNSIGNED
    extra: tuple[int, ...] = ()
    orientation: int = 1
    tile_bytes: int = 0
    part_bytes: int = 0
    subsampling: tuple[int, ...] = (1, 1)

    def __str__(self) -> str:
        values = {2: "signed ", 3: "floating-point "}.get(self.values, "" if self.values == UNSIGNED else "unusual ")
        colors = COLORS.get(self.colors, f"colors of photometric interpretation {self.colors}")
        parts = [f"{values}{self.bits}-bit {colors}"]
        usual = {RGB: 3, YCBCR: 3, CMYK: 4}.get(self.colors, 1)
        if self.samples != usual:
            parts.append(f"{self.samples} samples per pixel")
        if any(self.extra):
            multiplied = " that is multiplied into the colors" if PREMULTIPLIED in self.extra else ""
            parts.append(f"an alpha channel{multiplied}")
        if self.planes != CONTIGUOUS and self.samples > 1:
            parts.append("separate planes")
        if self.subsampling != (1, 1):
            parts.append("subsampled colors")
        if self.compression != RAW:
            parts.append(f"{COMPRESSIONS.get(self.compression, f'compression {self.compression}')} compression")
        if self.predictor not in (1, HORIZONTAL) or (self.predictor != 1 and self.compression not in PREDICTED):
            parts.append(f"predictor {self.predictor}")
        if self.tile_bytes:
            parts.append("tiles")
        if self.orientation != 1:
            parts.append(f"orientation {self.orientation}")
        return ", ".join(parts)


@dataclass(frozen=True)
class Row:
    """Kinds that OpenCV decodes correctly: every combination of the listed values."""

    name: str
    colors: frozenset[int]
    bits: frozenset[int]
    samples: frozenset[int]
    compressions: frozenset[int]
    planes: frozenset[int] = frozenset({CONTIGUOUS})
    alpha: frozenset[int] = frozenset({NO_ALPHA})


_DEEP: Final = frozenset({10, 12, 14, 16})
_GRAY: Final = frozenset({WHITE_ZERO, BLACK_ZERO})
_ONE: Final = frozenset({1})
_ANY_PLANES: Final = frozenset({CONTIGUOUS, SEPARATE})
_ANY_ALPHA: Final = frozenset({NO_ALPHA, ALPHA})
READ_BY_OPENCV: Final = (
    Row("1-bit black and white", _GRAY, _ONE, _ONE, _BYTES | {CCITT, GROUP_3, GROUP_4}),
    Row("8-bit gray", _GRAY, frozenset({8}), _ONE, _BYTES | {JPEG}),
    Row("10- to 16-bit gray", frozenset({BLACK_ZERO}), _DEEP, _ONE, _BYTES),
    Row("palettes of 16 or 256 colors", frozenset({PALETTE}), frozenset({4, 8}), _ONE, _BYTES),
    Row("8-bit RGB", frozenset({RGB}), frozenset({8}), frozenset({3}), _BYTES, _ANY_PLANES),
    Row(
        "8-bit RGB", frozenset({RGB}), frozenset({8}), frozenset({4}), _BYTES, _ANY_PLANES, frozenset({NO_ALPHA, ALPHA})
    ),
    Row("8-bit RGB", frozenset({RGB}), frozenset({8}), frozenset({3}), frozenset({JPEG})),
    Row("8-bit YCbCr", frozenset({YCBCR}), frozenset({8}), frozenset({3}), _BYTES | {JPEG}),
    Row("10- to 16-bit RGB", frozenset({RGB}), _DEEP, frozenset({3}), _BYTES),
    Row("10- to 16-bit RGB", frozenset({RGB}), _DEEP, frozenset({4}), _BYTES, alpha=_ANY_ALPHA),
)


def through_rgba(kind: Kind) -> bool:
    """Return whether OpenCV lets libtiff convert it to 8-bit RGBA, which does not report missing data."""
    return kind.bits <= 8


def read_as_strips(kind: Kind) -> bool:
    """Return whether its tiles are converted to strips for OpenCV, see `cae_runtime.io.decoding.tiff_tiles`."""
    return kind.tile_bytes > 0 and kind.compression == RAW and through_rgba(kind)


def read_by_opencv(kind: Kind) -> bool:
    """Return whether OpenCV decodes a kind of TIFF correctly."""
    row = any(
        kind.colors in row.colors
        and kind.bits in row.bits
        and kind.samples in row.samples
        and kind.compression in row.compressions
        and (kind.samples == 1 or kind.planes in row.planes)
        and set(kind.extra) <= row.alpha
        for row in READ_BY_OPENCV
    )
    if kind.predictor != 1:
        row &= kind.predictor == HORIZONTAL and kind.compression in PREDICTED and kind.bits in (8, 16)
    if kind.tile_bytes and through_rgba(kind) and not read_as_strips(kind):
        row &= kind.orientation in (1, 4, 5, 8)
    if kind.colors == YCBCR and kind.compression != JPEG:
        row &= kind.subsampling in _SUBSAMPLINGS and (kind.subsampling == (1, 1) or not kind.tile_bytes)
    if kind.part_bytes >= _SCANLINES:
        row &= kind.orientation == 1
    return row and kind.values == UNSIGNED and 1 <= kind.orientation <= 8


def read_by_tifffile(kind: Kind) -> bool:
    """Return whether `cae_runtime.io.decoding.tiff_extra` makes 8-bit, 16-bit or float32 pixels of it."""
    if kind.values == FLOAT:
        return _is_read_as_float(kind)
    samples = _BY_TIFFFILE.get(kind.colors, ())
    return (
        kind.samples in samples
        and 1 <= kind.bits <= (8 if kind.colors in (PALETTE, YCBCR) else 16)
        and (kind.colors != CMYK or (kind.bits in (8, 16) and kind.compression != JPEG))
        and kind.values == UNSIGNED
        and kind.predictor in (1, HORIZONTAL)
        and kind.compression in _BY_IMAGECODECS
        and (kind.compression != JPEG or kind.bits == 8)
        and PREMULTIPLIED not in kind.extra
        and (kind.samples != 2 or kind.extra == (ALPHA,))
        and (kind.colors != YCBCR or kind.compression == JPEG)
        and 1 <= kind.orientation <= 8
    )


def _is_read_as_float(kind: Kind) -> bool:
    return (
        kind.samples in {BLACK_ZERO: (1,), RGB: (3, 4)}.get(kind.colors, ())
        and kind.bits in (16, 32, 64)
        and kind.predictor in (1, FLOATING_POINT)
        and kind.compression in _BY_IMAGECODECS - {JPEG, CCITT, GROUP_3, GROUP_4}
        and PREMULTIPLIED not in kind.extra
        and 1 <= kind.orientation <= 8
    )


def summary() -> str:
    """Return in words which TIFFs are read without an extra, for the documentation."""
    names = dict.fromkeys(row.name for row in READ_BY_OPENCV)
    how = [COMPRESSIONS[each] for each in (RAW, LZW, DEFLATE, PACKBITS, JPEG, CCITT)]
    return f"{listed(names, 'and')}, with {listed(how, 'or')}"

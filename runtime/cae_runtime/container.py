"""What an image file says of itself before anyone decodes it: format, size, frames, wholeness, metadata.

Decoders answer a truncated file with half a picture, an animation with its first frame and CMYK with wrong colours;
here such files are refused by name. Damage inside a file that is whole and still decodes is not noticed.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from cae_runtime.errors import ImageError
from cae_runtime.formats import BMP, JPEG, PNG, TIFF, WEBP

JPEG_EXIF: Final = b"Exif\0\0"
JPEG_XMP: Final = b"http://ns.adobe.com/xap/1.0/\0"
JPEG_ICC: Final = b"ICC_PROFILE\0"
_JPEG_METADATA: Final = {
    (0xE1, JPEG_EXIF): "exif",
    (0xE1, JPEG_XMP): "xmp",
    (0xE1, b"http://ns.adobe.com/xmp/extension/\0"): "extended xmp",
    (0xE2, JPEG_ICC): "icc",
    (0xE2, b"MPF\0"): "mpf",
    (0xED, b"Photoshop 3.0\0"): "iptc",
    (0xFE, b""): "comment",
}
_JPEG_DENSITY: Final = b"JFIF\0"
_NO_DENSITY: Final = struct.pack(">BHH", 0, 1, 1)  # what a JFIF header says that knows no density
_JPEG_SIZES: Final = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # SOF0..SOF15; the three are tables
_JPEG_MARKER: Final = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])")  # in coded data: neither stuffing nor a restart
_PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_PNG_METADATA: Final = {b"eXIf": "exif", b"iCCP": "icc", b"cICP": "cicp", b"tEXt": "comment", b"zTXt": "comment"}
PNG_XMP: Final = b"XML:com.adobe.xmp\0"
PNG_BLOCKS: Final = {b"gAMA": "gamma", b"cHRM": "chromaticities", b"sRGB": "srgb", b"pHYs": "density"}
_PNG_BLOCK_BYTES: Final = {b"gAMA": 4, b"cHRM": 32, b"sRGB": 1, b"pHYs": 9}  # of another length, no reader takes them
_PNG_GREY: Final = 0
_PNG_GREY_ALPHA: Final = 4
_WEBP_METADATA: Final = {b"EXIF": "exif", b"XMP ": "xmp", b"ICCP": "icc"}
_TIFF_METADATA: Final = {282: "density", 34665: "exif", 700: "xmp", 34675: "icc", 33723: "iptc"}
_TIFF_COLORS: Final = {0, 1, 2, 3, 6}  # grey (two ways), RGB, palette, YCbCr
_TIFF_NUMBERS: Final = {1: "B", 3: "H", 4: "I", 16: "Q"}
_TIFF_ALPHA: Final = {1, 2}  # premultiplied or not
_EXTRA_SAMPLES: Final = 338
_ORIENTATION: Final = 274
# What reading a file whose numbers lead nowhere may raise.
_DAMAGED: Final = (struct.error, IndexError, OverflowError, ValueError, KeyError)


@dataclass(frozen=True)
class Header:
    """What a file says of itself.

    Attributes:
        format: one of the format names of this module.
        width: stored width in pixels, before any rotation.
        height: stored height in pixels.
        metadata: the kinds of metadata in the file, such as `exif`, `xmp`, `icc`, `iptc`, `comment`.
        blocks: those of the kinds `gamma`, `chromaticities`, `srgb` and `density` as they stand in the file; only a
            file of the same format can carry them.
        grey_alpha: the pixels are grey with alpha, which decoders turn into colour with alpha.
        lossless: the file is a lossless WebP.
    """

    format: str
    width: int
    height: int
    metadata: frozenset[str]
    blocks: Mapping[str, bytes] = field(default_factory=dict)
    grey_alpha: bool = False
    lossless: bool = False


def inspect(data: bytes) -> Header:
    """Read the header of an image file.

    Args:
        data: the whole file.

    Returns:
        Its header.

    Raises:
        ImageError: the file is no image of a known format, is truncated, has several frames, or keeps its colours in
            a way that would not survive.
    """
    try:
        for recognised, reader in _READERS:
            if recognised(data):
                header = reader(data)
                break
        else:
            raise ImageError(f"is not a {JPEG}, {PNG}, {WEBP}, {TIFF} or {BMP} image")
    except _DAMAGED as e:
        raise ImageError("is truncated or damaged") from e
    if header.width < 1 or header.height < 1:
        raise ImageError(f"has a size of {header.width}x{header.height} pixels")
    return header


def exif_orientation(exif: bytes) -> int:
    """Return the orientation tag 1..8 of an EXIF block (a TIFF structure, without `Exif`); 1 where it has none."""
    try:
        value = _tiff_directory(exif, *_tiff_start(exif))[0].get(_ORIENTATION, 1)
    except _DAMAGED:
        return 1
    return value if 1 <= value <= 8 else 1


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield (marker, payload) up to the end-of-image marker; bytes behind it are ignored."""
    position = 2
    while match := _JPEG_MARKER.search(data, position):
        marker, position = match[1][0], match.end()
        if marker == 0xD9:
            return
        length = struct.unpack_from(">H", data, position)[0]
        yield marker, data[position + 2 : position + length]
        position += length
    raise ImageError("is truncated: the end of the JPEG is missing")


def _read_jpeg(data: bytes) -> Header:
    width = height = 0
    metadata: set[str] = set()
    blocks: dict[str, bytes] = {}
    for marker, payload in _jpeg_segments(data):
        metadata |= {kind for (at, start), kind in _JPEG_METADATA.items() if marker == at and payload.startswith(start)}
        if marker == 0xE0 and payload.startswith(_JPEG_DENSITY) and payload[7:12] != _NO_DENSITY:
            blocks.setdefault("density", payload[7:12])
        if marker in _JPEG_SIZES:
            height, width, components = struct.unpack_from(">HHB", payload, 1)
            if components == 4:
                raise ImageError("is a CMYK JPEG: convert it to RGB first")
    return Header(JPEG, width, height, frozenset(metadata | blocks.keys()), blocks)


def _read_png(data: bytes) -> Header:
    position = len(_PNG_SIGNATURE)
    metadata: set[str] = set()
    blocks: dict[str, bytes] = {}
    width, height, _, color = struct.unpack_from(">IIBB", data, position + 8)
    while True:
        length, name = struct.unpack_from(">I4s", data, position)
        start, position = position + 8, position + 12 + length
        if position > len(data):
            raise ImageError("is truncated: the end of the PNG is missing")
        if name == b"IEND":
            metadata |= blocks.keys()
            return Header(PNG, width, height, frozenset(metadata), blocks, grey_alpha=color == _PNG_GREY_ALPHA)
        if name == b"acTL" and struct.unpack_from(">I", data, start)[0] > 1:
            raise ImageError("is an animated PNG: one image a file is expected")
        if name == b"tRNS" and color == _PNG_GREY:  # OpenCV leaves it out
            raise ImageError("is a grey PNG with a transparent shade: convert it to grey with alpha first")
        if length == _PNG_BLOCK_BYTES.get(name):
            blocks.setdefault(PNG_BLOCKS[name], data[start : start + length])
        elif name in _PNG_METADATA:
            metadata.add(_PNG_METADATA[name])
        elif name == b"iTXt":
            metadata.add("xmp" if data.startswith(PNG_XMP, start) else "comment")


def _read_webp(data: bytes) -> Header:
    end = struct.unpack_from("<I", data, 4)[0] + 8
    if end > len(data):
        raise ImageError("is truncated: the end of the WebP is missing")
    width = height = 0
    lossless, position = False, 12
    metadata: set[str] = set()
    while position + 8 <= end:
        name, length = struct.unpack_from("<4sI", data, position)
        start, position = position + 8, position + 8 + length + length % 2
        if name == b"ANIM":
            raise ImageError("is an animated WebP: one image a file is expected")
        if name == b"VP8X":
            width, height = (int.from_bytes(data[start + at : start + at + 3], "little") + 1 for at in (4, 7))
        elif name == b"VP8L":
            lossless, bits = True, struct.unpack_from("<I", data, start + 1)[0]
            width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        elif name == b"VP8 ":
            width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", data, start + 6))
        elif name in _WEBP_METADATA:
            metadata.add(_WEBP_METADATA[name])
    return Header(WEBP, width, height, frozenset(metadata), lossless=lossless)


def _tiff_start(data: bytes) -> tuple[str, bool, int]:
    """Return byte order, whether it is a BigTIFF, and the offset of the first directory."""
    order = {b"II": "<", b"MM": ">"}[data[:2]]
    big = struct.unpack_from(order + "H", data, 2)[0] == 43
    offset: int = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)[0]
    return order, big, offset


def _tiff_directory(data: bytes, order: str, big: bool, offset: int) -> tuple[dict[int, int], int]:
    """Return tag -> number (0 where the value is no number kept inside the entry), and the next directory's offset."""
    count = struct.unpack_from(order + ("Q" if big else "H"), data, offset)[0]
    offset += 8 if big else 2
    values: dict[int, int] = {}
    for _ in range(min(count, 0xFFFF)):
        tag, kind, length = struct.unpack_from(order + ("HHQ" if big else "HHI"), data, offset)
        inline = kind in _TIFF_NUMBERS and length * struct.calcsize(_TIFF_NUMBERS[kind]) <= (8 if big else 4)
        place = offset + (12 if big else 8)
        values[tag] = struct.unpack_from(order + _TIFF_NUMBERS[kind], data, place)[0] if inline else 0
        offset += 20 if big else 12
    following: int = struct.unpack_from(order + ("Q" if big else "I"), data, offset)[0]
    return values, following


def _read_tiff(data: bytes) -> Header:
    order, big, offset = _tiff_start(data)
    page, following = _tiff_directory(data, order, big, offset)
    if following:
        raise ImageError("is a TIFF of several pages: one image a file is expected")
    colors, samples = page.get(262, 1), page.get(277, 1)
    if colors not in _TIFF_COLORS or samples not in (1, 3, 4):
        raise ImageError(
            f"is a TIFF with photometric interpretation {colors} and {samples} samples a pixel: grey and RGB are read"
        )
    if page.get(_EXTRA_SAMPLES, 0) in _TIFF_ALPHA:  # OpenCV multiplies it into the colours
        raise ImageError("is a TIFF with an alpha channel, which would change its colours: convert it to PNG first")
    metadata = frozenset(kind for tag, kind in _TIFF_METADATA.items() if tag in page)
    return Header(TIFF, page.get(256, 0), page.get(257, 0), metadata)


def _read_bmp(data: bytes) -> Header:
    old = struct.unpack_from("<I", data, 14)[0] == 12
    width, height = struct.unpack_from("<HH" if old else "<ii", data, 18)
    return Header(BMP, width, abs(height), frozenset())


def _starts(*signatures: bytes) -> Callable[[bytes], bool]:
    return lambda data: data.startswith(signatures)


_READERS: Final[tuple[tuple[Callable[[bytes], bool], Callable[[bytes], Header]], ...]] = (
    (_starts(b"\xff\xd8\xff"), _read_jpeg),
    (_starts(_PNG_SIGNATURE), _read_png),
    (lambda data: data[:4] == b"RIFF" and data[8:12] == b"WEBP", _read_webp),
    (_starts(b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), _read_tiff),
    (_starts(b"BM"), _read_bmp),
)

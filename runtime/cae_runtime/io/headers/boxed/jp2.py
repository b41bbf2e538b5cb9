"""The header of JPEG 2000 files (ISO/IEC 15444-1): boxes around a codestream, or the codestream alone."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from cae_runtime.errors import ImageError
from cae_runtime.io.formats import J2K, JP2
from cae_runtime.io.headers.boxed.boxes import Box, Fields, boxes
from cae_runtime.io.headers.header import Header

SIGNATURE: Final = b"\0\0\0\x0cjP  \r\n\x87\n"
START: Final = b"\xff\x4f\xff\x51"  # of a codestream: its first marker, and that of the size
_END: Final = b"\xff\xd9"
_STYLE, _STYLE_OF_COMPONENT, _TILE_PART, _DATA = 0xFF52, 0xFF53, 0xFF90, 0xFF93
_OWN_PRECINCTS: Final = 1
_WHOLE: Final = 15  # exponent of the size of a precinct where the file does not give one
_SRGB, _GRAY = 16, 17
_PACKETS_MAX: Final = 2**22  # a picture of 2^28 pixels has some thousands
_SEGMENTS_MAX: Final = 2**17  # of markers, as those of tiles
_STYLES_MAX: Final = 256  # that differ
_USUAL_SUBSAMPLING: Final = (1, 1)
_COLORS: Final = 3
_DEPTH_LEAST: Final = 8  # bits that OpenCV reads
_COLOR_MODELS: Final = {_SRGB, _GRAY}
_LISTED: Final = 1  # a `colr` box with the number of a color space; others have a profile
_ICC: Final = (2, 3)
_PROFILES: Final = {b"RGB ", b"GRAY"}
_ALPHA: Final = b"\0\3\0\1"  # the fourth channel is an alpha channel


@dataclass(frozen=True)
class Jp2Header(Header):
    """The header of a JPEG 2000.

    Attributes:
        depth: bits of each value, 8..16.
        components: 1 gray, 3 color, 4 color and alpha.
        boxes: of the file; empty for a codestream alone.
        of_colors: those about its colors, which lie in another one.
        stream: where the codestream starts and ends.
    """

    depth: int = 8
    components: int = 3
    boxes: tuple[Box, ...] = ()
    of_colors: tuple[Box, ...] = ()
    stream: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class _Size:
    width: int
    height: int
    tiles: int
    components: int
    depth: int


def is_jp2(data: bytes) -> bool:
    """Return whether a file is a JPEG 2000."""
    return data.startswith((SIGNATURE, START))


def read(data: bytes) -> Jp2Header:
    """Read the header of a JPEG 2000; see `cae_runtime.io.headers.inspect.inspect`."""
    outer: tuple[Box, ...] = ()
    inner: tuple[Box, ...] = ()
    start, end = 0, len(data)
    if data.startswith(SIGNATURE):
        outer = tuple(boxes(data, 0, len(data)))
        inner = tuple(part for box in outer if box.name == b"jp2h" for part in boxes(data, box.start, box.end))
        streams = [box for box in outer if box.name == b"jp2c"]
        if not streams:
            raise ImageError("is damaged: it is a JPEG 2000 file without a picture")
        if len(streams) > 1:
            raise ImageError(f"is a JPEG 2000 of {len(streams)} pictures: only single pictures are read")
        start, end = streams[0].start, streams[0].end
    if not data.startswith(START, start):
        raise ImageError("is damaged: its JPEG 2000 data has a wrong beginning")
    size = _size(Fields(data, start + 4, end))
    if outer:
        _check_colors(data, inner, size.components)
    for levels, layers, precincts in _styles(data, start, end):
        if _packets(size, levels, precincts) * layers > _PACKETS_MAX:
            raise ImageError(f"is a JPEG 2000 of more than {_PACKETS_MAX} packets, the limit: it would take very long")
    return Jp2Header(
        JP2 if outer else J2K, size.width, size.height,
        bits=size.depth if 8 < size.depth < 16 else 0, depth=size.depth, components=size.components,
        boxes=outer, of_colors=inner,
        stream=(start, end),
    )  # fmt: skip


def boxed(data: bytes, header: Jp2Header) -> bytes:
    """Wrap a codestream in boxes that name its colors, gray or sRGB; without them, decoders warn."""
    if header.format == JP2:
        return data
    size = struct.pack(">IIHBBBB", header.height, header.width, header.components, header.depth - 1, 7, 0, 0)
    model = struct.pack(">BBBI", 1, 0, 0, _SRGB if header.components >= _COLORS else _GRAY)
    inner = b"".join(
        struct.pack(">I4s", 8 + len(part), name) + part for name, part in ((b"ihdr", size), (b"colr", model))
    )
    start = SIGNATURE + struct.pack(">I4s4sI4s", 20, b"ftyp", b"jp2 ", 0, b"jp2 ")
    return start + struct.pack(">I4s", 8 + len(inner), b"jp2h") + inner + struct.pack(">I4s", 0, b"jp2c") + data


def _check_colors(data: bytes, inner: tuple[Box, ...], components: int) -> None:
    """Refuse colors that are not read.

    Raises:
        ImageError: they are of a palette, or no sRGB or gray; or a fourth channel is no alpha.
    """
    if any(box.name in (b"pclr", b"cmap") for box in inner):
        raise ImageError("is a JPEG 2000 of palette colors, which is not read: convert it to PNG first")
    for box in inner:
        if box.name != b"colr":
            continue
        kind = Fields(data, box.start, box.end).number(1)
        profile = data[box.start + 3 : box.end][16:20]
        if kind in _ICC and profile not in _PROFILES:
            raise ImageError(
                f"is a JPEG 2000 with a color profile of {profile.decode('latin-1').strip()!r}, which is not read (RGB "
                "and gray are): convert it to PNG first"
            )
        if kind == _LISTED:
            model = Fields(data, box.start + 3, box.end).number(4)
            if model not in _COLOR_MODELS:
                raise ImageError(
                    f"is a JPEG 2000 of color space {model}, which is not read (sRGB, 16, and gray, 17, are): "
                    "convert it to PNG first"
                )
    if components > _COLORS and not any(_has_alpha(data, box) for box in inner):
        raise ImageError(
            "is a JPEG 2000 of 4 channels that does not say that the fourth is alpha: convert it to PNG first"
        )


def _has_alpha(data: bytes, box: Box) -> bool:
    """Return whether a box says that the fourth channel is alpha."""
    if box.name != b"cdef":
        return False
    return any(data.startswith(_ALPHA, at) for at in range(box.start + 2, box.end - 5, 6))


def _size(fields: Fields) -> _Size:
    """Read the marker segment of the size, behind its marker."""
    fields.number(4)  # length and capabilities
    right, below, left, top, tile_width, tile_height, tile_left, tile_top = (fields.number(4) for _ in range(8))
    components = fields.number(2)
    kinds = {(fields.number(1), fields.number(1), fields.number(1)) for _ in range(components)}
    if not (left < right and top < below and tile_width and tile_height and tile_left <= left and tile_top <= top):
        raise ImageError("is damaged: it does not give its size")
    if len(kinds) != 1 or next(iter(kinds))[1:] != _USUAL_SUBSAMPLING:
        raise ImageError("is a JPEG 2000 whose channels differ in size or depth, which is not read")
    depth = next(iter(kinds))[0]
    if components not in (1, 3, 4):
        raise ImageError(
            f"is a JPEG 2000 of {components} channels: gray (1), color (3) and color with alpha (4) are read"
        )
    if depth < _DEPTH_LEAST - 1:
        raise ImageError(f"is a JPEG 2000 of {depth + 1}-bit values: 8 to 16 bits are read")
    if depth >= 16:  # bit 7: signed
        raise ImageError("is a JPEG 2000 of signed values or of more than 16 bits, which is not read")
    tiles = -(-(right - tile_left) // tile_width) * -(-(below - tile_top) // tile_height)
    return _Size(right - left, below - top, tiles, components, depth + 1)


def _styles(data: bytes, start: int, end: int) -> Iterator[tuple[int, int, bytes]]:
    """Yield each coding style of the file once: levels, layers, sizes of precincts.

    Raises:
        ImageError: the file is truncated, its parts do not follow each other, or there are too many.
    """
    at, layers = start + 2, 1
    part_end = end
    known: set[tuple[int, int, bytes]] = set()
    for _ in range(_SEGMENTS_MAX):
        fields = Fields(data, at, end)
        marker = fields.number(2)
        if marker == _DATA or data.startswith(_END, at):
            at = part_end if marker == _DATA else end
            if at >= end:
                return
            part_end = end
            continue
        length = fields.number(2)
        if marker < 0xFF00 or length < 2:
            raise ImageError("is damaged: a marker is missing")
        inner = Fields(data, at + 4, min(at + 2 + length, end))
        if marker == _TILE_PART:
            inner.number(2)
            part = inner.number(4)
            part_end = at + part if part else end - len(_END)
            if part_end > end or part_end < at + length:
                raise ImageError("is truncated or damaged: a tile ends beyond the end of the file")
        elif marker in (_STYLE, _STYLE_OF_COMPONENT):
            if marker == _STYLE:
                flags = inner.number(1)
                inner.number(1)
                layers = max(1, inner.number(2))
                inner.number(1)
            else:
                inner.number(1)
                flags = inner.number(1)
            levels = inner.number(1)
            inner.number(4)
            rest = data[inner.at : min(at + 2 + length, end)] if flags & _OWN_PRECINCTS else b""
            style = levels, layers, rest
            if style not in known:
                known.add(style)
                yield style
            if len(known) > _STYLES_MAX:
                raise ImageError(f"is a JPEG 2000 of more than {_STYLES_MAX} coding styles, the limit")
        at += 2 + length
    raise ImageError(f"is a JPEG 2000 of more than {_SEGMENTS_MAX} parts, the limit")


def _packets(size: _Size, levels: int, precincts: bytes) -> int:
    """Return about how many packets one layer has."""
    count = 0
    for level in range(min(levels, 32) + 1):
        scale = levels - level
        exponents = precincts[level] if level < len(precincts) else _WHOLE * 17
        wide, high = (-(-side // 2**scale) for side in (size.width, size.height))
        count += -(-wide // 2 ** (exponents & 15)) * -(-high // 2 ** (exponents >> 4))
    return max(count, size.tiles * (levels + 1)) * size.components

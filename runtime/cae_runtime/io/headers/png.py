"""The header of PNG files: their chunks."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from cae_runtime.errors import ImageError
from cae_runtime.io.formats import PNG
from cae_runtime.io.headers.header import PARTS_MAX, Chunk, Header
from cae_shared.text import counted

SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
PNG_XMP: Final = b"XML:com.adobe.xmp\0"
_GRAY: Final = 0
_GRAY_ALPHA: Final = 4
_DRAWN: Final = {b"IHDR", b"PLTE", b"tRNS", b"acTL", b"IDAT", b"fcTL", b"fdAT"}


@dataclass(frozen=True)
class PngHeader(Header):
    """The header of a PNG.

    Attributes:
        transparent: the value of decoded gray pixels that are fully transparent, 0..255 or of 16 bits 0..65535; None if
            there is none.
    """

    transparent: int | None = None


def chunks(data: bytes) -> Iterator[Chunk]:
    """Yield the chunks of a PNG in order, up to and including IEND; checksums are not checked.

    Raises:
        ImageError: the file ends before IEND.
        struct.error: it ends inside a chunk's length or name.
    """
    position = len(SIGNATURE)
    while True:
        length, name = struct.unpack_from(">I4s", data, position)
        start, position = position + 8, position + 12 + length
        if position > len(data):
            raise ImageError("is truncated: the end of the PNG is missing")
        yield Chunk(name, start, start + length)
        if name == b"IEND":
            return


def read(data: bytes) -> PngHeader:
    """Read the header of a PNG; see `cae_runtime.io.headers.inspect.inspect`."""
    width, height, bits, color = struct.unpack_from(">IIBB", data, len(SIGNATURE) + 8)
    parts: list[Chunk] = []
    announced: int | None = None
    transparent: int | None = None
    frames = 0
    for number, chunk in enumerate(chunks(data)):
        if number <= PARTS_MAX:
            parts.append(chunk)
        if (chunk.name == b"IHDR") != (number == 0):
            raise ImageError("is damaged: it gives its size more than once, or not at all")
        if chunk.name == b"acTL":
            announced = struct.unpack_from(">I", data, chunk.start)[0]
        frames += chunk.name == b"fcTL"
        if chunk.name == b"tRNS" and color == _GRAY:
            shade = struct.unpack_from(">H", data, chunk.start)[0] & (2**bits - 1)
            transparent = shade if bits > 8 else shade * 255 // (2**bits - 1)
    if announced is None:
        frames = 0  # what belongs to frames is left over: a still picture
    elif frames != announced:
        raise ImageError(
            f"is damaged: its header says {counted(announced, 'frame')} of an animation, but it has {frames}"
        )
    if frames:
        _check_sums(data)
    if frames > 1 and transparent is not None:
        raise ImageError(
            "is an animated gray PNG with a transparent shade, which is not read: convert it to color first"
        )
    return PngHeader(
        PNG,
        width,
        height,
        gray_alpha=color == _GRAY_ALPHA,
        frames=max(frames, 1),
        chunks=tuple(parts) if len(parts) <= PARTS_MAX else None,
        transparent=transparent,
    )


def _check_sums(data: bytes) -> None:
    """Refuse an animation with a wrong checksum: OpenCV puts its frames into PNGs with checksums of its own."""
    for chunk in chunks(data):
        found = zlib.crc32(memoryview(data)[chunk.start - 4 : chunk.end])
        if chunk.name in _DRAWN and struct.unpack_from(">I", data, chunk.end)[0] != found:
            raise ImageError(f"is damaged: the checksum of a part of it ({chunk.name.decode()}) is wrong")

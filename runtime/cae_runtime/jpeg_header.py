"""The segments of a JPEG, and what they say of the picture."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from cae_runtime.errors import ImageError
from cae_runtime.formats import JPEG
from cae_runtime.header import Header

SIGNATURE: Final = b"\xff\xd8\xff"
JPEG_EXIF: Final = b"Exif\0\0"
JPEG_XMP: Final = b"http://ns.adobe.com/xap/1.0/\0"
JPEG_ICC: Final = b"ICC_PROFILE\0"
START_OF_SCAN: Final = 0xDA
END_OF_IMAGE: Final = 0xD9
_METADATA: Final = {
    (0xE1, JPEG_EXIF): "exif",
    (0xE1, JPEG_XMP): "xmp",
    (0xE1, b"http://ns.adobe.com/xmp/extension/\0"): "extended xmp",
    (0xE2, JPEG_ICC): "icc",
    (0xE2, b"MPF\0"): "mpf",
    (0xED, b"Photoshop 3.0\0"): "iptc",
    (0xFE, b""): "comment",
}
_DENSITY: Final = b"JFIF\0"
_NO_DENSITY: Final = struct.pack(">BHH", 0, 1, 1)  # what a JFIF header says that knows no density
_FRAMES: Final = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # SOF0..SOF15; the three are tables
_MARKER: Final = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])")  # in coded data: neither stuffing nor a restart


@dataclass(frozen=True)
class Segment:
    """One marker of a JPEG, with what belongs to it.

    Attributes:
        marker: the byte behind 0xFF, such as 0xE1 of APP1.
        payload: the bytes behind the marker and the length; empty where the marker is END_OF_IMAGE. The coded data
            behind a START_OF_SCAN is not part of it.
        start: where the marker's 0xFF is in the file.
        end: where the payload ends; coded data, fill bytes or the next segment follow.
    """

    marker: int
    payload: bytes
    start: int
    end: int


def segments(data: bytes) -> Iterator[Segment]:
    """Yield the segments of a JPEG in order, behind its start-of-image marker.

    The last is END_OF_IMAGE; bytes behind its end belong to no JPEG.

    Raises:
        ImageError: the file ends before the end-of-image marker.
        struct.error: it ends inside a segment's length.
    """
    position = 2
    while match := _MARKER.search(data, position):
        marker, position = match[1][0], match.end()
        if marker == END_OF_IMAGE:
            yield Segment(marker, b"", match.start(), position)
            return
        length = struct.unpack_from(">H", data, position)[0]
        yield Segment(marker, data[position + 2 : position + length], match.start(), position + length)
        position += length
    raise ImageError("is truncated: the end of the JPEG is missing")


def read(data: bytes) -> Header:
    """Read the header of a JPEG; see `cae_runtime.container.inspect`."""
    width = height = 0
    metadata: set[str] = set()
    blocks: dict[str, bytes] = {}
    for segment in segments(data):
        marker, payload = segment.marker, segment.payload
        metadata |= {kind for (at, start), kind in _METADATA.items() if marker == at and payload.startswith(start)}
        if marker == 0xE0 and payload.startswith(_DENSITY) and payload[7:12] != _NO_DENSITY:
            blocks.setdefault("density", payload[7:12])
        if marker in _FRAMES:
            height, width, components = struct.unpack_from(">HHB", payload, 1)
            if components == 4:
                raise ImageError("is a CMYK JPEG: convert it to RGB first")
    return Header(JPEG, width, height, frozenset(metadata | blocks.keys()), blocks)

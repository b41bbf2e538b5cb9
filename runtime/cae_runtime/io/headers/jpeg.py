"""The header of JPEG files: their segments and scans."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from cae_runtime.errors import ImageError
from cae_runtime.io.formats import JPEG
from cae_runtime.io.headers.header import PARTS_MAX, Header

SIGNATURE: Final = b"\xff\xd8\xff"
JPEG_EXIF: Final = b"Exif\0\0"
JPEG_XMP: Final = b"http://ns.adobe.com/xap/1.0/\0"
JPEG_ICC: Final = b"ICC_PROFILE\0"
START_OF_SCAN: Final = 0xDA
END_OF_IMAGE: Final = 0xD9
_MARKER_MIN: Final = 0xC0  # 0x01 has no length, the others below no meaning: they could hide a second size
_FRAMES: Final = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # SOF0..SOF15; the three are tables
_BASELINE: Final = {0xC0, 0xC1}
_PROGRESSIVE: Final = {0xC2, 0xCA}
_ARITHMETIC: Final = {0xC9, 0xCA}
_LOSSLESS: Final = {0xC3, 0xCB}
_JPEG_LS: Final = 0xF7
_RESTART_INTERVAL: Final = 0xDD
_ADOBE: Final = 0xEE
_CMYK: Final = 4  # components
_SCANS_MAX: Final = 100  # a progressive photograph has about ten; thousands would take minutes to decode
PIXELS_OF_SCANS_MAX: Final = 2**32  # every scan covers all pixels; this allows 16 scans of the largest picture
_MARKER: Final = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])")  # in compressed data: neither stuffing nor a restart marker


@dataclass(frozen=True)
class Segment:
    """A segment of a JPEG: a marker and its payload.

    Attributes:
        marker: the byte after 0xFF, such as 0xE1 for APP1.
        payload: the bytes after the marker and the length; empty for END_OF_IMAGE. The compressed data after a
            START_OF_SCAN is not part of it.
        start: where the marker's 0xFF is in the file.
        end: where the payload ends; compressed data, fill bytes or the next segment follow.
    """

    marker: int
    payload: bytes
    start: int
    end: int


@dataclass(frozen=True)
class Scan:
    """One scan of a JPEG.

    Attributes:
        components: the color components that it codes.
        first: the first of their 64 coefficients that it codes.
        last: the last one.
        low_bit: the lowest bit that is known after this scan; 0: all bits.
        restart_interval: number of blocks between restart markers; 0: none.
        start: where its compressed data begins in the file.
        end: where it ends: at the next marker other than a restart marker.
    """

    components: tuple[int, ...]
    first: int
    last: int
    low_bit: int
    restart_interval: int
    start: int
    end: int


@dataclass(frozen=True, kw_only=True)
class JpegHeader(Header):
    """The header of a JPEG.

    Attributes:
        sampling: component -> its horizontal and vertical sampling factor.
        scans: in order.
        progressive: the coefficients come in several scans.
        arithmetic: it uses arithmetic coding instead of Huffman coding.
        inverted: of CMYK: 255 is no ink, as Adobe's programs write it, not all ink.
        segments: in order; None if there are more than 4096.
    """

    inverted: bool
    sampling: Mapping[int, tuple[int, int]]
    scans: tuple[Scan, ...]
    progressive: bool
    arithmetic: bool
    segments: tuple[Segment, ...] | None


def segments(data: bytes) -> Iterator[Segment]:
    """Yield the segments of a JPEG in order, after its start-of-image marker.

    The last is END_OF_IMAGE; later bytes do not belong to the JPEG.

    Raises:
        ImageError: the file ends before the end-of-image marker, or has a marker that JPEGs do not use.
        struct.error: it ends inside a segment's length.
    """
    position = 2
    while match := _MARKER.search(data, position):
        marker, position = match[1][0], match.end()
        if marker < _MARKER_MIN:
            raise ImageError(f"is damaged: it has the marker 0x{marker:02X}, which is not used in JPEGs")
        if marker == END_OF_IMAGE:
            yield Segment(marker, b"", match.start(), position)
            return
        length = struct.unpack_from(">H", data, position)[0]
        yield Segment(marker, data[position + 2 : position + length], match.start(), position + length)
        position += length
    raise ImageError("is truncated: the end of the JPEG is missing")


def read(data: bytes) -> JpegHeader:
    """Read the header of a JPEG; see `cae_runtime.io.headers.inspect.inspect`."""
    frame: Segment | None = None
    interval = 0
    scans: list[Scan] = []
    unfinished: tuple[Segment, int] | None = None
    parts: list[Segment] = []
    for number, segment in enumerate(segments(data)):
        if number <= PARTS_MAX:
            parts.append(segment)
        marker, payload = segment.marker, segment.payload
        if unfinished:
            scans.append(_scan(*unfinished, segment.start))
            unfinished = None
        if marker in _FRAMES:
            if frame:
                raise ImageError("is damaged: it gives its size twice")
            frame = segment
        if marker == _JPEG_LS:
            raise ImageError("is a JPEG-LS file, which is not read: convert it to PNG or TIFF first")
        if marker == _RESTART_INTERVAL:
            interval = struct.unpack(">H", payload)[0]
        if marker == START_OF_SCAN:
            unfinished = segment, interval
            if len(scans) >= _SCANS_MAX:
                raise ImageError(f"is a JPEG of more than {_SCANS_MAX} scans, the limit: it would take very long")
    if frame is None or not scans:
        raise ImageError("is damaged: it is a JPEG without a picture")
    width, height = _size(frame)
    if len(scans) > 1 and len(scans) * width * height > PIXELS_OF_SCANS_MAX:
        raise ImageError(
            f"is a JPEG of {width}x{height} pixels in {len(scans)} scans, each of which goes through all pixels: "
            f"the limit is {PIXELS_OF_SCANS_MAX} pixels in all scans together, as it would take very long"
        )
    return JpegHeader(
        JPEG,
        width,
        height,
        cmyk=len(_sampling(frame)) == _CMYK,
        inverted=any(part.marker == _ADOBE and part.payload.startswith(b"Adobe") for part in parts),
        sampling=_sampling(frame),
        scans=tuple(scans),
        progressive=frame.marker in _PROGRESSIVE,
        arithmetic=frame.marker in _ARITHMETIC,
        segments=tuple(parts) if len(parts) <= PARTS_MAX else None,
    )


def _size(frame: Segment) -> tuple[int, int]:
    """Return width and height; refuse JPEGs that OpenCV does not decode."""
    bits, height, width, components = struct.unpack_from(">BHHB", frame.payload)
    if frame.marker in _LOSSLESS:
        raise ImageError("is a lossless JPEG, which is not read: convert it to PNG or TIFF first")
    if frame.marker not in _BASELINE | _PROGRESSIVE | _ARITHMETIC:
        raise ImageError("is a hierarchical JPEG, which is not read: convert it to PNG or TIFF first")
    if bits != 8:
        raise ImageError(f"is a JPEG of {bits} bits per channel, 8 are read: convert it to a 16-bit PNG or TIFF first")
    if components not in (1, 3, _CMYK):
        raise ImageError(f"is a JPEG of {components} components: gray (1), color (3) and CMYK (4) are read")
    return width, height


def _sampling(frame: Segment) -> dict[int, tuple[int, int]]:
    payload = frame.payload
    places = range(6, 6 + 3 * payload[5], 3)
    found = {payload[at]: (payload[at + 1] >> 4, payload[at + 1] & 15) for at in places}
    if len(found) != payload[5] or not all(1 <= factor <= 4 for factors in found.values() for factor in factors):
        raise ImageError("is damaged: its color components are not distinct, or have no size")
    return found


def _scan(segment: Segment, interval: int, end: int) -> Scan:
    payload = segment.payload
    count = payload[0]
    first, last, bits = payload[1 + 2 * count : 4 + 2 * count]
    return Scan(tuple(payload[1 : 1 + 2 * count : 2]), first, last, bits & 15, interval, segment.end, end)

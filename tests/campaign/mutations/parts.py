"""Files as lists of named parts, which are taken apart and put together again with right lengths and checksums."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

Part = tuple[bytes, bytes]  # name, content

PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_BARE: Final = {0xD8, 0xD9, 0x01, *range(0xD0, 0xD8)}  # markers of JPEG without a length
_DATA, _HEAD, _REST = b"data", b"head", b"rest"


@dataclass(frozen=True)
class Layout:
    """How the files of a format consist of parts.

    Attributes:
        split: takes a file apart.
        join: puts one together.
        deeper: names of parts that consist of parts themselves, and how many bytes come before those.
        inner: the layout of these.
    """

    split: Callable[[bytes], list[Part]]
    join: Callable[[list[Part]], bytes]
    deeper: tuple[tuple[bytes, int], ...] = ()


def png_parts(data: bytes) -> list[Part]:
    """Return the chunks of a PNG."""
    parts, at = [], 8
    while at + 8 <= len(data):
        (size,) = struct.unpack_from(">I", data, at)
        parts.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + size]))
        at += 12 + size
    return parts


def png_of(parts: list[Part]) -> bytes:
    """Return a PNG of chunks, with their checksums."""
    chunks = [
        struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        for name, content in parts
    ]
    return PNG_SIGNATURE + b"".join(chunks)


def riff_parts(data: bytes) -> list[Part]:
    """Return the chunks of a WebP or AVI; the first part is its kind."""
    parts, at = [(_HEAD, data[8:12])], 12
    while at + 8 <= len(data):
        (size,) = struct.unpack_from("<I", data, at + 4)
        parts.append((data[at : at + 4], data[at + 8 : at + 8 + size]))
        at += 8 + size + size % 2
    return parts


def riff_of(parts: list[Part]) -> bytes:
    """Return a RIFF file of chunks."""
    body = b"".join(
        content if name == _HEAD else name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)
        for name, content in parts
    )
    return b"RIFF" + struct.pack("<I", len(body) % 2**32) + body


def jpeg_parts(data: bytes) -> list[Part]:
    """Return the segments of a JPEG; what follows a scan's header is a part of its own."""
    parts, at = [], 0
    while at + 2 <= len(data):
        if data[at] != 0xFF:
            end = at
            while end + 1 < len(data) and not (
                data[end] == 0xFF and data[end + 1] not in (0, 0xFF, *range(0xD0, 0xD8))
            ):
                end += 1
            end = end if end + 1 < len(data) else len(data)
            parts.append((_DATA, data[at:end]))
            at = end
            continue
        marker = data[at + 1]
        if marker in _BARE:
            parts.append((bytes([0xFF, marker]), b""))
            at += 2
            continue
        size = int.from_bytes(data[at + 2 : at + 4], "big")
        parts.append((bytes([0xFF, marker]), data[at + 4 : at + 2 + size]))
        at += 2 + max(size, 2)
    return parts


def jpeg_of(parts: list[Part]) -> bytes:
    """Return a JPEG of segments."""
    made = []
    for name, content in parts:
        if name == _DATA:
            made.append(content)
        elif name[1] in _BARE:
            made.append(name + content)
        else:
            made.append(name + struct.pack(">H", (len(content) + 2) % 65536) + content)
    return b"".join(made)


def codestream_parts(data: bytes) -> list[Part]:
    """Return the segments of a JPEG 2000 codestream, and what follows its first tile's header."""
    parts, at = [(data[:2], b"")], 2
    while at + 4 <= len(data) and data[at : at + 2] != b"\xff\x93":
        size = int.from_bytes(data[at + 2 : at + 4], "big")
        parts.append((data[at : at + 2], data[at + 4 : at + 2 + size]))
        at += 2 + max(size, 2)
    return [*parts, (_REST, data[at:])]


def codestream_of(parts: list[Part]) -> bytes:
    """Return a codestream of segments."""
    return b"".join(
        content
        if name == _REST
        else name + (struct.pack(">H", (len(content) + 2) % 65536) + content if content else b"")
        for name, content in parts
    )


def box_parts(data: bytes) -> list[Part]:
    """Return the boxes of an AVIF, HEIC, JPEG 2000 or MP4, or those within one."""
    parts, at = [], 0
    while at + 8 <= len(data):
        size, name = struct.unpack_from(">I4s", data, at)
        head = 8
        if size == 1 and at + 16 <= len(data):
            (size,) = struct.unpack_from(">Q", data, at + 8)
            head = 16
        end = len(data) if size == 0 else at + max(size, head)
        parts.append((name, data[at + head : end]))
        at = end
    return parts


def box_of(parts: list[Part]) -> bytes:
    """Return boxes one after the other."""
    return b"".join(struct.pack(">I4s", (len(content) + 8) % 2**32, name) + content for name, content in parts)


def gif_parts(data: bytes) -> list[Part]:
    """Return the header with its colors, extensions, images and the end of a GIF."""
    at = 13 + (3 * 2 ** ((data[10] & 7) + 1) if data[10] & 128 else 0)
    parts = [(_HEAD, data[:at])]
    while at < len(data):
        start, kind = at, data[at : at + 1]
        if kind == b"!":
            at += 2
        elif kind == b",":
            flags = data[at + 9] if at + 9 < len(data) else 0
            at += 11 + (3 * 2 ** ((flags & 7) + 1) if flags & 128 else 0)
        else:
            parts.append((kind, data[start:]))
            break
        while at < len(data) and data[at]:
            at += 1 + data[at]
        at += 1
        parts.append((kind, data[start:at]))
    return parts


def contents_of(parts: list[Part]) -> bytes:
    """Return contents one after the other."""
    return b"".join(content for _, content in parts)


def pnm_parts(data: bytes) -> list[Part]:
    """Return the words of the header, and the rest."""
    words, at = [], 0
    for _ in range(3 if data[:2] in (b"P1", b"P4") else 4):
        end = at
        while end < len(data) and not data[end : end + 1].isspace():
            end += 1
        words.append((_HEAD, data[at:end] + data[end : end + 1]))
        at = end + 1
    return [*words, (_REST, data[at:])]


def element_parts(data: bytes) -> list[Part]:
    """Return the elements of a Matroska or WebM file, or those within one."""
    parts, at = [], 0
    while at < len(data):
        width = 9 - data[at].bit_length() if data[at] else 9
        name, at = data[at : at + width], at + width
        if at >= len(data) or not data[at]:
            break
        long = 9 - data[at].bit_length()
        size = int.from_bytes(data[at : at + long], "big") & (2 ** (7 * long) - 1)
        unknown = size == 2 ** (7 * long) - 1
        at += long
        parts.append((name, data[at:] if unknown else data[at : at + size]))
        at = len(data) if unknown else at + size
    return parts


def element_of(parts: list[Part]) -> bytes:
    """Return elements one after the other."""
    return b"".join(name + (len(content) | 1 << 56).to_bytes(8, "big") + content for name, content in parts)


_BOXES: Final = (
    (b"meta", 4), (b"iprp", 0), (b"ipco", 0), (b"iinf", 6), (b"iref", 4), (b"moov", 0), (b"trak", 0), (b"mdia", 0),
    (b"minf", 0), (b"stbl", 0), (b"stsd", 8), (b"edts", 0), (b"jp2h", 0), (b"udta", 0),
)  # fmt: skip
_ELEMENTS: Final = (
    (b"\x18\x53\x80\x67", 0), (b"\x16\x54\xae\x6b", 0), (b"\xae", 0), (b"\xe0", 0), (b"\x1f\x43\xb6\x75", 0),
    (b"\x15\x49\xa9\x66", 0), (b"\x1c\x53\xbb\x6b", 0), (b"\xa0", 0),
)  # fmt: skip
PNG = Layout(png_parts, png_of)
RIFF = Layout(riff_parts, riff_of, ((b"LIST", 4),))
JPEG = Layout(jpeg_parts, jpeg_of)
CODESTREAM = Layout(codestream_parts, codestream_of)
BOXES = Layout(box_parts, box_of, _BOXES)
GIF = Layout(gif_parts, contents_of)
PNM = Layout(pnm_parts, contents_of)
MATROSKA = Layout(element_parts, element_of, _ELEMENTS)


def layout_of(data: bytes) -> Layout | None:
    """Return how a file consists of parts; None for TIFF, BMP and unknown ones."""
    starts = (
        (PNG_SIGNATURE, PNG), (b"RIFF", RIFF), (b"\xff\xd8", JPEG), (b"\xff\x4f\xff\x51", CODESTREAM), (b"GIF8", GIF),
        (b"\x1a\x45\xdf\xa3", MATROSKA),
    )  # fmt: skip
    for start, layout in starts:
        if data.startswith(start):
            return layout
    if data[4:8] in (b"ftyp", b"jP  "):
        return BOXES
    return PNM if data[:1] == b"P" and data[1:2].isdigit() else None

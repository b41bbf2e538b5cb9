"""EXIF blocks: prefix, orientation, and embedded small pictures, which show the original photograph.

A block is changed in place, so that maker notes, whose offsets are undocumented, stay valid.
"""

from __future__ import annotations

import math
import re
import struct
from dataclasses import dataclass, replace
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from cae_runtime.io.headers.tiff_directory import DAMAGED, ORIENTATION, byte_order
from cae_runtime.io.headers.tiff_directory import directory as raw_directory
from cae_runtime.io.metadata import tiff_tags
from cae_runtime.io.orientation import exif_orientation

PREFIX: Final = b"Exif\0\0"
THUMBNAIL: Final = "EXIF thumbnail"
PREVIEW: Final = "preview picture in the maker note"
DAMAGED_TAGS: Final = "damaged tags"
# Sides in pixels (the EXIF standard says 160 for the longer one) and qualities to try until a thumbnail fits.
_TRIES: Final = ((160, 90), (160, 75), (160, 50), (112, 60), (80, 50))
_WIDTH, _HEIGHT = 40962, 40963  # in pixels
_OFFSET, _LENGTH, _STRIPS, _STRIP_LENGTHS = 513, 514, 273, 279  # tags of a thumbnail, as a JPEG or as bare pixels
# A JPEG: its first three markers, and everything up to its end or the end of the data.
_PICTURE: Final = re.compile(rb"\xff\xd8\xff[\xc0-\xc4\xdb\xdd\xe0-\xef\xfe].*?(?:\xff\xd9|\Z)", re.DOTALL)


@dataclass(frozen=True)
class _Thumbnail:
    """The thumbnail of a block: where its parts lie, and for a JPEG where the length of its only part is stored."""

    parts: tuple[tuple[int, int], ...]  # offset and length
    length_at: int | None
    link_at: int  # where the offset of its directory is stored


def plain(block: bytes) -> bytes:
    """Return a block without the prefixes that belong in JPEGs but that some programs write into other formats too."""
    start = 0
    while block.startswith(PREFIX, start):
        start += len(PREFIX)
    return block[start:]


def upright_block(block: bytes) -> bytes:
    """Return a block for a picture that was turned upright: orientation 1, and matching width and height."""
    directory = tiff_tags.read(block)
    orientation = exif_orientation(block)
    inner = dict(directory.inner)
    if orientation >= 5 and tiff_tags.EXIF in inner:
        values = dict(inner[tiff_tags.EXIF].values)
        sides = {_WIDTH: values.pop(_HEIGHT, None), _HEIGHT: values.pop(_WIDTH, None)}
        values |= {tag: value for tag, value in sides.items() if value}
        inner[tiff_tags.EXIF] = replace(inner[tiff_tags.EXIF], values=values)
    turned = {**directory.values, ORIENTATION: tiff_tags.shorts(1)}
    return tiff_tags.exif_block(replace(directory, values=turned, inner=inner), byte_order(block)[0])


def upright(block: bytes) -> bytes:
    """The block for pixels that are upright; a damaged one stays as it is."""
    try:
        return upright_block(block) if exif_orientation(block) > 1 else block
    except DAMAGED:
        return block


def has_byte_order(block: bytes) -> bool:
    """Whether a file that holds any EXIF block with a byte order can hold this one."""
    return block.startswith((b"II", b"MM"))


def lost_elsewhere(block: bytes) -> set[str]:
    """Return the names of parts of a block that some output formats lose."""
    try:
        damaged = {DAMAGED_TAGS} if tiff_tags.read(block).damaged else set()
    except DAMAGED:
        damaged = set()
    return damaged | _pictures_in(block)


def _pictures_in(block: bytes) -> set[str]:
    """Return which small pictures a block contains: `THUMBNAIL`, `PREVIEW`."""
    thumbnail = _thumbnail(block)
    names = {THUMBNAIL} if thumbnail else set[str]()
    return names | ({PREVIEW} if _PICTURE.search(_without(block, thumbnail)) else set())


def with_new_pictures(block: bytes, pixels: NDArray[Any]) -> bytes:
    """Return a block whose small pictures show the given picture or nothing.

    Previews in maker notes are blanked. A JPEG thumbnail is replaced by one of the given picture if that needs no more
    space; otherwise it is dropped.

    Args:
        block: an EXIF block, without prefix.
        pixels: the picture, as `cae_runtime.io.image_files.Picture` has it.

    Returns:
        The block, of the same length.
    """
    if not _pictures_in(block):
        return block
    thumbnail = _thumbnail(block)
    changed = bytearray(_PICTURE.sub(lambda match: bytes(len(match[0])), _without(block, thumbnail)))
    if thumbnail is None:
        return bytes(changed)
    order = byte_order(block)[0]
    drawn = _drawn(pixels, thumbnail.parts[0][1]) if thumbnail.length_at else b""
    if drawn and thumbnail.length_at:
        at = thumbnail.parts[0][0]
        changed[at : at + len(drawn)] = drawn
        changed[thumbnail.length_at : thumbnail.length_at + 4] = struct.pack(order + "I", len(drawn))
    else:
        changed[thumbnail.link_at : thumbnail.link_at + 4] = bytes(4)
    return bytes(changed)


def _without(block: bytes, thumbnail: _Thumbnail | None) -> bytearray:
    """Return a block whose thumbnail is blank."""
    blank = bytearray(block)
    for at, size in thumbnail.parts if thumbnail else ():
        blank[at : at + size] = bytes(size)
    return blank


def _thumbnail(block: bytes) -> _Thumbnail | None:
    """Find the thumbnail of a block, which its second directory points to."""
    try:
        order, big, offset = byte_order(block)
        if big:
            return None
        link_at = offset + 2 + 12 * struct.unpack_from(order + "H", block, offset)[0]
        second = struct.unpack_from(order + "I", block, link_at)[0]
        if second == 0:
            return None
        small = tiff_tags.read(block, second)
    except DAMAGED:
        return None

    def numbers(tag: int) -> list[int]:
        values = small.values[tag].numbers() if tag in small.values else []
        return [int(number) for number in values if math.isfinite(number)]

    jpeg = len(numbers(_OFFSET)) == len(numbers(_LENGTH)) == 1
    pairs = zip(numbers(_OFFSET if jpeg else _STRIPS), numbers(_LENGTH if jpeg else _STRIP_LENGTHS), strict=False)
    parts, room = [], len(block)  # parts do not overlap, so together they are not longer than the block
    for at, size in pairs:
        room -= size
        if min(at, size, room, len(block) - at - size) >= 0:
            parts.append((at, size))
    length_at = None
    if jpeg and parts:
        tags = [(entry.tag, entry.kind) for entry in raw_directory(block, second).entries]
        if (_LENGTH, tiff_tags.LONG) in tags:
            length_at = second + 2 + 12 * tags.index((_LENGTH, tiff_tags.LONG)) + 8
    return _Thumbnail(tuple(parts), length_at, link_at)


def _drawn(pixels: NDArray[Any], room: int) -> bytes:
    """Draw a picture as a small JPEG of at most `room` bytes; empty if it does not fit."""
    height, width = pixels.shape[:2]
    planes = pixels.reshape(height, width, -1)
    colors = np.ascontiguousarray(planes[..., : 1 if planes.shape[2] < 3 else 3])
    for side, quality in _TRIES:
        scale = min(1.0, side / max(height, width))
        size = max(1, round(width * scale)), max(1, round(height * scale))
        small = cv2.resize(colors, size, interpolation=cv2.INTER_AREA)
        if pixels.dtype == np.uint16:
            small = np.right_shift(small, 8, dtype=np.uint16).astype(np.uint8)
        settings = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_OPTIMIZE, 1]
        encoded: bytes = cv2.imencode(".jpg", small, settings)[1].tobytes()
        if len(encoded) <= room:
            return encoded
    return b""

"""The EXIF block of camera raw files."""

from __future__ import annotations

import struct
from collections.abc import Container, Mapping
from dataclasses import replace
from typing import Final

from cae_runtime.io.headers.boxed.boxes import boxes, first
from cae_runtime.io.headers.tiff_directory import DAMAGED, ORIENTATION
from cae_runtime.io.metadata import jpeg, tiff_tags
from cae_runtime.io.metadata.record import Metadata
from cae_runtime.io.metadata.tag_names import DENSITY, OF_EXIF, names_of_exif
from cae_runtime.io.metadata.tiff_tags import Directory, Value

_FUJIFILM: Final = b"FUJIFILMCCD-RAW"
_FUJIFILM_JPEG: Final = 84  # where the offset and the length of a JPEG with the EXIF block are
_CANON: Final = bytes.fromhex("85c0b687820f11e08111f4ce462b6a48")  # the box of a CR3 with its directories
_PARTS: Final = {b"CMT1": 0, b"CMT2": tiff_tags.EXIF, b"CMT4": tiff_tags.GPS}
_TIFF_LIKE: Final = {b"IIU\0": b"II*\0", b"IIRO": b"II*\0", b"IIRS": b"II*\0", b"MMOR": b"MM\0*"}
_MAKER_NOTE: Final = 37500  # tells programs how to read the raw data, and may hold previews
_COLOR_SPACE, _SRGB = 40961, 1  # what the camera's JPEGs have may be another
_NOT_KEPT: Final = {*DENSITY, _MAKER_NOTE, 40962, 40963}  # the last two: width and height of the camera's JPEG


def read(data: bytes) -> Metadata:
    """Read the EXIF block of a raw file, for its developed, upright picture: camera, lens, exposure, date, place.

    Maker notes and previews belong to the raw data and are left out.
    """
    try:
        if data.startswith(_FUJIFILM):
            at, length = struct.unpack_from(">II", data, _FUJIFILM_JPEG)
            block = jpeg.read(data[at : at + length]).exif
            found = tiff_tags.read(block) if block else Directory()
        elif data[4:8] == b"ftyp":
            found = _of_canon(data)
        else:
            found = tiff_tags.read(_TIFF_LIKE.get(data[:4], data[:4]) + data[4:])
    except (*DAMAGED, StopIteration):
        return Metadata()
    values = _kept(found.values, OF_EXIF.keys()) | {ORIENTATION: tiff_tags.shorts(1)}
    # Below EXIF lies only the name of the camera's color space.
    inner = {tag: replace(each, values=_kept(each.values), inner={}) for tag, each in found.inner.items()}
    if not found.values and not inner:
        return Metadata()
    block = tiff_tags.exif_block(Directory(values, inner))
    return Metadata(block, found=frozenset({"exif"}), in_exif=names_of_exif(block))


def _kept(values: Mapping[int, Value], only: Container[int] | None = None) -> dict[int, Value]:
    kept = {tag: value for tag, value in values.items() if tag not in _NOT_KEPT and (only is None or tag in only)}
    return kept | ({_COLOR_SPACE: tiff_tags.shorts(_SRGB)} if _COLOR_SPACE in kept else {})


def _of_canon(data: bytes) -> Directory:
    """Return the directories of a CR3, each of which is a TIFF of its own."""
    movie = first(data, b"moov", 0, len(data))
    if movie is None:
        return Directory()
    canon = next(
        box for box in boxes(data, movie.start, movie.end)
        if box.name == b"uuid" and data[box.start : box.start + 16] == _CANON
    )  # fmt: skip
    values: Mapping[int, Value] = {}
    inner: dict[int, Directory] = {}
    for box in boxes(data, canon.start + 16, canon.end):
        if box.name in _PARTS:
            part = tiff_tags.read(data[box.start : box.end])
            if _PARTS[box.name]:
                inner[_PARTS[box.name]] = part
            else:
                values = part.values
    return Directory(values, inner)

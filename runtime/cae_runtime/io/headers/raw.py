"""Recognizes camera raw files, and reads their size."""

from __future__ import annotations

from typing import Final

from cae_runtime.io import raw_extra
from cae_runtime.io.formats import RAW
from cae_runtime.io.headers.header import Header
from cae_runtime.io.headers.tiff_directory import DAMAGED, directory

_STARTS: Final = (
    (0, b"FUJIFILMCCD-RAW"), (0, b"IIU\0"), (0, b"IIRO"), (0, b"IIRS"), (0, b"MMOR"), (0, b"FOVb"), (0, b"\0MRM"),
    (4, b"ftypcrx "), (8, b"CR\2\0"), (6, b"HEAPCCDR"),
)  # fmt: skip
_TIFFS: Final = (b"II*\0", b"MM\0*")
_RAW_TAGS: Final = {33421, 33422, 50706, 50707}  # the pattern of a color filter array, DNG's versions
_RAW_COLORS: Final = {32803, 34892}  # a color filter array, linear raw
_COLORS, _MAKE, _FURTHER_IMAGES = 262, 271, 330
# Makers whose raw files are TIFFs with a small picture first and the raw one behind it.
_MAKERS: Final = (b"NIKON", b"SONY", b"PENTAX", b"RICOH", b"SAMSUNG", b"KODAK", b"EASTMAN KODAK", b"HASSELBLAD",
                  b"LEICA", b"PHASE ONE", b"SEIKO EPSON", b"MAMIYA", b"LEAF")  # fmt: skip


def is_raw(data: bytes) -> bool:
    """Return whether a file is a camera raw file, by its first bytes or its first directory."""
    if any(data[at : at + len(start)] == start for at, start in _STARTS):
        return True
    if not data.startswith(_TIFFS):
        return False
    try:
        page = directory(data)
        if _RAW_TAGS & {entry.tag for entry in page.entries} or page.number(_COLORS, 0) in _RAW_COLORS:
            return True
        make = page.get(_MAKE)
    except DAMAGED:
        return False
    return make is not None and _FURTHER_IMAGES in page and bytes(make.data).upper().startswith(_MAKERS)


def read(data: bytes) -> Header:
    """Read the header of a raw file; see `cae_runtime.io.headers.inspect.inspect`."""
    width, height, photosites = raw_extra.sizes(data)
    return Header(RAW, width, height, part_pixels=photosites)

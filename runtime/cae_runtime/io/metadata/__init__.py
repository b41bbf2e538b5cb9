"""Metadata of image files: EXIF, XMP, color profiles, density and more, read and written.

Metadata that the output format can hold is copied. Metadata about pixels or parts that no longer exist is left out.
Everything that is lost is reported by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final

from cae_runtime.io.formats import AVIF, BMP, HEIC, JP2, JPEG, PNG, TIFF, WEBP
from cae_runtime.io.headers.header import Header
from cae_runtime.io.headers.tiff_directory import DAMAGED
from cae_runtime.io.metadata import bmp, exif, jpeg, png, tiff, webp
from cae_runtime.io.metadata.boxed import heif, jp2
from cae_runtime.io.metadata.record import Metadata

__all__ = ["Metadata", "carries_exif", "few", "lost", "read", "write"]

_READERS: Final = {
    JPEG: jpeg.read, PNG: png.read, WEBP: webp.read, TIFF: tiff.read, BMP: bmp.read, AVIF: heif.read, HEIC: heif.read,
    JP2: jp2.read,
}  # fmt: skip
_WRITERS: Final = {
    JPEG: jpeg.write, PNG: png.write, TIFF: tiff.write, BMP: bmp.write, AVIF: heif.write, JP2: jp2.write,
    WEBP: webp.write,
}  # fmt: skip
_EXIF_CARRIERS: Final[dict[str, Callable[[bytes], bool]]] = {
    JPEG: jpeg.carries_exif,
    PNG: exif.has_byte_order,
    WEBP: bool,
    TIFF: tiff.carries_exif,
    AVIF: exif.has_byte_order,
    HEIC: exif.has_byte_order,
    JP2: exif.has_byte_order,
}
_NAMED_MAX: Final = 20  # names of lost metadata in a message, to keep it readable
_OF_THE_FILE: Final = ("APP", "TIFF tag ", "chunk ", "text ")  # the beginning of names that files choose
_UNREADABLE: Final = "metadata that cannot be read"


def read(data: bytes, format: str, header: Header | None = None) -> Metadata:
    """Read the metadata of an image file.

    Args:
        data: the whole file, which `cae_runtime.io.headers.inspect.inspect` took.
        format: its format, see `cae_runtime.io.formats`.
        header: what `inspect` returned for it, if that is known: then the file is not walked through once more.
    """
    if format not in _READERS:
        return Metadata(found=header.not_kept if header else frozenset())
    try:
        return _READERS[format](data, header)
    except DAMAGED:
        return Metadata(found=frozenset({_UNREADABLE}))


def carries_exif(format: str, block: bytes) -> bool:
    """Whether a format can hold an EXIF block (without prefix)."""
    return format in _EXIF_CARRIERS and _EXIF_CARRIERS[format](block)


def write(data: bytes, format: str, metadata: Metadata, *, native: bool) -> bytes:
    """Put metadata into an encoded image file.

    Args:
        data: the file, as OpenCV wrote it; a still WebP and an AVIF with all of its blocks.
        format: its format.
        metadata: what to write. What the format cannot hold is left out.
        native: whether the metadata is from a file of the same format.

    Raises:
        struct.error, IndexError, OverflowError, ValueError, KeyError: (DAMAGED) the metadata cannot be written.
    """
    if format not in _WRITERS:
        return data
    return _WRITERS[format](data, metadata if native else replace(metadata, native=()))


def lost(before: Metadata, data: bytes, format: str) -> set[str]:
    """Return the names of metadata that a file had and the file made from it lacks.

    Args:
        before: the metadata of the first file.
        data: the second file.
        format: its format.
    """
    after = read(data, format)
    return set(before.found - after.found - after.in_exif)


def few(names: Iterable[str]) -> tuple[str, ...]:
    """Return names in order, names chosen by files last; of more than 20, the first ones and `and 7 more`."""
    ordered = sorted(names, key=lambda name: (name.startswith(_OF_THE_FILE), name))
    more = len(ordered) - _NAMED_MAX
    return (*ordered[:_NAMED_MAX], f"and {more} more") if more > 0 else tuple(ordered)

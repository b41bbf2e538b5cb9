"""Reads image files with their metadata, and writes whole files."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal

import cv2
from numpy.typing import NDArray

from cae_runtime.errors import ImageError
from cae_runtime.io import animation
from cae_runtime.io.animation import Animation
from cae_runtime.io.decoding import cmyk
from cae_runtime.io.decoding.decode import decoded
from cae_runtime.io.formats import AVIF, HEIC, J2K, JP2, JPEG, RAW, TIFF, WEBP
from cae_runtime.io.headers import tiff as tiff_header
from cae_runtime.io.headers import tiff_kinds
from cae_runtime.io.headers.boxed.heif import HeifHeader
from cae_runtime.io.headers.header import Header
from cae_runtime.io.headers.inspect import inspect
from cae_runtime.io.headers.tiff_directory import DAMAGED
from cae_runtime.io.metadata import Metadata
from cae_runtime.io.metadata import read as read_metadata
from cae_runtime.io.orientation import exif_orientation
from cae_runtime.io.raw_exif import read as read_raw_metadata
from cae_runtime.places.address import Address, Place
from cae_shared.folders import make_folder
from cae_shared.paths import special_kind
from cae_shared.temporary import whole_file

PIXELS_MAX: Final = 2**28
SIDE_MAX: Final = 2**20  # OpenCV's own limit
FILE_BYTES_MAX: Final = 2**31 - 1
_PART_BYTES: Final = 2**20


@dataclass(frozen=True)
class Picture:
    """A decoded image file.

    Attributes:
        pixels: uint8, uint16, or float32 of any range (TIFF); shape (H, W), (H, W, 2) gray and alpha, (H, W, 3) BGR or
            (H, W, 4) BGRA, as stored: an EXIF orientation is not applied.
        format: format of the file.
        metadata: everything in the file besides its pixels.
        lossless: the file is a lossless WebP.
        lossy: the format may have changed the values when the file was written, see `is_lossy`.
        animation: all frames, where there are several; `pixels` is the first then.
        pages: the pages of a TIFF behind the first one.
        inks: how the colors of a CMYK file became RGB: by its `profile` or by a `formula`; empty for other files.
        bits: of each value in the file, where these are more than 8 and not 16, or floating point and not 32;
            otherwise 0.
    """

    pixels: NDArray[Any]
    format: str
    metadata: Metadata
    lossless: bool
    bits: int = 0
    lossy: bool = False
    animation: Animation | None = None
    pages: tuple[Picture, ...] = ()
    inks: Literal["", "profile", "formula"] = ""

    @property
    def size(self) -> int:
        """The number of pixels in all frames or pages."""
        one = int(self.pixels.shape[0]) * int(self.pixels.shape[1])
        return one * (len(self.animation.frames) if self.animation else 1) + sum(page.size for page in self.pages)

    @property
    def orientation(self) -> int:
        """The EXIF orientation, 1..8, see `upright`; 1 if the file does not say."""
        return exif_orientation(self.metadata.exif) if self.metadata.exif else 1


def read_file(path: Place) -> bytes:
    """Return the bytes of a file, also of a store, or of a named pipe that is being written to.

    Raises:
        ImageError: it cannot be read, is larger than 2 GiB, is a named pipe that nothing is written to, or a device.
    """
    try:
        if isinstance(path, Address):
            from cae_runtime.places import store

            return store.read(path, FILE_BYTES_MAX)
        status = path.stat()
        if status.st_size > FILE_BYTES_MAX:
            raise ImageError(f"has {status.st_size} bytes: the limit is {FILE_BYTES_MAX}")
        if stat.S_ISFIFO(status.st_mode):
            return _read_pipe(path)
        if kind := special_kind(status.st_mode):  # it may have no end
            raise ImageError(f"is not a file but {kind}: it was not opened")
        with path.open("rb") as file:
            return read_stream(file)
    except OSError as e:
        raise ImageError(f"cannot be read: {e.strerror}") from e


def _read_pipe(path: Path) -> bytes:
    """Read a named pipe; opening it does not wait for a writer."""
    if sys.platform == "win32":
        raise ImageError("is a named pipe, which is not read on Windows")
    opened = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    os.set_blocking(opened, True)
    with os.fdopen(opened, "rb") as pipe:
        data = read_stream(pipe)
    if not data:
        raise ImageError("is a named pipe that nothing is written to")
    return data


def read_stream(stream: BinaryIO) -> bytes:
    """Return all bytes of a stream of unknown length.

    Raises:
        ImageError: there are more than 2 GiB.
    """
    data = bytearray()
    while part := stream.read(_PART_BYTES):
        data += part
        if len(data) > FILE_BYTES_MAX:
            raise ImageError(f"has more than {FILE_BYTES_MAX} bytes, the limit")
    return bytes(data)


def write_file(path: Place, data: bytes) -> None:
    """Write a file that appears complete or not at all; its folder is made if it does not exist.

    Raises:
        ImageError: it cannot be written.
    """
    try:
        if isinstance(path, Address):
            from cae_runtime.places import store

            store.write(path, data)
            return
        make_folder(path.parent)
        with whole_file(path) as partial, partial.open("xb") as file:
            file.write(data)
    except InterruptedError:
        raise
    except OSError as e:
        raise ImageError(f"cannot be written to {str(path)!r}: {e.strerror}") from e


def header_of(data: bytes) -> Header:
    """Return the header of an image file; `pixels` tells how much memory decoding needs.

    Raises:
        ImageError: the data is not an image that `decode` reads, or has more than 2^28 pixels.
    """
    return header_checked(inspect(data))


def is_lossy(header: Header) -> bool:
    """Return whether a file's format may have changed the pixels: JPEG, AVIF, HEIC, lossy WebP, TIFF of JPEGs.

    So may JPEG 2000: it can leave out the last bits of each value, and does not say so.
    """
    if isinstance(header, tiff_header.TiffHeader):
        return header.kind.compression == tiff_kinds.JPEG
    return header.format in (JPEG, AVIF, HEIC, JP2, J2K) or (header.format == WEBP and not header.lossless)


def header_checked(header: Header) -> Header:
    """Return a header whose picture is within the limits.

    Raises:
        ImageError: it is too large.
    """
    if header.width * header.height > PIXELS_MAX:
        raise ImageError(f"has {header.width}x{header.height} pixels: the limit is {PIXELS_MAX} pixels")
    if header.pixels > PIXELS_MAX and header.frames > 1:
        parts = "pages" if header.format == TIFF else "frames"
        raise ImageError(
            f"has {header.frames} {parts} with {header.pixels} pixels together: the limit is {PIXELS_MAX} pixels"
        )
    if max(header.width, header.height) > SIDE_MAX:
        raise ImageError(f"has {header.width}x{header.height} pixels: the limit is {SIDE_MAX} pixels per side")
    if header.part_pixels > PIXELS_MAX:
        raise ImageError(f"has a tile or strip of {header.part_pixels} pixels: the limit is {PIXELS_MAX} pixels")
    return header


def decode(data: bytes, header: Header | None = None) -> Picture:
    """Decode an image file.

    Args:
        data: the whole file.
        header: what `header_of` returned, if it is known already.

    Returns:
        The picture, at its full bit depth.

    Raises:
        ImageError: the data is not an image, or one that cannot be processed without loss: truncated, or of more than
            2^28 pixels in all frames together.
    """
    header = header or header_of(data)
    metadata = read_raw_metadata(data) if header.format == RAW else read_metadata(data, header.format, header)
    if header.frames == 1:
        pixels = decoded(data, header)
        if header.cmyk:
            return _converted(pixels, header, metadata)
        return Picture(pixels, header.format, metadata, header.lossless, header.bits, is_lossy(header))
    if header.format == TIFF:
        first, *others = (_page(page, number) for number, page in enumerate(tiff_header.pages_of(data), start=1))
        return replace(first, pages=tuple(others))
    turn = header.orientation if isinstance(header, HeifHeader) else 1
    moving = animation.decode(data, header, turn)
    return Picture(moving.frames[0], header.format, metadata, header.lossless, lossy=is_lossy(header), animation=moving)


def decode_first(data: bytes, header: Header) -> Picture:
    """Decode the first frame or page of an image file; see `decode`."""
    if header.frames > 1 and header.format == TIFF:
        return _page(next(tiff_header.pages_of(data)), 1)
    return replace(decode(data, header), animation=None)


def _converted(inks: NDArray[Any], header: Header, metadata: Metadata) -> Picture:
    """Return the RGB picture of a CMYK file, without its color profile."""
    pixels, by_profile = cmyk.to_bgr(inks, metadata.icc)
    found = metadata.found - {"icc"} | ({"CMYK color profile"} if metadata.icc else set())
    metadata = replace(metadata, icc=b"", found=found)
    how: Literal["profile", "formula"] = "profile" if by_profile else "formula"
    return Picture(pixels, header.format, metadata, header.lossless, lossy=is_lossy(header), inks=how)


def _page(data: bytes, number: int) -> Picture:
    """Decode the first page of a TIFF of several.

    Raises:
        ImageError: it cannot be decoded; the message has its number.
    """
    try:
        header = tiff_header.read(data, alone=True)
        return decode(data, header_checked(header))
    except ImageError as e:
        raise ImageError(f"cannot be read: page {number} {e}") from e
    except DAMAGED as e:
        raise ImageError(f"cannot be read: page {number} is truncated or damaged") from e


@contextlib.contextmanager
def memory_errors() -> Iterator[None]:
    """Turn OpenCV's error for lack of memory into a MemoryError, as NumPy raises it."""
    try:
        yield
    except cv2.error as e:
        if getattr(e, "code", None) == cv2.Error.StsNoMem:
            raise MemoryError from e
        raise

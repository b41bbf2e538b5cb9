"""Reads and writes image files with their metadata; what a format cannot hold is refused or reported."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from cae_runtime.errors import ImageError, ImageFormatError
from cae_runtime.io.arrays import HAS_ALPHA
from cae_runtime.io.decoding.decode import decoded
from cae_runtime.io.formats import JPEG, PBM, PGM, PNG, PPM, SUFFIX_OF_FORMAT, TIFF, WEBP
from cae_runtime.io.headers import jpeg as jpeg_header
from cae_runtime.io.headers import pnm
from cae_runtime.io.headers import webp as webp_header
from cae_runtime.io.headers.header import Header
from cae_runtime.io.headers.inspect import inspect
from cae_runtime.io.headers.tiff_directory import DAMAGED
from cae_runtime.io.metadata import Metadata, carries_exif, few, lost
from cae_runtime.io.metadata import read as read_metadata
from cae_runtime.io.metadata import write as write_metadata
from cae_runtime.io.metadata.exif import upright_block, with_new_pictures
from cae_runtime.io.orientation import exif_orientation, upright
from cae_runtime.io.stderr import quiet
from cae_shared.folders import make_folder
from cae_shared.temporary import whole_file

PIXELS_MAX: Final = 2**28
SIDE_MAX: Final = 2**20  # OpenCV's own limit
FILE_BYTES_MAX: Final = 2**31 - 1
_PART_BYTES: Final = 2**20
DEFAULT_QUALITY: Final = 95
GRAY_LAYOUT: Final = "gray layout (gray with alpha is stored as color with alpha)"
_WEBP_LOSSLESS: Final = 101  # OpenCV's name for it
# Keeps the colors under alpha 0 in a lossless WebP, where this OpenCV can be told to.
_WEBP_EXACT: Final[list[int]] = (
    [cv2.IMWRITE_WEBP_LOSSLESS_MODE, cv2.IMWRITE_WEBP_LOSSLESS_PRESERVE_COLOR]
    if hasattr(cv2, "IMWRITE_WEBP_LOSSLESS_PRESERVE_COLOR")
    else []
)
HIDDEN_COLORS: Final = "colors of fully transparent pixels"
# What OpenCV puts into a WebP; into other formats `cae_runtime.io.metadata` does.
_OF_WEBP: Final = {
    cv2.IMAGE_METADATA_EXIF: "exif",
    cv2.IMAGE_METADATA_XMP: "xmp",
    cv2.IMAGE_METADATA_ICCP: "icc",
}
_SIXTEEN_BIT: Final = {PNG, TIFF, PPM, PGM, PBM}
_PNM: Final = {PPM, PGM, PBM}
_WITHOUT_ALPHA: Final = {JPEG, *_PNM}


@dataclass(frozen=True)
class Picture:
    """A decoded image file.

    Attributes:
        pixels: uint8 or uint16, shape (H, W), (H, W, 2) gray and alpha, (H, W, 3) BGR or (H, W, 4) BGRA, as stored:
            an EXIF orientation is not applied.
        format: format of the file.
        metadata: everything in the file besides its pixels.
        lossless: the file is a lossless WebP.
    """

    pixels: NDArray[Any]
    format: str
    metadata: Metadata
    lossless: bool

    @property
    def orientation(self) -> int:
        """The EXIF orientation, 1..8, see `upright`; 1 if the file does not say."""
        return exif_orientation(self.metadata.exif) if self.metadata.exif else 1


def read_file(path: Path) -> bytes:
    """Return the bytes of a file, or of a named pipe that is being written to.

    Raises:
        ImageError: it cannot be read, is larger than 2 GiB, or is a named pipe that nothing is written to.
    """
    try:
        status = path.stat()
        if status.st_size > FILE_BYTES_MAX:
            raise ImageError(f"has {status.st_size} bytes: the limit is {FILE_BYTES_MAX}")
        if stat.S_ISFIFO(status.st_mode):
            return _read_pipe(path)
        with path.open("rb") as file:
            return read_stream(file)
    except OSError as e:
        raise ImageError(f"cannot be read: {e.strerror}") from e


def _read_pipe(path: Path) -> bytes:
    """Return what is written to a named pipe; opening one that nothing is written to does not wait."""
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


def write_file(path: Path, data: bytes) -> None:
    """Write a file that appears complete or not at all; its folder is made if it does not exist.

    Raises:
        ImageError: it cannot be written.
    """
    try:
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
    header = inspect(data)
    if header.width * header.height > PIXELS_MAX:
        raise ImageError(f"has {header.width}x{header.height} pixels: the limit is {PIXELS_MAX} pixels")
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
        ImageError: the data is not an image, or one that cannot be processed without loss: truncated, animated, CMYK,
            floating point, or of more than 2^28 pixels.
    """
    header = header or header_of(data)
    return Picture(decoded(data, header), header.format, read_metadata(data, header.format, header), header.lossless)


def encode(picture: Picture, format: str, quality: int | None = None) -> tuple[bytes, tuple[str, ...]]:
    """Encode a picture with all metadata that the format can hold.

    If the format cannot hold the EXIF block, and in TIFFs, the orientation is applied to the pixels. Metadata that
    cannot be written is left out.

    Args:
        picture: what `decode` returned, possibly with other pixels.
        format: one of the image formats of `cae_runtime.io.formats`.
        quality: 1..100 for JPEG and WebP; None takes 95, or a JPEG's own quality (estimated from its tables) if that is
            higher, and keeps a lossless WebP lossless.

    Returns:
        The file's bytes, and the names of what was not kept, at most 20 and `and 7 more`; `GRAY_LAYOUT` comes first if
        gray with alpha was stored as color with alpha.

    Raises:
        ImageError: the format cannot hold the pixels (alpha in JPEG, 16 bits in JPEG, WebP and BMP), or is too small.
    """
    pixels = picture.pixels
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    if channels in HAS_ALPHA and format in _WITHOUT_ALPHA:
        raise ImageFormatError(f"has an alpha channel, which {format} cannot hold: write a PNG")
    if pixels.dtype == np.uint16 and format not in _SIXTEEN_BIT:
        raise ImageFormatError(f"has 16 bits per channel, and {format} holds 8: write a PNG")
    try:
        data = _file(picture, format, quality)
    except ImageError:
        raise
    except DAMAGED:  # keep the picture even if its metadata is broken
        bare = Metadata(jpeg_quality=picture.metadata.jpeg_quality)
        data = _file(replace(picture, pixels=upright(pixels, picture.orientation), metadata=bare), format, quality)
    dropped = few(lost(picture.metadata, data, format))
    dropped = (GRAY_LAYOUT, *dropped) if channels == 2 else dropped
    hidden_too = format == WEBP and channels in HAS_ALPHA and _loses_hidden_colors(pixels, data)
    return data, (HIDDEN_COLORS, *dropped) if hidden_too else dropped


def _file(picture: Picture, format: str, quality: int | None) -> bytes:
    """Encode a picture that its format can hold; broken metadata may raise one of DAMAGED."""
    pixels, metadata = picture.pixels, picture.metadata
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    if metadata.icc[16:20] == b"GRAY" and (channels > 1 or format == WEBP):
        metadata = replace(metadata, icc=b"")  # some programs cannot read it in a color file
    if metadata.exif and not carries_exif(format, metadata.exif):
        pixels, metadata = upright(pixels, picture.orientation), metadata.upright(picture.orientation, exif=b"")
    elif format == TIFF and picture.orientation > 1:  # many TIFF readers ignore orientations
        block = upright_block(metadata.exif)
        pixels, metadata = upright(pixels, picture.orientation), metadata.upright(picture.orientation, exif=block)
    if metadata.exif:
        metadata = replace(metadata, exif=with_new_pictures(metadata.exif, pixels))
    if channels == 2:
        pixels = pixels[..., [0, 0, 0, 1]]  # OpenCV cannot write gray with alpha
    encoded = _encoded(pixels, format, metadata if format == WEBP else Metadata(), _settings(picture, format, quality))
    return write_metadata(encoded, format, metadata, native=format == picture.format)


def _encoded(pixels: NDArray[Any], format: str, metadata: Metadata, settings: list[int]) -> bytes:
    """Let OpenCV encode pixels, with the metadata blocks of a WebP."""
    if format in _PNM:
        pixels = pnm.prepared(pixels, format)
    if format == PBM:
        return pnm.black_and_white(pixels)
    named = {kind: getattr(metadata, name) for kind, name in _OF_WEBP.items()}
    blocks = {kind: np.frombuffer(block, np.uint8) for kind, block in named.items() if block}
    try:
        with quiet():
            done, encoded = cv2.imencodeWithMetadata(
                SUFFIX_OF_FORMAT[format], np.ascontiguousarray(pixels), [*blocks], [*blocks.values()], settings
            )
    except (cv2.error, MemoryError) as e:
        raise ImageError(f"cannot be encoded as {format}: {_reason(e)}") from e
    if not done or len(encoded) == 0:
        height, width = pixels.shape[:2]
        raise ImageFormatError(f"cannot be encoded as {format} with {width}x{height} pixels: write a PNG")
    data: bytes = encoded.tobytes()
    return data


def is_lossy(data: bytes) -> bool:
    """Return whether an encoded image changes the pixels: a JPEG, or a WebP that is not lossless."""
    if data[8:12] == b"WEBP":
        return any(chunk.name == b"VP8 " for chunk in webp_header.chunks(data))
    return data.startswith(jpeg_header.SIGNATURE)


def _loses_hidden_colors(pixels: NDArray[Any], data: bytes) -> bool:
    """Return whether a WebP of pixels with alpha changes the colors under alpha 0."""
    if _WEBP_EXACT and not is_lossy(data):
        return False
    return bool(pixels[pixels[..., -1] == 0].any())


@contextlib.contextmanager
def memory_errors() -> Iterator[None]:
    """Turn OpenCV's error for lack of memory into a MemoryError, as NumPy raises it."""
    try:
        yield
    except cv2.error as e:
        if getattr(e, "code", None) == cv2.Error.StsNoMem:
            raise MemoryError from e
        raise


def _settings(picture: Picture, format: str, quality: int | None) -> list[int]:
    if format == JPEG:
        sampling = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]  # keep the color detail
        default = max(DEFAULT_QUALITY, picture.metadata.jpeg_quality or 0)  # not coarser than the source
        return [cv2.IMWRITE_JPEG_QUALITY, quality or default, *sampling]
    if format == WEBP:
        if picture.lossless and quality is None:
            return [cv2.IMWRITE_WEBP_QUALITY, _WEBP_LOSSLESS, *_WEBP_EXACT]
        return [cv2.IMWRITE_WEBP_QUALITY, quality or DEFAULT_QUALITY]
    return []


def _reason(error: Exception) -> str:
    if isinstance(error, MemoryError) or getattr(error, "code", None) == cv2.Error.StsNoMem:
        return "there is not enough memory"
    return "OpenCV does not take these pixels"

"""Encodes pictures with their metadata; what a format cannot hold is refused or reported."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from cae_runtime.errors import NO_MEMORY, ImageError, ImageFormatError
from cae_runtime.io import animation as moving
from cae_runtime.io import heic_extra, image_files
from cae_runtime.io.arrays import HAS_ALPHA, in_bits
from cae_runtime.io.formats import AVIF, HEIC, J2K, JP2, JPEG, PBM, PGM, PNG, PPM, RAW, SUFFIX_OF_FORMAT, TIFF, WEBP
from cae_runtime.io.headers import pnm
from cae_runtime.io.headers.boxed.jp2 import read as read_jp2
from cae_runtime.io.headers.inspect import inspect
from cae_runtime.io.headers.tiff_directory import DAMAGED
from cae_runtime.io.image_files import Picture
from cae_runtime.io.metadata import Metadata, carries_exif, few, lost
from cae_runtime.io.metadata import write as write_metadata
from cae_runtime.io.metadata.exif import upright_block, with_new_pictures
from cae_runtime.io.metadata.record import bits_name
from cae_runtime.io.metadata.tiff import joined
from cae_runtime.io.orientation import upright
from cae_runtime.io.stderr import quiet
from cae_shared.temporary import temporary_folder

DEFAULT_QUALITY: Final = 95
WITH_QUALITY: Final = frozenset({JPEG, WEBP, AVIF, HEIC})
WITHOUT_QUALITY: Final = "note: quality is that of JPEG, WebP, AVIF and HEIC, and no output is one: it changes nothing"
_HEIC_QUALITY: Final = 80  # of about the same size and error as a JPEG of 95
_AVIF_BITS: Final = 12  # of pictures with 16 bits, unless their source had 10
_AVIF_SIDE_MAX: Final = 32_768  # pixels; libavif writes more, and reads no more
GRAY_LAYOUT: Final = "gray layout (gray with alpha is stored as color with alpha)"
# Keeps the colors under alpha 0 in a lossless WebP, where this OpenCV can be told to.
_WEBP_EXACT: Final[list[int]] = (
    [cv2.IMWRITE_WEBP_LOSSLESS_MODE, cv2.IMWRITE_WEBP_LOSSLESS_PRESERVE_COLOR]
    if hasattr(cv2, "IMWRITE_WEBP_LOSSLESS_PRESERVE_COLOR")
    else []
)
HIDDEN_COLORS: Final = "colors of fully transparent pixels"
# What OpenCV puts into a WebP or AVIF; into other formats `cae_runtime.io.metadata` does.
_BLOCKS: Final = {
    cv2.IMAGE_METADATA_EXIF: "exif",
    cv2.IMAGE_METADATA_XMP: "xmp",
    cv2.IMAGE_METADATA_ICCP: "icc",
}
_BY_OPENCV: Final = {WEBP, AVIF}
_UPRIGHT: Final = {TIFF, AVIF, HEIC, JP2}  # readers of these ignore orientations in EXIF blocks
_SIXTEEN_BIT: Final = {PNG, TIFF, PPM, PGM, AVIF, HEIC, JP2, J2K}
_PNM: Final = {PPM, PGM}
_WITHOUT_ALPHA: Final = {JPEG, *_PNM}


def encode(picture: Picture, format: str, quality: int | None = None) -> tuple[bytes, tuple[str, ...]]:
    """Encode a picture with all metadata that the format can hold.

    If the format cannot hold the EXIF block, and in TIFF, AVIF and HEIC, the orientation is applied to the pixels.
    Metadata that cannot be written is left out.

    Args:
        picture: what `decode` returned, possibly with other pixels.
        format: one of the image formats of `cae_runtime.io.formats`.
        quality: 1..100 for JPEG, WebP, AVIF and HEIC; None takes 95 (HEIC: 80), or a JPEG's own quality (estimated from
            its tables) if that is higher, and keeps a lossless WebP lossless.

    Returns:
        The file's bytes, and the names of what was not kept, at most 20 and `and 7 more`; `GRAY_LAYOUT` comes first if
        gray with alpha was stored as color with alpha.

    Raises:
        ImageError: the format cannot hold the pixels (alpha in JPEG, 16 bits in JPEG, WebP and BMP), or is too small.
    """
    pixels = picture.pixels
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    check_fits(picture, format)
    if picture.pages:
        return _pages(picture, quality)
    if picture.format == RAW and format not in _SIXTEEN_BIT:  # was developed to more bits than it needs here
        pixels = in_bits(pixels, 8).astype(np.uint8)
        picture = replace(picture, pixels=pixels)
    try:
        data = _file(picture, format, quality)
    except ImageError:
        raise
    except DAMAGED:  # keep the picture even if its metadata is broken
        bare = Metadata(jpeg_quality=picture.metadata.jpeg_quality)
        data = _file(replace(picture, pixels=upright(pixels, picture.orientation), metadata=bare), format, quality)
    dropped = few(lost(picture.metadata, data, format))
    shallower = format in (AVIF, HEIC) and pixels.dtype == np.uint16 and picture.format != RAW
    if shallower and (written := inspect(data).bits) != picture.bits:
        dropped = (f"depth of {picture.bits or 16} bits ({written} are written)", *dropped)
    if picture.format == PBM:
        dropped = (bits_name(1), *dropped)
    if pixels.dtype == np.float32 and picture.bits:
        dropped = (f"depth of {picture.bits}-bit floating point (32 bits are written)", *dropped)
    dropped = (GRAY_LAYOUT, *dropped) if channels == 2 and format != HEIC else dropped
    hidden_too = format == WEBP and channels in HAS_ALPHA and _loses_hidden_colors(pixels, data)
    return data, (HIDDEN_COLORS, *dropped) if hidden_too else dropped


def check_fits(picture: Picture, format: str) -> None:
    """Refuse a picture that a format cannot hold, before any work is done for it.

    Raises:
        ImageFormatError: it has alpha (JPEG), 16 bits (JPEG, WebP, BMP), floating-point values, several frames or
            pages, or a side of more than 32,768 pixels (AVIF).
    """
    pixels = picture.pixels
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    if picture.pages and format != TIFF:
        raise ImageFormatError(f"has {1 + len(picture.pages)} pages, and {format} holds one: write a TIFF", ".tif")
    if picture.animation and format not in moving.WRITTEN:
        count = len(picture.animation.frames)
        raise ImageFormatError(f"has {count} frames, and {format} holds one: write a WebP or PNG", ".webp")
    if channels in HAS_ALPHA and format in _WITHOUT_ALPHA:
        raise ImageFormatError(f"has an alpha channel, which {format} cannot hold: write a PNG")
    if format == AVIF and max(pixels.shape[:2]) > _AVIF_SIDE_MAX:
        raise _wrong_size(pixels, format)
    if pixels.dtype == np.float32 and format != TIFF:
        raise ImageFormatError(f"has floating-point values, and {format} holds integers: write a TIFF", ".tif")
    if pixels.dtype == np.uint16 and picture.format != RAW and format not in _SIXTEEN_BIT:
        raise ImageFormatError(f"has {picture.bits or 16} bits per channel, and {format} holds 8: write a PNG")


def _pages(picture: Picture, quality: int | None) -> tuple[bytes, tuple[str, ...]]:
    """Encode a TIFF of several pages."""
    encoded = [encode(page, TIFF, quality) for page in (replace(picture, pages=()), *picture.pages)]
    dropped = dict.fromkeys(name for _, names in encoded for name in names)
    return joined([file for file, _ in encoded]), tuple(dropped)


def _file(picture: Picture, format: str, quality: int | None) -> bytes:
    """Encode a picture that its format can hold; broken metadata may raise one of DAMAGED."""
    pixels, metadata = picture.pixels, picture.metadata
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    if metadata.icc[16:20] == b"GRAY" and (channels > 1 or format == WEBP):
        metadata = replace(metadata, icc=b"")  # some programs cannot read it in a color file
    if metadata.exif and not carries_exif(format, metadata.exif):
        pixels, metadata = upright(pixels, picture.orientation), metadata.upright(picture.orientation, exif=b"")
    elif picture.orientation > 1 and (format in _UPRIGHT or picture.animation):
        block = upright_block(metadata.exif)
        pixels, metadata = upright(pixels, picture.orientation), metadata.upright(picture.orientation, exif=block)
    if metadata.exif:
        metadata = replace(metadata, exif=with_new_pictures(metadata.exif, pixels))
    if picture.animation:
        turned = tuple(upright(frame, picture.orientation) for frame in picture.animation.frames)
        animation = replace(picture.animation, frames=turned)
        encoded = moving.encode(
            animation, format, quality or DEFAULT_QUALITY, lossless=_stays_lossless(picture, quality)
        )
        return write_metadata(encoded, format, metadata, native=format == picture.format)
    if format == HEIC:
        bits = heic_extra.bits_of(picture.bits)
        return heic_extra.encode(pixels, metadata, quality or _HEIC_QUALITY, bits)
    if channels == 2:
        pixels = pixels[..., [0, 0, 0, 1]]  # OpenCV cannot write gray with alpha
    if format == AVIF and pixels.dtype == np.uint16:
        pixels = in_bits(pixels, picture.bits or _AVIF_BITS)
    blocks = metadata if format in _BY_OPENCV else Metadata()
    encoded = _encoded(pixels, format, blocks, _settings(picture, format, quality))
    return write_metadata(encoded, format, metadata, native=format == picture.format)


def _encoded(pixels: NDArray[Any], format: str, metadata: Metadata, settings: list[int]) -> bytes:
    """Let OpenCV encode pixels, with the metadata blocks of a WebP or AVIF."""
    if format in _PNM:
        pixels = pnm.prepared(pixels, format)
    if format == J2K:
        jp2 = _encoded(pixels, JP2, Metadata(), settings)
        return jp2[slice(*read_jp2(jp2).stream)]
    named = {kind: getattr(metadata, name) for kind, name in _BLOCKS.items()}
    blocks = {kind: np.frombuffer(block, np.uint8) for kind, block in named.items() if block}
    try:
        with quiet():
            if format == JP2 and sys.platform != "win32":
                return _written_and_read(pixels, settings)
            done, encoded = cv2.imencodeWithMetadata(
                SUFFIX_OF_FORMAT[format], np.ascontiguousarray(pixels), [*blocks], [*blocks.values()], settings
            )
    except (cv2.error, MemoryError) as e:
        raise ImageError(f"cannot be encoded as {format}: {_reason(e)}") from e
    if not done or len(encoded) == 0:
        raise _wrong_size(pixels, format)
    data: bytes = encoded.tobytes()
    return data


def _written_and_read(pixels: NDArray[Any], settings: list[int]) -> bytes:
    """Encode a JPEG 2000 by way of a file in a folder of our own.

    In memory, OpenCV would do so by way of a file in /tmp, which everyone may read and which stays there if it fails.
    """
    with temporary_folder("cae-run-") as folder:
        path = folder / f"a{SUFFIX_OF_FORMAT[JP2]}"
        if not cv2.imwrite(str(path), pixels, settings):
            raise _wrong_size(pixels, JP2)
        return path.read_bytes()


def _wrong_size(pixels: NDArray[Any], format: str) -> ImageFormatError:
    height, width = pixels.shape[:2]
    return ImageFormatError(f"cannot be encoded as {format} with {width}x{height} pixels: write a PNG")


def is_lossy(data: bytes) -> bool:
    """Return whether what `encode` returned changes the pixels, see `image_files.is_lossy`; JPEG 2000 does not."""
    header = inspect(data)
    return header.format not in (JP2, J2K) and image_files.is_lossy(header)


def _loses_hidden_colors(pixels: NDArray[Any], data: bytes) -> bool:
    """Return whether a WebP of pixels with alpha changes the colors under alpha 0."""
    if _WEBP_EXACT and not is_lossy(data):
        return False
    return bool(pixels[pixels[..., -1] == 0].any())


def _stays_lossless(picture: Picture, quality: int | None) -> bool:
    return picture.lossless and quality is None


def _settings(picture: Picture, format: str, quality: int | None) -> list[int]:
    if format == JPEG:
        sampling = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]  # keep the color detail
        default = max(DEFAULT_QUALITY, picture.metadata.jpeg_quality or 0)  # not coarser than the source
        return [cv2.IMWRITE_JPEG_QUALITY, quality or default, *sampling]
    if format == WEBP:
        if _stays_lossless(picture, quality):
            return [cv2.IMWRITE_WEBP_QUALITY, moving.LOSSLESS, *_WEBP_EXACT]
        return [cv2.IMWRITE_WEBP_QUALITY, quality or DEFAULT_QUALITY]
    if format == AVIF:
        bits = (picture.bits or _AVIF_BITS) if picture.pixels.dtype == np.uint16 else 8
        settings = {cv2.IMWRITE_AVIF_QUALITY: quality or DEFAULT_QUALITY, cv2.IMWRITE_AVIF_DEPTH: bits}
        return [number for pair in (settings | {cv2.IMWRITE_AVIF_SPEED: moving.AVIF_SPEED}).items() for number in pair]
    if format in (JP2, J2K):
        return [cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, 1000]  # all of it: lossless
    return []


def _reason(error: Exception) -> str:
    if isinstance(error, MemoryError) or getattr(error, "code", None) == cv2.Error.StsNoMem:
        return NO_MEMORY
    return "OpenCV does not take these pixels"

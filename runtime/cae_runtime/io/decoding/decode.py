"""Decodes image files: with OpenCV where it is correct, with the extra `tiff` for other kinds of TIFF.

OpenCV's decoders return pixels even for files that lack some of their data. `decoding.jpeg`, `decoding.tiff` and
`decoding.webp` detect this; for other formats the decoders report it themselves.
"""

from __future__ import annotations

import logging
import zlib
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from cae_runtime.errors import NO_MEMORY, ImageError
from cae_runtime.io import heic_extra, raw_extra
from cae_runtime.io.arrays import from_limited_range, full_scale, in_sixteen_bits, over_full_range
from cae_runtime.io.decoding import cmyk, tiff_deflate, tiff_extra, tiff_tiles
from cae_runtime.io.decoding import jpeg as jpeg_data
from cae_runtime.io.decoding import tiff as tiff_data
from cae_runtime.io.decoding import webp as webp_data
from cae_runtime.io.decoding.messages import decoded_silently
from cae_runtime.io.formats import HEIC, JPEG, RAW, TIFF, WEBP
from cae_runtime.io.headers.boxed.heif import HeifHeader
from cae_runtime.io.headers.boxed.jp2 import Jp2Header, boxed
from cae_runtime.io.headers.header import Header
from cae_runtime.io.headers.jpeg import JpegHeader
from cae_runtime.io.headers.png import PngHeader
from cae_runtime.io.headers.pnm import PnmHeader
from cae_runtime.io.headers.tiff import TiffHeader, with_unspecified_samples
from cae_runtime.io.headers.tiff_kinds import ALPHA, LZW, read_as_strips, read_by_tifffile, through_rgba
from cae_runtime.io.orientation import turned_back, upright
from cae_runtime.io.stderr import is_own, quiet

_log = logging.getLogger(__name__)


def decoded(data: bytes, header: Header) -> NDArray[Any]:
    """Decode an image file.

    Args:
        data: the whole file.
        header: what `cae_runtime.io.headers.inspect.inspect` returned for it.

    Returns:
        The pixels as stored, in the layout of `cae_runtime.io.image_files.Picture`; of CMYK files the inks.

    Raises:
        ImageError: the file is of a kind that is not decoded correctly, or is damaged.
    """
    pixels: NDArray[Any]
    with quiet():
        if header.format == RAW:
            pixels = raw_extra.develop(data)
        elif isinstance(header, HeifHeader):
            pixels = _decode_heif(data, header)
        elif isinstance(header, Jp2Header):
            pixels = _decode_jp2(data, header)
        elif isinstance(header, TiffHeader):
            pixels = _decode_tiff(data, header)
        elif isinstance(header, JpegHeader) and header.cmyk:
            pixels = cmyk.decode_jpeg(data, header)
        elif isinstance(header, JpegHeader):
            pixels = _decode_jpeg(data, header)
        elif isinstance(header, PngHeader):
            pixels = _decode_png(data, header)
        elif isinstance(header, PnmHeader):
            pixels = _decode_pnm(data, header)
        elif header.format == WEBP:
            webp_data.check(data, header)
            pixels = _decode(webp_data.large_enough(data), header)
        else:
            pixels = _decode(data, header)
    if pixels.dtype not in (np.uint8, np.uint16, np.float32):
        raise ImageError(f"has {pixels.dtype} values: 8-bit, 16-bit and floating-point images are read")
    height, width = pixels.shape[:2]
    if (width, height) != (header.width, header.height):
        raise ImageError(
            f"is damaged: its header says {header.width}x{header.height} pixels, but it has {width}x{height}"
        )
    if header.gray_alpha:
        pixels = np.ascontiguousarray(pixels[..., -2:])
    if header.opaque:
        pixels = np.ascontiguousarray(pixels[..., :3])
    return pixels


def _decode_heif(data: bytes, header: HeifHeader) -> NDArray[Any]:
    if header.format == HEIC:
        return heic_extra.decode(data, header.bits or 8)
    if not cv2.haveImageWriter(".avif"):  # haveImageReader would look for a file
        raise ImageError("is an AVIF, which this OpenCV does not read: install opencv-python 4.13 or later")
    pixels = _decode(data, header)
    if header.limited:
        pixels = from_limited_range(pixels, header.bits or 8)
    elif pixels.dtype == np.uint16 and header.bits:
        pixels = in_sixteen_bits(pixels, header.bits)
    return np.ascontiguousarray(upright(pixels, header.orientation))


def _decode_jp2(data: bytes, header: Jp2Header) -> NDArray[Any]:
    if not cv2.haveImageWriter(".jp2"):
        raise ImageError("is a JPEG 2000, which this OpenCV does not read: install opencv-python from PyPI")
    pixels = _decode(boxed(data, header), header)  # values are those of the file, whatever their depth
    return in_sixteen_bits(pixels, header.bits) if header.bits else pixels


def _decode_png(data: bytes, header: PngHeader) -> NDArray[Any]:
    pixels = _decode(data, header)
    if header.transparent is None or pixels.ndim != 2:
        return pixels
    white = full_scale(pixels.dtype)  # OpenCV leaves the transparent shade as it is
    return np.dstack((pixels, np.where(pixels == header.transparent, 0, white).astype(pixels.dtype)))


def _decode_pnm(data: bytes, header: PnmHeader) -> NDArray[Any]:
    pixels = _decode(data, header)  # values are those of the file, whatever white is
    return pixels if header.white == full_scale(pixels.dtype) else over_full_range(pixels, header.white)


def _decode_tiff(data: bytes, header: TiffHeader) -> NDArray[Any]:
    if header.refusal and not read_by_tifffile(header.kind):
        raise ImageError(f"{header.refusal}: convert it to a PNG or a plain TIFF first (ImageMagick, GIMP)")
    if header.refusal and not tiff_extra.is_installed():
        name, install = ("cmyk", cmyk.INSTALL) if header.cmyk else ("tiff", tiff_extra.INSTALL)
        raise ImageError(f"{header.refusal}. The extra {name} reads it: {install}")
    tiff_data.check(data, header)
    if header.refusal:
        tiff_data.check_coded(data, header)
        _log.debug("decoded by tifffile, since OpenCV refuses it: the file %s", header.refusal)
        return tiff_extra.decode(data, header)
    listen = is_own() and header.kind.compression == LZW and through_rgba(header.kind)
    file: bytes | bytearray = data
    if tiff_deflate.serves(header):
        file = tiff_deflate.inflated(data, header)
    elif not listen:
        tiff_data.check_coded(data, header)
    if read_as_strips(header.kind):
        file = tiff_tiles.as_strips(data, header)
    if ALPHA in header.kind.extra and through_rgba(header.kind):
        file = with_unspecified_samples(file)  # libtiff would multiply it into the colors
    pixels, silently = (
        decoded_silently(lambda: _decode(file, header), TIFF) if listen else (_decode(file, header), True)
    )
    if not silently:
        tiff_data.check_coded(data, header)
    return np.ascontiguousarray(turned_back(pixels, header.kind.orientation))  # OpenCV has turned it


def _decode_jpeg(data: bytes, header: JpegHeader) -> NDArray[Any]:
    jpeg_data.check(data, header)
    if jpeg_data.has_one_scan(header):
        return _decode(jpeg_data.without_end(data, header), header)
    if not header.arithmetic:  # the decoder writes no warnings about arithmetic coding
        pixels, silently = decoded_silently(lambda: _decode(data, header), JPEG)
        if silently:
            return pixels
        del pixels
    _log.debug("decoded twice: the decoder reported a problem in this JPEG")
    # The checksum, not the pixels, is kept: this needs memory for one picture.
    other = zlib.crc32(_decode(jpeg_data.with_other_ends(data, header), header).data)
    pixels = _decode(data, header)
    if zlib.crc32(pixels.data) != other:
        raise _damaged(header)
    return pixels


def _decode(data: bytes | bytearray, header: Header) -> NDArray[Any]:
    try:
        pixels: NDArray[Any] | None = cv2.imdecode(np.frombuffer(data, np.uint8), flags=cv2.IMREAD_UNCHANGED)
    except MemoryError as e:
        raise ImageError(f"cannot be decoded as {header.format}: {NO_MEMORY}") from e
    except cv2.error as e:
        if getattr(e, "code", None) == cv2.Error.StsNoMem:
            raise ImageError(f"cannot be decoded as {header.format}: {NO_MEMORY}") from e
        raise _damaged(header) from e
    if pixels is None:
        raise _damaged(header)
    return pixels


def _damaged(header: Header) -> ImageError:
    return ImageError(f"cannot be decoded: its {header.format} data is damaged, or parts of it are missing")

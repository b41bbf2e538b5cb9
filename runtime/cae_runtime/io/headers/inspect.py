"""The header of an image file, read before decoding: its format, size and frames, and whether it is complete.

Decoders turn a truncated file into half a picture: here it is refused with the reason. Of what OpenCV would decode
wrong, such as CMYK and some TIFFs, the header says so, and `cae_runtime.io.decoding` takes another library or refuses
it. Each format has its own module.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from cae_runtime.errors import ImageError
from cae_runtime.io.formats import NAMES_READ
from cae_runtime.io.headers import bmp as bmp_header
from cae_runtime.io.headers import gif as gif_header
from cae_runtime.io.headers import jpeg as jpeg_header
from cae_runtime.io.headers import png as png_header
from cae_runtime.io.headers import pnm
from cae_runtime.io.headers import raw as raw_header
from cae_runtime.io.headers import tiff as tiff_header
from cae_runtime.io.headers import webp as webp_header
from cae_runtime.io.headers.boxed import heif, jp2
from cae_runtime.io.headers.header import Header
from cae_runtime.io.headers.tiff_directory import DAMAGED
from cae_runtime.io.headers.unsupported import kind_of
from cae_shared.text import listed


def inspect(data: bytes) -> Header:
    """Read the header of an image file.

    Args:
        data: the whole file.

    Returns:
        Its header.

    Raises:
        ImageError: the file is not an image of a known format, is truncated or damaged, or stores its colors in a way
            that cannot be kept.
    """
    if not data:
        raise ImageError("is empty: it has no bytes")
    try:
        for recognized, reader in _READERS:
            if recognized(data):
                header = reader(data)
                break
        else:
            kind = kind_of(data)
            if kind:
                raise ImageError(f"is a {kind}, which is not read: convert it to PNG or TIFF first")
            raise ImageError(f"is not a {listed(NAMES_READ, 'or')} image")
    except ImageError:  # a ValueError too
        raise
    except DAMAGED as e:
        raise ImageError("is truncated or damaged") from e
    if header.width < 1 or header.height < 1:
        raise ImageError(f"has a size of {header.width}x{header.height} pixels")
    return header


def _starts(*signatures: bytes) -> Callable[[bytes], bool]:
    return lambda data: data.startswith(signatures)


_READERS: Final[tuple[tuple[Callable[[bytes], bool], Callable[[bytes], Header]], ...]] = (
    (_starts(jpeg_header.SIGNATURE), jpeg_header.read),
    (_starts(png_header.SIGNATURE), png_header.read),
    (lambda data: data[:4] == b"RIFF" and data[8:12] == b"WEBP", webp_header.read),
    (raw_header.is_raw, raw_header.read),  # before TIFF, which many of them are
    (_starts(*tiff_header.SIGNATURES), tiff_header.read),
    (_starts(*gif_header.SIGNATURES), gif_header.read),
    (_starts(bmp_header.SIGNATURE), bmp_header.read),
    (_starts(*pnm.SIGNATURES), pnm.read),
    (lambda data: bool(heif.coding_of(data)), heif.read),
    (jp2.is_jp2, jp2.read),
)

"""CMYK: read with the extra `cmyk` (imagecodecs, which brings libjpeg-turbo and Little CMS), and converted to sRGB."""

from __future__ import annotations

import zlib
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cae_runtime.errors import ImageError
from cae_runtime.io.arrays import full_scale
from cae_runtime.io.decoding import jpeg as jpeg_data
from cae_runtime.io.decoding import tiff_extra
from cae_runtime.io.headers.jpeg import JpegHeader

INSTALL: Final = "pip install 'cae-toolkit[cmyk]' (in a checkout: pip install -e '.[cmyk]')"
MISSING: Final = f"is a CMYK JPEG. The extra cmyk reads it: {INSTALL}"
_CMYK: Final = slice(16, 20)  # where a profile names its colors
_RELATIVE_COLORIMETRIC: Final = 1  # as usual for photographs
_BLACK_POINT_COMPENSATION: Final = 0x2000
_INKS: Final = 4
_PIXELS_AT_ONCE: Final = 2**20


def decode_jpeg(data: bytes, header: JpegHeader) -> NDArray[np.uint8]:
    """Decode a CMYK JPEG.

    Args:
        data: the whole file.
        header: its header.

    Returns:
        Shape (H, W, 4): cyan, magenta, yellow and black; 0 is no ink.

    Raises:
        ImageError: the extra is missing, or the file is damaged or truncated.
    """
    if not tiff_extra.is_installed():
        raise ImageError(MISSING)
    jpeg_data.check(data, header)
    # Its decoder fills what is missing in silence: other bytes behind each scan must not matter.
    other = zlib.crc32(_decoded(jpeg_data.with_other_ends(data, header)).data)
    pixels = _decoded(data)
    if zlib.crc32(pixels.data) != other or pixels.shape != (header.height, header.width, _INKS):
        raise ImageError("cannot be decoded: its JPEG data is damaged, or parts of it are missing")
    return np.invert(pixels, out=pixels) if header.inverted else pixels


def _decoded(data: bytes) -> NDArray[np.uint8]:
    import imagecodecs

    try:
        return np.ascontiguousarray(imagecodecs.jpeg8_decode(data))
    except MemoryError:
        raise
    except Exception as e:  # libjpeg's errors and those of strange shapes
        raise ImageError("cannot be decoded: its JPEG data is damaged, or parts of it are missing") from e


def to_bgr(pixels: NDArray[Any], profile: bytes) -> tuple[NDArray[Any], bool]:
    """Convert CMYK to sRGB.

    Args:
        pixels: uint8 or uint16, shape (H, W, 4); 0 is no ink.
        profile: the color profile of the file; empty if it has none.

    Returns:
        BGR, shape (H, W, 3), same dtype; and whether the profile decided, not the plain formula (1 - ink) (1 - black).
    """
    if profile[_CMYK] == b"CMYK" and (converted := _by_profile(pixels, profile)) is not None:
        return converted, True
    top = full_scale(pixels.dtype)
    result = np.empty((*pixels.shape[:2], 3), pixels.dtype)
    step = max(1, _PIXELS_AT_ONCE // pixels.shape[1])
    for first in range(0, len(pixels), step):
        light = top - pixels[first : first + step].astype(np.uint64)
        result[first : first + step] = (light[..., 2::-1] * light[..., 3:] + top // 2) // top
    return result, False


def _by_profile(pixels: NDArray[Any], profile: bytes) -> NDArray[Any] | None:
    """Convert by a profile; None if Little CMS does not take it."""
    import imagecodecs

    try:
        rgb = imagecodecs.cms_transform(
            pixels, profile, imagecodecs.cms_profile("srgb"), colorspace="cmyk", outcolorspace="rgb",
            outdtype=pixels.dtype, intent=_RELATIVE_COLORIMETRIC, flags=_BLACK_POINT_COMPENSATION,
        )  # fmt: skip
    except imagecodecs.CmsError:
        return None
    return np.ascontiguousarray(rgb[..., ::-1])

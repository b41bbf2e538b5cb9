"""Reads the TIFFs that OpenCV does not decode correctly, with the extra `tiff` (tifffile and imagecodecs)."""

from __future__ import annotations

import io
import logging
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cae_runtime.errors import ImageError
from cae_runtime.io.headers.tiff import TiffHeader
from cae_runtime.io.headers.tiff_kinds import CMYK, FLOAT, PALETTE, SEPARATE, WHITE_ZERO

INSTALL: Final = "pip install 'cae-toolkit[tiff]' (in a checkout: pip install -e '.[tiff]')"
_SILENT: Final = logging.NullHandler()


def is_installed() -> bool:
    """Return whether the extra is installed."""
    try:
        import imagecodecs  # noqa: F401
        import tifffile  # noqa: F401
    except ImportError:
        return False
    return True


def decode(data: bytes, header: TiffHeader) -> NDArray[Any]:
    """Decode a TIFF of a kind that `read_by_tifffile` accepts.

    Args:
        data: the whole file.
        header: its header.

    Returns:
        The pixels as stored, in the layout of `cae_runtime.io.image_files.Picture`, or CMYK, 0 being no ink: uint8 up
        to 8 bits per sample, else uint16, over the whole range of that type; floating point as float32, of any range.

    Raises:
        ImageError: the data is damaged.
    """
    import tifffile

    logger = logging.getLogger("tifffile")  # of damaged tags it would tell on stderr, in its own words
    logger.addHandler(_SILENT)
    logger.propagate = False
    try:
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            page = file.pages.first
            samples = np.asarray(page.asarray(maxworkers=1))
            palette = page.colormap
    except Exception as e:  # the parser may raise anything on a strange file
        raise ImageError(f"cannot be decoded: its TIFF data is damaged ({type(e).__name__})") from e
    kind = header.kind
    if kind.samples > 1 and kind.planes == SEPARATE and samples.ndim == 3:
        samples = np.moveaxis(samples, 0, -1)
    if samples.shape != (header.height, header.width, kind.samples)[: 2 + (kind.samples > 1)]:
        raise ImageError(f"is damaged: its header says {header.width}x{header.height} pixels, but it has another size")
    samples = samples.astype(np.uint8) if samples.dtype == bool else samples
    pixels: NDArray[Any]
    if kind.colors == PALETTE:
        if palette is None:
            raise ImageError("is damaged: it has no palette")
        pixels = _colors(samples, palette)
    else:
        if kind.values == FLOAT:
            pixels = samples.astype(np.float32)
        else:
            pixels = _over_range(2**kind.bits - 1 - samples if kind.colors == WHITE_ZERO else samples, kind.bits)
        if kind.samples >= 3 and kind.colors != CMYK:
            pixels = pixels[..., [2, 1, 0, 3][: kind.samples]]
    return np.ascontiguousarray(pixels)


def _colors(samples: NDArray[Any], palette: NDArray[Any]) -> NDArray[Any]:
    """Convert palette indices to BGR. The palette has shape (3, colors) and 16 bits; some files fill only 8 of them."""
    table = (palette >> 8 if palette.max() > 255 else palette).astype(np.uint8)
    colors: NDArray[Any] = table[::-1].T[samples]
    return colors


def _over_range(samples: NDArray[Any], bits: int) -> NDArray[Any]:
    """Scale values of 0..2^bits-1 to the full range of uint8, or to uint16 by a shift, as OpenCV does."""
    if bits <= 8:
        spread: NDArray[Any] = np.round(samples * (255 / (2**bits - 1))).astype(np.uint8)
        return spread
    shifted: NDArray[Any] = samples.astype(np.uint16) << (16 - bits)
    return shifted

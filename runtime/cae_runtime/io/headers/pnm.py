"""The PNM formats: PPM (color), PGM (gray) and PBM (black and white)."""

from __future__ import annotations

import re
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cae_runtime.errors import ImageError, ImageFormatError
from cae_runtime.io.formats import PBM, PGM, PPM
from cae_runtime.io.headers.header import Header

SIGNATURES: Final = (b"P1", b"P2", b"P3", b"P4", b"P5", b"P6")
_FORMATS: Final = {b"1": PBM, b"4": PBM, b"2": PGM, b"5": PGM, b"3": PPM, b"6": PPM}
_BLANK: Final = rb"(?:\s|#[^\r\n]*[\r\n])+"
_NUMBER: Final = _BLANK + rb"(\d{1,9})"
_HEADER: Final = re.compile(rb"P([1-6])" + _NUMBER + _NUMBER + rb"(?:" + _NUMBER + rb")?")
_READ: Final = (255, 65535)  # OpenCV does not scale other ranges


def read(data: bytes) -> Header:
    """Read the header of a PNM; see `cae_runtime.io.headers.inspect.inspect`."""
    found = _HEADER.match(data[: 2**16])
    if found is None:
        raise ImageError("is truncated or damaged")
    format = _FORMATS[found[1]]
    largest = 255 if format == PBM else int(found[4] or 0)
    if largest not in _READ:
        raise ImageError(f"is a {format} with values up to {largest}: 255 and 65535 are read, convert it to PNG first")
    return Header(format, int(found[2]), int(found[3]))


def prepared(pixels: NDArray[Any], format: str) -> NDArray[Any]:
    """Return pixels without alpha, shape (H, W) or (H, W, 3) BGR, as a format stores them.

    Raises:
        ImageError: the format cannot hold them.
    """
    color = pixels.ndim == 3
    if format == PPM:
        return pixels if color else np.repeat(pixels[..., None], 3, axis=2)
    if color:
        raise ImageFormatError(f"has colors, which {format} cannot hold: write a PPM or PNG", ".ppm")
    return pixels

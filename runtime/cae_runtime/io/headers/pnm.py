"""The PNM formats: PPM (color), PGM (gray) and PBM (black and white)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cae_runtime.errors import ImageError, ImageFormatError
from cae_runtime.io.formats import PBM, PGM, PPM
from cae_runtime.io.headers.header import BEHIND, FURTHER_PICTURES, Header

SIGNATURES: Final = (b"P1", b"P2", b"P3", b"P4", b"P5", b"P6")
_FORMATS: Final = {b"1": PBM, b"4": PBM, b"2": PGM, b"5": PGM, b"3": PPM, b"6": PPM}
_BLANK: Final = rb"(?:\s|#[^\r\n]*[\r\n])+"
_NUMBER: Final = _BLANK + rb"(\d{1,9})"
_HEADER: Final = re.compile(rb"P([1-6])" + _NUMBER + _NUMBER + rb"(?:" + _NUMBER + rb")?")
_SAMPLES_MAX: Final = 65535
_PLAIN: Final = b"123"  # kinds of files of text; the others are packed
_FURTHER: Final = re.compile(rb"\s*P[1-6]\s")


@dataclass(frozen=True)
class PnmHeader(Header):
    """The header of a PNM.

    Attributes:
        white: the largest value of its samples, 1..65535.
    """

    white: int = 255


def read(data: bytes) -> PnmHeader:
    """Read the header of a PNM; see `cae_runtime.io.headers.inspect.inspect`."""
    found = _HEADER.match(data[: 2**16])
    if found is None:
        raise ImageError("is truncated or damaged")
    format = _FORMATS[found[1]]
    white = 255 if format == PBM else int(found[4] or 0)
    if not 1 <= white <= _SAMPLES_MAX:
        raise ImageError(f"is a {format} with values up to {white}: it must be 1..{_SAMPLES_MAX}")
    width, height = int(found[2]), int(found[3])
    row = -(-width // 8) if format == PBM else width * (3 if format == PPM else 1) * (1 if white <= 255 else 2)
    end = len(data) if found[1] in _PLAIN else found.end(3 if format == PBM else 4) + 1 + row * height
    not_kept = {FURTHER_PICTURES if _FURTHER.match(data, end) else BEHIND} if data[end:].strip() else set[str]()
    return PnmHeader(format, width, height, not_kept=frozenset(not_kept), white=white)


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

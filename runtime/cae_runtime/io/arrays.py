"""Type aliases for the arrays of pictures."""

from __future__ import annotations

from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.float32]  # (H, W) or (H, W, C); see `full_scale`
ImageType = TypeVar("ImageType", np.uint8, np.uint16)
ImageT = TypeVar("ImageT", bound=NDArray[Any])  # an Image, checked when called: OpenCV's stubs leave the dtype open
FrameArray = NDArray[np.uint8]  # one frame of a camera or a usual video: (H, W, 3), BGR
VideoArray = FrameArray | NDArray[np.uint16]  # of a video; uint16 if it has more than 8 bits
_WHITE: Final = 65535  # of uint16
HAS_ALPHA: Final = (2, 4)  # numbers of channels, the last of which is alpha


def full_scale(dtype: np.dtype[Any]) -> int:
    """Return the value of white in images of a dtype: 255 for uint8, 65535 for uint16, 1 for float32."""
    return 1 if dtype.kind == "f" else int(np.iinfo(dtype).max)


def colors_of(pixels: NDArray[Any]) -> NDArray[Any]:
    """Return a view without alpha, shape (H, W, 1) gray or (H, W, 3), of pixels in the layout of `Picture`."""
    planes = pixels.reshape(*pixels.shape[:2], -1)
    return planes[..., :-1] if planes.shape[2] in HAS_ALPHA else planes


def in_sixteen_bits(values: NDArray[np.uint16], bits: int) -> NDArray[np.uint16]:
    """Return values of `bits` bits, 0..2**bits - 1, as the nearest ones of 16 bits.

    Args:
        values: uint16, of any shape; larger values count as white.
        bits: 9..16.
    """
    return over_full_range(values, 2**bits - 1)


def over_full_range(values: NDArray[ImageType], top: int) -> NDArray[ImageType]:
    """Return values of 0..top as the nearest ones of the whole range of their type.

    Args:
        values: uint8 or uint16, of any shape; larger values count as `top`.
        top: at least 1, and within the type.
    """
    white = full_scale(values.dtype)
    table = (np.arange(top + 1, dtype=np.uint32) * (2 * white) + top) // (2 * top)
    scaled: NDArray[ImageType] = table.astype(values.dtype).take(values, mode="clip")
    return scaled


def from_limited_range(values: NDArray[ImageType], bits: int) -> NDArray[ImageType]:
    """Return gray values of video, 16..235 for 8 bits, as the nearest ones of the whole range of their type.

    Args:
        values: uint8 or uint16, of any shape; those beyond black and white count as these.
        bits: 8..16.
    """
    unit = 2 ** (bits - 8)
    return over_full_range(np.maximum(values, 16 * unit) - 16 * unit, 219 * unit)


def in_bits(values: NDArray[Any], bits: int) -> NDArray[np.uint16]:
    """Return 16-bit values as the nearest ones of `bits` bits: the inverse of `in_sixteen_bits`.

    Args:
        values: uint16, of any shape.
        bits: 8..16.
    """
    top = 2**bits - 1
    table = (np.arange(_WHITE + 1, dtype=np.uint32) * top + _WHITE // 2) // _WHITE
    scaled: NDArray[np.uint16] = table.astype(np.uint16).take(values)
    return scaled

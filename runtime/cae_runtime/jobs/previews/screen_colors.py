"""Pictures of any kind as a screen shows them."""

from __future__ import annotations

from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from cae_runtime.io.arrays import HAS_ALPHA
from cae_runtime.io.contact_sheet import to_bgr
from cae_runtime.tasks import any_range

_WHITE: Final = 65535


def seen_as(pixels: NDArray[Any], source: NDArray[Any]) -> NDArray[np.uint8]:
    """Convert pixels for the screen: uint8 (H, W, 3) BGR, with gray behind transparent pixels.

    Args:
        pixels: in any dtype and layout of `Picture`.
        source: the uncleaned picture. It has the alpha channel, and sets black and white for floating-point values.
    """
    if pixels.dtype == np.float32:
        colors = source[..., :3] if source.ndim == 3 else source
        scale = any_range.scale_of(colors) or any_range.Scale(0.0, 1 / _WHITE)
        known = np.nan_to_num(pixels[..., :3] if pixels.ndim == 3 else pixels, posinf=scale.black, neginf=scale.black)
        pixels = ((known - scale.black) / (scale.step * _WHITE)).clip(0, 1).astype(np.float32)
    colors = to_bgr(pixels)
    if source.ndim == 3 and source.shape[2] in HAS_ALPHA and source.dtype != np.float32:
        alpha = to_bgr(source[..., -1])
        colors = np.asarray(
            cv2.addWeighted(cv2.multiply(colors, alpha, scale=1 / 255), 1, cv2.bitwise_not(alpha), 0.5, 0), np.uint8
        )
    return colors

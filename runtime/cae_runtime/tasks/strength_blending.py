"""Strengths: how much of a model's change is kept, separately in brightness and in color.

Most cameras have more noise in color than in brightness, and its stains disturb more, while some grain in brightness
looks natural.
"""

from __future__ import annotations

from typing import Any, Final, cast

import cv2
import numpy as np

from cae_runtime.arguments import checked_share
from cae_runtime.io.arrays import Image, ImageT, full_scale
from cae_runtime.tasks.strengths import Strengths

_LUMINANCE: Final = (0.114, 0.587, 0.299)  # of blue, green and red (ITU-R BT.601)
_PIXELS: Final = 2**16  # worked on at once: they stay in the cache
_COLORS: Final = 3


Strength = float | tuple[float, float]
"""A share for all, or one for brightness and one for color."""


def checked_strengths(strength: Any) -> Strengths:
    """Return the strengths of brightness and color.

    Args:
        strength: a number for both, or a tuple of two.

    Raises:
        UsageError: one is outside 0..1 (if it is no number, an ArgumentTypeError).
    """
    if isinstance(strength, tuple) and len(strength) == len(Strengths._fields):
        return Strengths(checked_share("strength[0]", strength[0]), checked_share("strength[1]", strength[1]))
    share = checked_share("strength", strength)
    return Strengths(share, share)


def blend_apart(original: Image, cleaned: Image, strengths: Strengths, *, bgr: bool = True) -> None:
    """Blend brightness and color apart, in place.

    Args:
        original: (H, W, 3), uint8, uint16 or float32.
        cleaned: the same picture, fully cleaned; becomes original + brightness * L + color * (C - L), C being the
            change of each channel and L that of the luminance, rounded and clipped.
        strengths: of brightness and color.
        bgr: whether the channels are in BGR order, not RGB.
    """
    weights = np.array(_LUMINANCE if bgr else _LUMINANCE[::-1], np.float32)
    matrix = np.eye(_COLORS, dtype=np.float32) * strengths.color
    matrix += (strengths.brightness - strengths.color) * weights
    top = full_scale(original.dtype)
    rows = max(1, _PIXELS // max(1, original.shape[1]))
    for first in range(0, len(original), rows):
        before = np.ascontiguousarray(original[first : first + rows]).astype(np.float32)
        change = cv2.transform(cleaned[first : first + rows].astype(np.float32) - before, matrix)
        change = np.add(change, before, dtype=np.float32)
        if original.dtype != np.float32:
            np.rint(change, out=change)
        cleaned[first : first + rows] = np.clip(change, 0, top, out=change)


def blended(frame: ImageT, cleaned: ImageT, strengths: Strengths) -> ImageT:
    """Return a frame, uint8 or uint16 (H, W, 3) BGR, blended with the fully cleaned one; at strength 1 that itself."""
    if strengths.differ:
        result = cleaned.copy()
        blend_apart(frame, result, strengths)
        return result
    if strengths.brightness in (0, 1):
        return cleaned if strengths.brightness else frame
    share = strengths.brightness
    return cast(ImageT, cv2.addWeighted(cleaned, share, frame, 1 - share, 0))

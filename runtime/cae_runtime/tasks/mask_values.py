"""Masks: which pixels of a picture are to be filled, and how strongly.

Marks are uint8 (H, W): 0 keeps a pixel, 255 replaces it, and what is between blends the two.
"""

from __future__ import annotations

from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from cae_runtime.arguments import checked_flag, checked_whole
from cae_runtime.errors import ImageError, ImageTypeError

GROW_MAX: Final = 100
FULL: Final = 255
_LOW, _HIGH = FULL // 8, FULL - FULL // 8  # to `_LOW`: nothing is marked; from `_HIGH` on: fully (JPEG's errors)
FLOATING: Final = "has floating-point values: save it with integers, such as a PNG of 8 bits"
_KINDS: Final = "bool, uint8, uint16, or integers that are only 0 and 1, or 0 and 255"

Marks = NDArray[np.uint8]


def checked_marks(mask: Any) -> Marks:
    """Return the marks of a mask; see `marks_of` for the values.

    Args:
        mask: (H, W) or (H, W, 1): bool; uint8 or uint16; or other integers that are only 0 and 1, or 0 and 255.

    Raises:
        ImageTypeError: it is not a NumPy array, or has another dtype.
        ImageError: it has another shape, or other values than a mask.
    """
    if not isinstance(mask, np.ndarray):
        raise ImageTypeError(f"the mask is a {type(mask).__name__}: it must be a NumPy array of {_KINDS}")
    if mask.dtype.kind not in "bui":
        raise ImageTypeError(f"the mask's dtype is {mask.dtype}: it must be {_KINDS}")
    plane: NDArray[Any] = mask[..., 0] if mask.ndim == 3 and mask.shape[2] == 1 else mask
    if plane.ndim != 2:
        raise ImageError(f"the mask's shape is {mask.shape}: it must be (H, W) or (H, W, 1)")
    if plane.dtype not in (np.bool_, np.uint8, np.uint16):
        values = np.unique(plane[plane != 0])
        if values.tolist() not in ([], [1], [FULL]):
            raise ImageError(
                f"the mask is of {mask.dtype}, with values of {plane.min()}..{plane.max()}: it must be {_KINDS}"
            )
        plane = (plane != 0).astype(np.uint8) * np.uint8(FULL)
    return marks_of(plane)


def marks_of(plane: NDArray[Any], *, of_two: bool = True) -> Marks:
    """Return the marks of a plane of a mask, bool, uint8 or uint16 (H, W).

    Black marks nothing, white fully, gray in proportion; up to an eighth is black, and from seven eighths on white.

    Args:
        plane: the plane.
        of_two: whether a plane without a value above 1 is a mask of 0 and 1, and 16-bit ones without one above 255
            are masks of 8 bits. Lossy files are not: there such values are errors of the coding.

    Raises:
        ImageError: the plane is of floating-point values.
    """
    if plane.dtype.kind == "f":
        raise ImageError(f"the mask {FLOATING}")
    top = int(plane.max(initial=0))
    white = int(np.iinfo(plane.dtype).max) if plane.dtype != np.bool_ else 1
    if of_two:
        white = 1 if top <= 1 else min(white, FULL) if top <= FULL else white
    if white == 1:
        return plane.astype(np.uint8) * np.uint8(FULL)
    marks = plane if white == FULL else plane // ((white + 1) // (FULL + 1))
    marks = marks.astype(np.uint8)
    marks[marks <= _LOW] = 0
    marks[marks >= _HIGH] = FULL
    return marks


def adjusted(marks: Marks, *, invert: bool = False, grow: int = 0) -> Marks:
    """Return marks inverted, and then grown by a number of pixels in all directions.

    Raises:
        UsageError: `invert` is not True or False, or `grow` not 0..100 (where the type is another, a TypeError too).
    """
    if checked_flag("invert", invert):
        marks = np.asarray(FULL - marks, np.uint8)
    grow = checked_whole("grow", grow, 0, GROW_MAX)
    if not grow or not marks.any():
        return marks
    if ((marks > 0) & (marks < FULL)).any():
        return np.asarray(cv2.dilate(marks, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, [2 * grow + 1] * 2)), np.uint8)
    away = cv2.distanceTransform(np.asarray(FULL - marks, np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return (away <= grow).astype(np.uint8) * np.uint8(FULL)

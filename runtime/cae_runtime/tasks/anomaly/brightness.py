"""How bright pictures are, compared with the good ones that set a detector's threshold."""

from __future__ import annotations

from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from cae_runtime.inference.model_spec import ModelSpec
from cae_runtime.io.arrays import colors_of, full_scale

_MARGIN: Final = 1.05  # factor by which a new picture may be darker or brighter than all good ones
_WEIGHTS: Final = (0.114, 0.587, 0.299)  # of blue, green and red in the luminance of ITU-R BT.601
_COLORS: Final = 3


def brightness_of(pixels: NDArray[Any], spec: ModelSpec) -> float:
    """Return the mean value of a picture, 0..1, as a model sees it: by luminance alone, or in a black frame.

    Args:
        pixels: uint8, uint16 or float32 in the layout of `Picture`: gray or BGR, with or without alpha.
        spec: of the model.
    """
    planes = colors_of(pixels)
    count = planes.shape[2]
    means = np.array(cv2.mean(np.ascontiguousarray(planes))[:count]) / full_scale(planes.dtype)
    mean = float(means @ _WEIGHTS if count == _COLORS and spec.channels == 1 else means.mean())
    height, width = planes.shape[:2]
    return mean * float(height * width) / spec.pixels(height, width)


def is_too_dark(brightness: float, usual: tuple[float, float]) -> bool:
    """Whether a picture is clearly darker than all good ones, given their least and largest brightness."""
    return brightness < usual[0] / _MARGIN


def is_too_bright(brightness: float, usual: tuple[float, float]) -> bool:
    """Whether a picture is clearly brighter than all good ones, given their least and largest brightness."""
    return brightness > usual[1] * _MARGIN
